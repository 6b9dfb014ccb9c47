use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Client;
use crate::client::closer::Closer;
use crate::client::connection::ClientConnection;
use crate::client::dial;
use crate::client::error::{ClientError, ClientTimeout, in_context, timed_out_or};
use crate::client::proxy::{self, Proxy};
use crate::client::redirect::{self, RedirectChain};
use crate::client::resolve::{Resolver, resolve};
use crate::client::socket::Socket;
use crate::client::transport::ClientStream;
use crate::client::wait::{ConnectWait, Waiter};
use crate::handshake::{ClientRequest, ClientRequestError, Headers, InvalidHeader, Url};
use crate::protocol::{Config, Endpoint, SystemEntropy, Workspace};
#[cfg(feature = "tls")]
use crate::tls::{self, TlsSocket, TlsStream};

/// The settings of a client before it connects.
///
/// ```no_run
/// use framewire::{Client, Config};
/// use std::time::Duration;
///
/// let client = Client::builder("ws://example.com/chat")?
///     .subprotocols(["chat.v2", "chat.v1"])?
///     .header("Authorization", "Bearer token")?
///     .connect_timeout(Duration::from_secs(3))
///     .config(Config::new().max_message_size(1 << 20))
///     .connect()?;
/// println!("speaking {:?}", client.subprotocol());
/// # Ok::<(), framewire::ClientError>(())
/// ```
#[must_use = "it connects when told to"]
#[derive(Clone)]
pub struct ClientBuilder {
    url: Url,
    request: ClientRequest,
    config: Config,
    connect_timeout: Option<Duration>,
    redirects: u8,
    user_agent: Option<&'static str>,
    connect_to: Option<SocketAddr>,
    local_addr: Option<SocketAddr>,
    resolver: Option<Arc<Resolver>>,
    proxy: ProxyChoice,
    proxy_headers: Headers,
    closer: OwnCloser,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
    #[cfg(feature = "tls")]
    tls_server_name: Option<String>,
}

const USER_AGENT: &str = "User-Agent";

/// How the server was reached.
enum Reached {
    Socket(Socket),
    /// Through TLS to a proxy.
    #[cfg(feature = "tls")]
    Tunnel(Box<TlsStream<Socket>>),
}

/// The closer of the client to be. A clone of the builder makes another client.
struct OwnCloser(Closer);

impl Clone for OwnCloser {
    fn clone(&self) -> Self {
        Self(Closer::new())
    }
}

/// Which proxy is used.
#[derive(Clone)]
enum ProxyChoice {
    /// That of the environment, if it names one.
    Environment,
    None,
    This(Proxy),
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("url", &self.url).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// A client of this URL: 10 s to connect, 10 s for the opening handshake, compression offered.
    pub(super) fn new(url: &str) -> Result<Self, ClientError> {
        let url = Url::parse(url)?;
        let request = ClientRequest::new(&url);
        let connect_timeout = Some(Duration::from_secs(10));
        Ok(Self {
            url,
            request,
            config: Config::new(),
            connect_timeout,
            redirects: 0,
            user_agent: Some(concat!("framewire/", env!("CARGO_PKG_VERSION"))),
            connect_to: None,
            local_addr: None,
            resolver: None,
            proxy: ProxyChoice::Environment,
            proxy_headers: Headers::new(),
            closer: OwnCloser(Closer::new()),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            tls_server_name: None,
        })
    }

    /// Sets limits, deadlines and compression, for which see [`Config`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Offers these subprotocols, the most wanted first. The server must then choose one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for one that is not a token or stands twice.
    pub fn subprotocols<S: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self, ClientError> {
        self.request = self.request.subprotocols(names)?;
        Ok(self)
    }

