use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::protocol::{Config, Message, Outcome};
#[cfg(feature = "tls")]
use crate::tls;

use super::backlog::SlowConsumer;
use super::callbacks::Callbacks;
use super::event_loop::EventLoop;
use super::event_loops::EventLoops;
use super::handler::{Decision, Handler};
use super::incoming_request::IncomingRequest;
use super::listen_options::ListenOptions;
use super::listener::Listener;
use super::loop_handle::LoopHandle;
use super::peer::Peer;
use super::proxy_protocol::ProxyProtocol;
use super::rate_limit::{Rate, RateLimit};
use super::settings::{OnPanic, Settings};

/// Listening sockets and the settings they share, from which an [`EventLoop`] is made.
///
/// ```
/// use framewire::{Config, Server};
///
/// # fn main() -> std::io::Result<()> {
/// let server = Server::bind("127.0.0.1:0")?
///     .config(Config::new().max_message_size(1 << 20))
///     .max_connections(10_000);
/// println!("listening on ws://{}", server.local_addr()?);
/// let mut event_loop = server.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
/// # event_loop.handle().shutdown(1001, "", std::time::Duration::ZERO).unwrap();
/// event_loop.run()
/// # }
/// ```
#[doc(alias("WebSocketServer", "WebSocket.Server"))]
#[derive(Debug)]
pub struct Server {
    pub(super) listeners: Vec<Listener>,
    pub(super) settings: Settings,
}