    /// Adds a header field to the request. A `User-Agent` takes the place of framewire's own.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for a field that may not be sent, or that the handshake sets itself.
    #[doc(alias("bearer", "Authorization header", "extraHeaders"))]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, ClientError> {
        self.request = self.request.header(name, value)?;
        if name.eq_ignore_ascii_case(USER_AGENT) {
            self.user_agent = None;
        }
        Ok(self)
    }

    /// Leaves out framewire's own `User-Agent`, which says `framewire/` and the version.
    pub fn no_user_agent(mut self) -> Self {
        self.user_agent = None;
        self
    }

    /// Sends this `Host`, with a port or without, instead of the URL's; the client still connects to the URL's host,
    /// and the certificate must still name that. A redirect has its own.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for one that cannot be a `Host`.
    pub fn host(mut self, host: impl Into<String>) -> Result<Self, ClientError> {
        self.request = self.request.host(host)?;
        Ok(self)
    }

    /// Connects to this address, without a name lookup and without a proxy. The URL's host still is the `Host`, the
    /// name by which the server chooses its certificate, and the one that this must have. A redirect to another
    /// origin leads elsewhere.
    ///
    /// ```no_run
    /// # use framewire::Client;
    /// let one_of_many = std::net::SocketAddr::from(([192, 0, 2, 7], 443));
    /// let client = Client::builder("wss://example.com/chat")?.connect_to(one_of_many).connect()?;
    /// # Ok::<(), framewire::ClientError>(())
    /// ```
    #[doc(alias = "family")]
    pub fn connect_to(mut self, address: impl Into<SocketAddr>) -> Self {
        self.connect_to = Some(address.into());
        self
    }

    /// Connects from this local address; port 0 lets the system choose the port. Only addresses of its family are
    /// connected to, one after the other.
    #[doc(alias = "localAddress")]
    pub fn local_addr(mut self, address: impl Into<SocketAddr>) -> Self {
        self.local_addr = Some(address.into());
        self
    }

    /// Resolves host names, that of a proxy included, with this function instead of the system's resolver. It is
    /// called with a host and a port; addresses are not looked up. What it answers with is tried in turn, the two
    /// families alternating.
    ///
    /// It runs in a thread of its own, which is left to itself when the
    /// [`connect_timeout`](Self::connect_timeout) is over, or a [`Closer`] has ended the client.
    #[doc(alias("lookup", "DNS"))]
    pub fn resolver(
        mut self,
        resolver: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Sets the `Origin` header, which browsers send by themselves.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for one that cannot be a header value.
    pub fn origin(mut self, origin: impl Into<String>) -> Result<Self, ClientError> {
        self.request = self.request.origin(origin)?;
        Ok(self)
    }

    /// Sets the version of the protocol: 13, the default, or 8, that of its last draft.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for another one.
    #[doc(alias = "protocolVersion")]
    pub fn version(mut self, version: u8) -> Result<Self, ClientError> {
        self.request = self.request.version(version)?;
        Ok(self)
    }

    /// How long connecting may take: the name lookup, the attempts at all addresses, and the answer of a proxy
    /// together; default 10 s. The opening handshake has a [deadline of its own](Config::handshake_timeout), and each
    /// redirect has both anew.
    #[doc(alias = "dial timeout")]
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = timeout.into();
        self
    }

    /// Sets how the client speaks TLS with `wss:` URLs, that is, which roots it trusts and which certificate it
    /// shows: a [`TlsClient`](crate::TlsClient), or a [`rustls::ClientConfig`]. By default the roots of the web are
    /// trusted.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// The name or IP address that the server's certificate must have, and by which the server chooses the
    /// certificate (SNI); by default the host of the URL. Where a redirect leads to another host, that host's name
    /// counts.
    #[cfg(feature = "tls")]
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls_server_name = Some(name.into());
        self
    }

    /// Follows at most `max` redirects, and never more than 10; by default none, so that a redirect is a
    /// [`ClientError::Rejected`].
    ///
    /// To another origin (scheme, host or port) the user name and password, `Authorization`, `Cookie`
    /// and `Proxy-Authorization` are not sent; from `wss:` to `ws:` is not followed.
    #[doc(alias("followRedirects", "maxRedirects"))]
    pub fn redirects(mut self, max: u8) -> Self {
        self.redirects = max.min(redirect::MOST);
        self
    }

    /// Connects through this proxy: `http://user:password@host:port`, of which a tunnel is asked with
    /// `CONNECT`, the same over TLS with `https:`, or `socks5://user:password@host:port`, which is also told names
    /// and not addresses. TLS to the proxy is that of [`tls`](Self::tls), with the proxy's own name. Unix sockets
    /// need none.
    ///
    /// By default it is that of the environment, as for curl: `ws_proxy`, `http_proxy` and `all_proxy`
    /// for `ws:`, `wss_proxy`, `https_proxy` and `all_proxy` for `wss:`, in lower or upper case, but for
    /// what `no_proxy` lists: names with all below them, addresses, networks as `10.0.0.0/8`, each
    /// with a port or without, or `*`. `localhost` and loopback addresses never go through that one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Proxy`] for a URL that cannot be read.
    #[doc(alias("agent", "SOCKS5", "HTTP_PROXY", "tunnel"))]
    pub fn proxy(mut self, url: &str) -> Result<Self, ClientError> {
        self.proxy = ProxyChoice::This(Proxy::parse(url).map_err(ClientError::Proxy)?);
        Ok(self)
    }

    /// Adds a header field to the `CONNECT` with which an HTTP proxy is asked for a tunnel. A `Proxy-Authorization`
    /// takes the place of the one that the proxy's URL stands for.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for a field that may not be sent, and for `Host`, `Content-Length` and
    /// `Transfer-Encoding`.
    pub fn proxy_header(
        mut self,
        name: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<Self, ClientError> {
        let reserved = ["Host", "Content-Length", "Transfer-Encoding"];
        if reserved.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(ClientRequestError::Header(InvalidHeader::Reserved(name.to_owned())).into());
        }
        self.proxy_headers.append(name, value).map_err(ClientRequestError::Header)?;
        Ok(self)
    }

    /// Connects without a proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyChoice::None;
        self
    }

    /// Returns what ends the client from any thread, from now on: while [`connect`](Self::connect) waits for a name,
    /// a socket, a proxy, TLS or the answer to the handshake, and when it is connected. A clone of this builder has
    /// another one.
    ///
    /// ```
    /// use framewire::{Client, ClientError};
    ///
    /// // It accepts connections, and never answers.
    /// let deaf = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let builder = Client::builder(&format!("ws://{}/", deaf.local_addr()?))?;
    /// let closer = builder.closer();
    /// let connecting = std::thread::spawn(move || builder.connect());
    /// closer.abort();
    /// assert!(matches!(connecting.join().unwrap(), Err(ClientError::Aborted)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn closer(&self) -> Closer {
        self.closer.0.clone()
    }

    /// Has this end the client, too.
    pub(in crate::client) fn with_closer(mut self, closer: Closer) -> Self {
        self.closer = OwnCloser(closer);
        self
    }

    /// How long an answer to a Ping may take.
    pub(in crate::client) fn pong_time_limit(&self) -> Option<Duration> {
        self.config.pong_time_limit()
    }

    /// Connects, and does the opening handshake.
    ///
    /// # Errors
    ///
    /// [`ClientError`] says which step failed; [`ClientError::Aborted`] where its [`closer`](Self::closer) was used.
    pub fn connect(self) -> Result<Client, ClientError> {
        self.config.validate()?;
        let mut request = self.request.clone();
        if let Some(user_agent) = self.user_agent {
            request = request.header(USER_AGENT, user_agent)?;
        }
        let mut redirects = RedirectChain::new(self.url.clone(), request, self.redirects);
        let closer = &self.closer.0;
        loop {
            if closer.is_requested() {
                return Err(ClientError::Aborted);
            }
            match self.attempt(&redirects.url, redirects.request()) {
                Ok(client) => return Ok(client),
                Err(_) if closer.is_requested() => return Err(ClientError::Aborted),
                Err(error) => redirects.follow(error)?,
            }
        }
    }

    fn attempt(&self, url: &Url, request: ClientRequest) -> Result<Client, ClientError> {
        self.check_secure(url)?;
        let until = self.connect_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let closer = self.closer();
        let mut wait = ConnectWait::new(&closer)?;
        let (reached, socket) = self.dial(url, until, &mut wait)?;
        let transport = self.secure(reached, url)?;
        let mut workspace = Workspace::with_entropy(SystemEntropy::new());
        let endpoint = Endpoint::client(request, &self.config, &mut workspace)?;
        let connection = ClientConnection::new(endpoint, workspace, transport);
        let waiter = Waiter::Poll(wait.into_inner());
        Client::open(connection, waiter, Some(socket), closer, &named(url))
    }

    /// Whether this build and these settings can reach this URL at all, asked before anything is sent.
    fn check_secure(&self, url: &Url) -> Result<(), ClientError> {
        let built = cfg!(feature = "tls");
        if url.is_secure() && !built { Err(ClientError::TlsNotBuilt) } else { Ok(()) }
    }

    /// Puts TLS around the socket, connected to the host of this URL, where the URL asks for it. The
    /// handshake of TLS is the transport's, done by its reads and writes: the socket does not block.
    fn secure(&self, reached: Reached, url: &Url) -> Result<Box<dyn ClientStream>, ClientError> {
        self.check_secure(url)?;
        #[cfg(feature = "tls")]
        if url.is_secure() {
            let name = self.tls_server_name.as_deref().filter(|_| url.host() == self.url.host());
            let name = name.unwrap_or_else(|| url.host());
            return Ok(match reached {
                Reached::Socket(socket) => {
                    Box::new(TlsSocket::client(self.tls_config(), name, socket)?)
                }
                Reached::Tunnel(stream) => {
                    Box::new(TlsSocket::client(self.tls_config(), name, *stream)?)
                }
            });
        }
        Ok(match reached {
            Reached::Socket(socket) => Box::new(socket),
            #[cfg(feature = "tls")]
            Reached::Tunnel(stream) => stream,
        })
    }

    #[cfg(feature = "tls")]
    fn tls_config(&self) -> Arc<rustls::ClientConfig> {
        self.tls.clone().unwrap_or_else(tls::default_config)
    }

    /// Reaches the server of `url`, and says over which socket.
    fn dial(
        &self,
        url: &Url,
        until: Option<Instant>,
        wait: &mut ConnectWait,
    ) -> Result<(Reached, Socket), ClientError> {
        let proxy = self.proxy_for(url)?;
        let socket = match &proxy {
            None => self.dial_directly(url, until, wait).map_err(|error| match error {
                ClientError::Io(error) => {
                    ClientError::Io(in_context(format!("cannot connect to {}", named(url)), error))
                }
                error => error,
            })?,
            Some(proxy) => self
                .dial_tcp(&proxy.host(), proxy.port(), until, wait)
                .map_err(|error| proxy.failed(error))?,
        };
        let another = socket.try_clone()?;
        wait.watch(&another)?;
        let Some(proxy) = proxy else { return Ok((Reached::Socket(socket), another)) };
        let (headers, config) = (&self.proxy_headers, &self.config);
        #[cfg(feature = "tls")]
        if proxy.is_secure() {
            let mut stream = Box::new(proxy.secure(self.tls_config(), socket)?);
            proxy.tunnel(&mut *stream, wait, url, headers, config, until)?;
            return Ok((Reached::Tunnel(stream), another));
        }
        let mut socket = socket;
        proxy.tunnel(&mut socket, wait, url, headers, config, until)?;
        Ok((Reached::Socket(socket), another))
    }

    /// The proxy that is to reach this URL, if any is.
    fn proxy_for(&self, url: &Url) -> Result<Option<Proxy>, ClientError> {
        let is_local = url.socket_path().is_some();
        if is_local || self.connect_to.is_some_and(|_| url.is_same_origin(&self.url)) {
            return Ok(None);
        }
        let environment = |name: &str| std::env::var(name).ok();
        let proxy = match &self.proxy {
            ProxyChoice::None => None,
            ProxyChoice::This(proxy) => Some(proxy.clone()),
            ProxyChoice::Environment => {
                proxy::from_environment(url, environment).map_err(ClientError::Proxy)?
            }
        };
        if proxy.as_ref().is_some_and(Proxy::is_secure) && !cfg!(feature = "tls") {
            return Err(ClientError::TlsNotBuilt);
        }
        Ok(proxy)
    }

    /// A socket at whose other end is the server of `url`.
    fn dial_directly(
        &self,
        url: &Url,
        until: Option<Instant>,
        wait: &mut ConnectWait,
    ) -> Result<Socket, ClientError> {
        if let Some(path) = url.socket_path() {
            return dial::connect_unix(path, until, wait).map_err(|error| {
                let error = in_context(format!("connecting to {path}"), error);
                timed_out_or(error, until, || ClientTimeout::Connect(path.into()))
            });
        }
        if let Some(address) = self.connect_to.filter(|_| url.is_same_origin(&self.url)) {
            return self.connect_tcp([address], &address.to_string(), until, wait);
        }
        self.dial_tcp(&proxy::host_to_resolve(url.authority()), url.port(), until, wait)
    }

    fn dial_tcp(
        &self,
        host: &str,
        port: u16,
        until: Option<Instant>,
        wait: &mut ConnectWait,
    ) -> Result<Socket, ClientError> {
        let addresses =
            resolve(host, port, self.resolver.as_ref(), until, wait).map_err(|error| {
                let error = in_context(format!("resolving {host}"), error);
                timed_out_or(error, until, || ClientTimeout::Resolve(host.into()))
            })?;
        self.connect_tcp(addresses, host, until, wait)
    }

    fn connect_tcp(
        &self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        host: &str,
        until: Option<Instant>,
        wait: &mut ConnectWait,
    ) -> Result<Socket, ClientError> {
        let stream = match self.local_addr {
            Some(local) => dial::connect_from(local, addresses, until, wait),
            None => dial::connect(addresses, until, wait),
        };
        match stream {
            Ok(stream) => Ok(Socket::Tcp(stream.into())),
            Err(error) => Err(timed_out_or(error, until, || ClientTimeout::Connect(host.into()))),
        }
    }
}

/// A URL as errors name it, which go into logs: without its query, where secrets often are.
fn named(url: &Url) -> String {
    let text = url.to_string();
    match text.split_once('?') {
        Some((named, _)) => named.to_owned(),
        None => text,
    }
}