impl Server {
    /// Listens on a TCP address; port 0 lets the system choose one, which
    /// [`local_addr`](Self::local_addr) tells.
    ///
    /// A name such as `localhost` that stands for several addresses, mostly one of IPv6 and one of IPv4, is
    /// listened to on all of them, on the same port: clients try either. Those that this machine does not have are
    /// left out.
    ///
    /// # Errors
    ///
    /// The system's, with the address in its text: [`io::ErrorKind::AddrInUse`] where another server listens. That
    /// an address is not to be had on this machine is an error only if none of them is.
    #[doc(alias("listen", "createServer"))]
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(address, &ListenOptions::new())
    }

    /// Listens on a TCP address like [`bind`](Self::bind), with other options.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind), and the system's for options that it does not have.
    pub fn bind_with(address: impl ToSocketAddrs, options: &ListenOptions) -> io::Result<Self> {
        Ok(Self::with(Listener::bind(address.to_socket_addrs()?, options)?))
    }

    /// Listens on a Unix-domain socket at this path. The file goes when the loop ends, or the server is dropped;
    /// one that is left of a server that was killed is replaced.
    ///
    /// Who may connect the permissions of the file say: see [`ListenOptions::mode`].
    ///
    /// # Errors
    ///
    /// The system's, with the path in its text: [`io::ErrorKind::AddrInUse`] if another server listens there, and
    /// [`io::ErrorKind::AlreadyExists`] if something else than a socket is there, which is never removed.
    ///
    /// ```no_run
    /// use framewire::{ListenOptions, Server};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// // For a proxy that runs as another user.
    /// let options = ListenOptions::new().mode(0o666);
    /// let server = Server::bind_unix_with("/run/chat/socket", &options)?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("unix socket", "unix domain socket", "AF_UNIX"))]
    #[cfg(unix)]
    pub fn bind_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::bind_unix_with(path, &ListenOptions::new())
    }

    /// Listens on a Unix-domain socket with other options, of which [`backlog`](ListenOptions::backlog) and
    /// [`mode`](ListenOptions::mode) are for such a socket.
    ///
    /// # Errors
    ///
    /// As [`bind_unix`](Self::bind_unix).
    #[cfg(unix)]
    pub fn bind_unix_with(path: impl AsRef<Path>, options: &ListenOptions) -> io::Result<Self> {
        Ok(Self::with(vec![Listener::bind_unix(path.as_ref(), options)?]))
    }

    /// Serves a TCP socket that listens already, such as one that a supervisor opened; the guide has a
    /// recipe for systemd.
    ///
    /// # Errors
    ///
    /// The system's, if the socket cannot be made non-blocking.
    #[doc(alias("systemd", "socket activation", "LISTEN_FDS", "zero downtime"))]
    pub fn from_listener(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self::with(vec![Listener::from_tcp(listener)?]))
    }

    /// Serves a Unix-domain socket that listens already. Its file is left alone.
    ///
    /// # Errors
    ///
    /// The system's, if the socket cannot be made non-blocking.
    #[cfg(unix)]
    pub fn from_unix_listener(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        Ok(Self::with(vec![Listener::from_unix(listener)?]))
    }

    /// Listens nowhere, for a loop that only [dials](crate::Peers::connect).
    #[doc(alias("noServer", "axum", "hyper"))]
    pub fn unbound() -> Self {
        Self::with(Vec::new())
    }

    fn with(listeners: Vec<Listener>) -> Self {
        Self { listeners, settings: Settings::default() }
    }

    /// Serves the sockets of another server too, with the settings of this one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.listeners.extend(other.listeners);
        self
    }

    /// Speaks TLS, and so `wss:`, on the sockets of this server: with a
    /// [`TlsServer`](crate::TlsServer), or a [`rustls::ServerConfig`]. Those that
    /// [`and`](Self::and) adds later keep what they have.
    ///
    /// ```no_run
    /// use framewire::{Server, TlsServer};
    ///
    /// let tls = TlsServer::from_pem_files("chain.pem", "key.pem")?;
    /// let server = Server::bind("0.0.0.0:443")?.tls(tls).and(Server::bind("127.0.0.1:80")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("wss", "ssl", "https", "HTTPS server"))]
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Arc<rustls::ServerConfig>>) -> Self {
        let config = tls::served(&tls.into());
        self.listeners = self.listeners.into_iter().map(|one| one.with_tls(&config)).collect();
        self
    }

    /// Gives the sockets of this server a name, which [`Caller::listener_name`](crate::Caller::listener_name) tells of
    /// their connections. Those that [`and`](Self::and) adds later keep what they have.
    ///
    /// ```
    /// use framewire::Server;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let server = Server::bind("127.0.0.1:0")?.name("public").and(Server::bind("127.0.0.1:0")?.name("admin"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        let name = Arc::from(name);
        self.listeners = self.listeners.into_iter().map(|one| one.with_name(&name)).collect();
        self
    }

    /// Takes headers of the PROXY protocol on the sockets of this server. Those that [`and`](Self::and) adds later
    /// keep what they have. The header has to come within
    /// [`Config::handshake_timeout`](Config::handshake_timeout).
    #[doc(alias = "send-proxy")]
    #[must_use]
    pub fn proxy_protocol(mut self, protocol: ProxyProtocol) -> Self {
        let protocol = Arc::new(protocol);
        self.listeners =
            self.listeners.into_iter().map(|one| one.with_proxy_protocol(&protocol)).collect();
        self
    }

    /// Sets what all connections share: limits, deadlines, path, origins, subprotocols, compression.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.settings.config = config;
        self
    }

    /// The most connections at a time, by default as many as the system allows; further ones are
    /// answered 503, but for [a few](Self::spare_connections) that ask plain requests.
    #[doc(alias = "connection limit")]
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// How many connections each loop lets in beyond [`max_connections`](Self::max_connections), so that health
    /// checks of a server that is full are answered all the same; default 16. A request for a WebSocket is
    /// answered 503 there, unless there is room by then. They have 5 s for their requests, or the
    /// [handshake timeout](Config::handshake_timeout) if that is shorter. With 0, and for those beyond them, all are
    /// answered 503 before they have said anything.
    #[doc(alias("EMFILE", "file descriptors"))]
    #[must_use]
    pub fn spare_connections(mut self, connections: usize) -> Self {
        self.settings.spare_connections = connections;
        self
    }

    /// The most connections at a time from one IPv4 address, or from one /64 of IPv6 addresses, by default
    /// as many as come; further ones are answered 429. Unix-domain sockets do not count, nor what is
    /// [dialled](crate::Peers::connect).
    ///
    /// Behind a proxy all connections come from its address. Where it is one of
    /// [`Config::trusted_proxies`](Config::trusted_proxies), or speaks the [PROXY protocol](Self::proxy_protocol), the
    /// address of the [`Caller`](crate::Caller) counts, from when it is known.
    #[must_use]
    pub fn max_connections_per_ip(mut self, connections: usize) -> Self {
        self.settings.max_connections_per_ip = Some(connections);
        self
    }

    /// How many opening handshakes a second one IPv4 address may begin, or one /64 of IPv6 addresses, and how many at
    /// once, in all loops; by default as many as come. Further ones are answered 429 with a `Retry-After`, and
    /// [`Handler::on_handshake_error`] is told
    /// [`TooManyHandshakes`](crate::OpeningError::TooManyHandshakes). Plain requests are not counted, nor is what
    /// comes over Unix-domain sockets.
    ///
    /// As for [`max_connections_per_ip`](Self::max_connections_per_ip), behind a proxy that is believed the address of
    /// the [`Caller`](crate::Caller) counts. Handshakes of at most 65,536 addresses are counted at once, those of
    /// further ones are let through meanwhile; so this holds back a client that comes again too often, and no crowd.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// // One a second, and ten at once.
    /// let server = framewire::Server::bind("127.0.0.1:0")?.max_handshakes_per_ip(1, 10);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_handshakes_per_ip(mut self, per_second: u32, burst: u32) -> Self {
        self.settings.max_handshakes_per_ip = Some(Rate::new(per_second, burst));
        self
    }

    /// How many messages and bytes a second each connection that comes in may send, by default any number;
    /// [`Peer::set_rate_limit`] says it for one of them.
    #[doc(alias("flood", "rate limiting"))]
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.settings.rate_limit = Some(limit);
        self
    }

    /// Keeps the request of each connection for as long as the connection lives, default no: a request
    /// is a few hundred bytes, which an idle connection can do without.
    #[must_use]
    pub fn keep_requests(mut self, keep: bool) -> Self {
        self.settings.keep_requests = keep;
        self
    }

    /// The most topics that one connection may [subscribe](Peer::subscribe) to, default 1,024.
    #[must_use]
    pub fn max_topics(mut self, topics: usize) -> Self {
        self.settings.topics.topics = topics;
        self
    }

    /// The longest name of a topic in bytes, default 1,024. Names are often chosen by clients, and take
    /// memory.
    #[must_use]
    pub fn max_topic_length(mut self, bytes: usize) -> Self {
        self.settings.topics.length = bytes;
        self
    }

    /// What to do about connections whose peers do not take what is sent to them, by default
    /// [`SlowConsumer::DropNew`]; [`Peer::set_slow_consumer`] says it for one of them.
    #[must_use]
    pub fn slow_consumer(mut self, policy: SlowConsumer) -> Self {
        self.settings.backlogs.policy = policy;
        self
    }

    /// How many unsent bytes may wait for all connections of a loop together, by default any number;
    /// a message that is shared counts for each connection that it waits for.
    ///
    /// Above it, a message is refused to a connection that has more than its share, which is this number
    /// divided by the number of connections for which anything waits; [`SlowConsumer`] says how. So who
    /// reads is not made to suffer for who does not. Where what waits still comes to more at the end of a
    /// turn, the connections for which most waits are dropped, without a Close (none would get through),
    /// until it does not.
    #[doc(alias("memory limit", "out of memory"))]
    #[must_use]
    pub fn max_buffered_total(mut self, bytes: usize) -> Self {
        self.settings.backlogs.total = bytes;
        self
    }

    /// The most messages that [`Peer::send_latest`] keeps for one connection, which is the number of
    /// keys, default 1,024; those of further keys are dropped.
    #[must_use]
    pub fn max_latest_keys(mut self, keys: usize) -> Self {
        self.settings.backlogs.keys = keys;
        self
    }

    /// How many bytes of messages, sent by [`Handle`](crate::Handle)s and not taken up yet, may wait for each
    /// loop: 16 MiB by default. Producers that are faster than the loop then [wait](crate::Handle::broadcast), or
    /// are told that they [are](crate::Handle::try_publish).
    #[must_use]
    pub fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_queued = bytes;
        self
    }

    /// How many connections may wait to be accepted while the loop is busy, on the sockets that this server has
    /// now: by default as many as the system allows. Where more come, they try again after a second or more.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn backlog(self, connections: u32) -> io::Result<Self> {
        for listener in &self.listeners {
            listener.set_backlog(connections)?;
        }
        Ok(self)
    }

    /// What happens when the handler panics: by default the loop ends, and with it all connections.
    ///
    /// ```
    /// # use framewire::{OnPanic, Server};
    /// # fn main() -> std::io::Result<()> {
    /// let server = Server::bind("127.0.0.1:0")?.on_panic(OnPanic::CloseConnection);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "catch_unwind")]
    #[must_use]
    pub fn on_panic(mut self, on_panic: OnPanic) -> Self {
        self.settings.on_panic = on_panic;
        self
    }

    /// The addresses of all TCP sockets that this server listens on, in the order in which they were bound.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let server = framewire::Server::bind("localhost:0")?;
    /// for address in server.local_addrs()? {
    ///     println!("listening on ws://{address}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses = self.listeners.iter().map(Listener::local_addr);
        let known = |result: &io::Result<_>| {
            !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported)
        };
        addresses.filter(known).collect()
    }

    /// The path of the first Unix-domain socket that this server listens on, if there is one with a path.
    #[cfg(unix)]
    pub fn unix_path(&self) -> Option<PathBuf> {
        self.listeners.iter().find_map(Listener::unix_path)
    }

    /// The address of the first listening socket.
    ///
    /// # Errors
    ///
    /// The system's; [`io::ErrorKind::Unsupported`] for a Unix-domain socket, which has a
    /// [path](Self::unix_path).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.listeners.first() {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The loop that serves these sockets with a handler.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for a [`Config`] that cannot work; the system's.
    pub fn into_event_loop<H: Handler>(self, handler: H) -> io::Result<EventLoop<H>> {
        let (listeners, settings) = self.into_parts();
        EventLoop::new(listeners, &settings, handler)
    }

    /// Sets the closure that decides on each request for a WebSocket, and makes its session; see
    /// [`Callbacks::on_upgrade`]. Call it before the others.
    pub fn on_upgrade<S, D: Into<Decision<S>>>(
        self,
        function: impl FnMut(&IncomingRequest) -> D,
    ) -> CallbackServer<Callbacks<S, impl FnMut(&IncomingRequest) -> Decision<S>>> {
        CallbackServer { server: self, callbacks: Callbacks::new().on_upgrade(function) }
    }

    /// Sets the closure that is called when a connection is open, like [`Handler::on_open`].
    pub fn on_open<R>(
        self,
        function: impl FnMut(&mut Peer<'_>) -> R,
    ) -> CallbackServer<Callbacks<(), AcceptAll, impl FnMut(&mut Peer<'_>)>> {
        CallbackServer { server: self, callbacks: Callbacks::new().on_open(function) }
    }

    /// Sets the closure that is called for each message, like [`Handler::on_message`]. What it returns is dropped.
    #[allow(clippy::type_complexity, reason = "each closure keeps its own type")]
    pub fn on_message<R>(
        self,
        function: impl FnMut(&mut Peer<'_>, Message<'_>) -> R,
    ) -> CallbackServer<
        Callbacks<(), AcceptAll, fn(&mut Peer<'_>), impl FnMut(&mut Peer<'_>, Message<'_>)>,
    > {
        CallbackServer { server: self, callbacks: Callbacks::new().on_message(function) }
    }

    /// Makes `threads` event loops, a thread each, that serve these sockets together; at most 255. For work that one
    /// processor cannot do: one loop serves tens of thousands of connections.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for no thread or too many, and for a [`Config`] that cannot work; the
    /// system's.
    #[doc(alias("cluster", "workers", "thread pool", "multithreading", "cores"))]
    pub fn threads(self, threads: usize) -> io::Result<EventLoops> {
        let (listeners, settings) = self.into_parts();
        EventLoops::new(listeners, settings, threads)
    }

    fn into_parts(mut self) -> (Vec<Listener>, Settings) {
        self.settings.listeners = self.listeners.iter().map(Listener::facts).collect();
        (self.listeners, self.settings)
    }

    /// Serves with a handler until a [`Handle`](crate::Handle) shuts the loop down.
    ///
    /// # Errors
    ///
    /// As [`into_event_loop`](Self::into_event_loop) and [`EventLoop::run`].
    #[doc(alias = "run_forever")]
    pub fn run<H: Handler>(self, handler: H) -> io::Result<()> {
        self.into_event_loop(handler)?.run()
    }

    /// Serves like [`run`](Self::run), with a handler that is made with a handle to its loop.
    ///
    /// ```
    /// # use framewire::{Decision, Handler, IncomingRequest, Message, Peer};
    /// use framewire::{LoopHandle, Server};
    ///
    /// struct Search {
    ///     own: LoopHandle<Self>,
    /// }
    ///
    /// # fn look_up(text: &str) -> String { text.to_owned() }
    /// impl Handler for Search {
    /// #   type Session = ();
    /// #   fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> { Decision::accept(()) }
    ///     // What takes long is done elsewhere, and its result comes back.
    ///     fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
    ///         let (own, id) = (self.own.clone(), peer.id());
    ///         let question = message.as_text().unwrap_or_default().to_owned();
    ///         std::thread::spawn(move || {
    ///             let answer = look_up(&question);
    ///             own.call_peer(id, move |_, peer| drop(peer.send(answer)));
    ///         });
    ///     }
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// Server::bind("127.0.0.1:0")?.run_with(|own| {
    /// #   own.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    ///     Search { own }
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_with<H: Handler>(self, handler: impl FnOnce(LoopHandle<H>) -> H) -> io::Result<()> {
        let (listeners, settings) = self.into_parts();
        EventLoop::making(listeners, &settings, handler)?.run()
    }
}

type AcceptAll = fn(&IncomingRequest) -> Decision<()>;

/// A [`Server`] with a handler of closures, which is to be [run](Self::run); made by [`Server::on_message`] and the
/// like.
///
/// ```no_run
/// fn main() -> std::io::Result<()> {
///     framewire::Server::bind("127.0.0.1:8080")?
///         .on_open(|peer| peer.send("something"))
///         .on_message(|_, message| println!("received: {message:?}"))
///         .on_close(|peer, outcome| println!("{}: {outcome}", peer.id()))
///         .run()
/// }
/// ```
#[must_use]
#[derive(Debug)]
pub struct CallbackServer<H> {
    server: Server,
    callbacks: H,
}

#[allow(clippy::type_complexity, reason = "each closure keeps its own type")]
impl<S, U, O, M, C> CallbackServer<Callbacks<S, U, O, M, C>> {
    /// Sets the closure that is called when a connection is open, like [`Handler::on_open`].
    pub fn on_open<R>(
        self,
        function: impl FnMut(&mut Peer<'_, S>) -> R,
    ) -> CallbackServer<Callbacks<S, U, impl FnMut(&mut Peer<'_, S>), M, C>> {
        CallbackServer { server: self.server, callbacks: self.callbacks.on_open(function) }
    }

    /// Sets the closure that is called for each message, like [`Handler::on_message`].
    pub fn on_message<R>(
        self,
        function: impl FnMut(&mut Peer<'_, S>, Message<'_>) -> R,
    ) -> CallbackServer<Callbacks<S, U, O, impl FnMut(&mut Peer<'_, S>, Message<'_>), C>> {
        CallbackServer { server: self.server, callbacks: self.callbacks.on_message(function) }
    }

    /// Sets the closure that is called when a connection has ended, like [`Handler::on_close`].
    pub fn on_close<R>(
        self,
        function: impl FnMut(&mut Peer<'_, S>, &Outcome) -> R,
    ) -> CallbackServer<Callbacks<S, U, O, M, impl FnMut(&mut Peer<'_, S>, &Outcome)>> {
        CallbackServer { server: self.server, callbacks: self.callbacks.on_close(function) }
    }
}

impl<H: Handler> CallbackServer<H> {
    /// The loop that serves with these closures.
    ///
    /// # Errors
    ///
    /// As [`Server::into_event_loop`].
    pub fn into_event_loop(self) -> io::Result<EventLoop<H>> {
        self.server.into_event_loop(self.callbacks)
    }

    /// Serves until a [`Handle`](crate::Handle) shuts the loop down.
    ///
    /// # Errors
    ///
    /// As [`Server::run`].
    pub fn run(self) -> io::Result<()> {
        self.server.run(self.callbacks)
    }
}

/// Serves WebSockets on a TCP address and gives every message to a function, for ever.
///
/// ```no_run
/// fn main() -> std::io::Result<()> {
///     framewire::serve("127.0.0.1:9001", |peer, message| peer.send(message))
/// }
/// ```
///
/// # Errors
///
/// As [`Server::bind`] and [`EventLoop::run`].
pub fn serve<R>(
    address: impl ToSocketAddrs,
    function: impl FnMut(&mut Peer<'_>, Message<'_>) -> R,
) -> io::Result<()> {
    Server::bind(address)?.on_message(function).run()
}
