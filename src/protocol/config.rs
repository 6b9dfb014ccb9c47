use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "deflate")]
use crate::deflate::DeflateConfig;
use crate::handshake::{
    HeadLimits, Request, RequestError, Response, TrustedProxies, is_host_name, is_name_of, is_token,
};

use crate::wire::FrameHeader;

#[cfg(feature = "deflate")]
use super::state::Role;
use super::subprotocols::Subprotocols;

/// The settings of a connection; cheap to clone and shared by all connections made with it.
///
/// The limits are on by default. Every value has a meaning: a limit of 0 allows nothing, not anything.
///
/// ```
/// use framewire::Config;
/// use std::time::Duration;
///
/// let config = Config::new()
///     .max_message_size(1 << 20)
///     .subprotocols(["chat.v2", "chat.v1"])
///     .close_timeout(Duration::from_secs(1));
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[doc(alias("WebSocketConfig", "options"))]
#[derive(Clone, Debug, Default)]
pub struct Config(Arc<Settings>);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_message_size: usize,
    pub(super) max_fragments: u32,
    pub(super) max_rejection_body: usize,
    /// Besides `GET` and `HEAD`.
    pub(super) http_methods: Vec<Box<str>>,
    pub(super) max_request_body: usize,
    pub(super) output_high_water: usize,
    pub(super) output_low_water: usize,
    pub(super) max_buffered_amount: usize,
    pub(super) auto_pong: bool,
    pub(super) fragments: Fragments,
    pub(super) head: HeadLimits,
    pub(super) timeouts: Timeouts,
    pub(super) path: Option<Box<str>>,
    pub(super) origins: Option<Vec<Box<[u8]>>>,
    pub(super) same_origin: bool,
    pub(super) hosts: Option<Vec<Box<str>>>,
    pub(super) local_hosts: bool,
    pub(super) trusted_proxies: Option<Arc<TrustedProxies>>,
    pub(super) subprotocols: Subprotocols,
    pub(super) any_subprotocol: bool,
    #[cfg(feature = "deflate")]
    pub(super) deflate: DeflateSetting,
}

/// How long each part of a connection may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    pub(super) handshake: TimeLimit,
    pub(super) rejection: TimeLimit,
    pub(super) decision: TimeLimit,
    pub(super) first_message: TimeLimit,
    pub(super) ping: TimeLimit,
    pub(super) pong: TimeLimit,
    pub(super) message: TimeLimit,
    pub(super) write: TimeLimit,
    pub(super) close: TimeLimit,
    pub(super) idle: TimeLimit,
    pub(super) lifetime: TimeLimit,
    /// By how much of itself, in per cent, a deadline that may be spread is shortened at the most.
    pub(super) jitter: u8,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: TimeLimit::from_secs(10),
            rejection: TimeLimit::from_secs(1),
            decision: TimeLimit::from_secs(10),
            first_message: TimeLimit::NONE,
            ping: TimeLimit::from_secs(20),
            pong: TimeLimit::from_secs(20),
            message: TimeLimit::NONE,
            write: TimeLimit::from_secs(30),
            close: TimeLimit::from_secs(5),
            idle: TimeLimit::NONE,
            lifetime: TimeLimit::NONE,
            jitter: 25,
        }
    }
}

/// A time limit in microseconds; the greatest number stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeLimit(u64);

impl TimeLimit {
    pub(super) const NONE: Self = Self(u64::MAX);

    const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000_000)
    }

    #[inline]
    pub(super) const fn as_micros(self) -> u64 {
        self.0
    }

    fn duration(self) -> Option<Duration> {
        (self != Self::NONE).then(|| Duration::from_micros(self.0))
    }
}

impl From<Option<Duration>> for TimeLimit {
    fn from(limit: Option<Duration>) -> Self {
        let micros = |limit: Duration| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        limit.map_or(Self::NONE, |limit| Self(micros(limit)))
    }
}

/// Which messages are delivered in pieces: see [`Config::fragments`].
///
/// A message of which pieces come takes no more memory than one of them, compressed or not; what can be
/// delivered, [`Config::max_message_size`] limits all the same.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fragments {
    /// No messages: each one is delivered whole.
    #[default]
    Never,
    /// All messages.
    Always,
    /// Messages whose first frame announces this many bytes or more, on the wire, and messages that come in several
    /// frames, since nothing tells how long they will be.
    From(usize),
}

impl Fragments {
    /// Whether a message that begins with this frame comes in pieces.
    #[inline]
    pub(super) fn include(self, first: &FrameHeader) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::From(bytes) => !first.fin || first.payload_len >= bytes as u64,
        }
    }
}

/// Whether a connection offers or accepts permessage-deflate.
#[cfg(feature = "deflate")]
#[derive(Clone, Debug, Default)]
pub(super) enum DeflateSetting {
    /// A client offers it, a server declines it.
    #[default]
    ByRole,
    Off,
    On(DeflateConfig),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_size: 16 << 20,
            max_fragments: 131_072,
            max_rejection_body: 64 << 10,
            http_methods: Vec::new(),
            max_request_body: 64 << 10,
            output_high_water: 1 << 20,
            output_low_water: 256 << 10,
            max_buffered_amount: 16 << 20,
            auto_pong: true,
            fragments: Fragments::Never,
            head: HeadLimits::default(),
            timeouts: Timeouts::default(),
            path: None,
            origins: None,
            same_origin: false,
            hosts: None,
            local_hosts: false,
            trusted_proxies: None,
            subprotocols: Subprotocols::default(),
            any_subprotocol: false,
            #[cfg(feature = "deflate")]
            deflate: DeflateSetting::default(),
        }
    }
}

impl Config {
    /// The default settings, which the setters name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest message accepted, in bytes of payload, inflated; default 16 MiB. A longer one fails
    /// the connection with 1009 as soon as a frame header announces it or inflation passes it. Memory
    /// is committed as bytes arrive, never by an announced length.
    #[doc(alias(
        "maxPayload",
        "maxPayloadLength",
        "maxHttpBufferSize",
        "max_frame_size",
        "read_limit"
    ))]
    #[must_use]
    pub fn max_message_size(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_message_size = bytes)
    }

    /// The most frames that one message may be made of, default 131,072; more fail the connection with
    /// 1008.
    #[doc(alias = "maxBufferedChunks")]
    #[must_use]
    pub fn max_fragments(self, fragments: u32) -> Self {
        self.with(|settings| settings.max_fragments = fragments)
    }

    /// The longest head of an HTTP request or answer in bytes, default 16 KiB; a longer request is
    /// answered 431.
    #[must_use]
    pub fn max_head_size(self, bytes: usize) -> Self {
        self.with(|settings| settings.head.head_bytes = bytes)
    }

    /// The most header fields in a head, default 100; more are answered 431.
    #[must_use]
    pub fn max_headers(self, fields: usize) -> Self {
        self.with(|settings| settings.head.headers = fields)
    }

    /// The longest request line in bytes, default 8,192; a longer one is answered 414.
    #[must_use]
    pub fn max_request_line(self, bytes: usize) -> Self {
        self.with(|settings| settings.head.request_line_bytes = bytes)
    }

    /// How much of the body of an answer other than 101 a client keeps, in bytes, default 64 KiB.
    #[must_use]
    pub fn max_rejection_body(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_rejection_body = bytes)
    }

    /// Server: the methods of plain requests that are served besides `GET` and `HEAD`, such as `POST`; all
    /// others are answered 405 (RFC 9110 section 15.5.6), which is the default. Requests of these methods may have a
    /// [body](crate::Request::body), which is read before the application is told of the request, within
    /// the [handshake timeout](Self::handshake_timeout).
    ///
    /// Names are compared exactly. `CONNECT` cannot be one: this is no proxy.
    ///
    /// ```
    /// use framewire::{Config, Connection, Event, Response};
    ///
    /// let config = Config::new().http_methods(["POST"]).max_request_body(1000);
    /// let mut connection = Connection::server(&config);
    /// let mut bytes = b"POST /say HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec();
    /// let mut input = &mut bytes[..];
    /// while let Some(event) = connection.receive(&mut input) {
    ///     let Event::Http(request) = event else { continue };
    ///     assert_eq!((request.method(), request.body()), ("POST", &b"hello"[..]));
    ///     connection.respond(Response::new(204))?;
    /// }
    /// # assert!(connection.output().flatten().copied().collect::<Vec<_>>().starts_with(b"HTTP/1.1 204"));
    /// # Ok::<(), framewire::SendError>(())
    /// ```
    #[must_use]
    pub fn http_methods<M: Into<String>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        let methods = methods.into_iter().map(|method| method.into().into_boxed_str()).collect();
        self.with(|settings| settings.http_methods = methods)
    }

    /// Server: the longest body of such a request in bytes, default 64 KiB; a longer one is answered 413
    /// as soon as its head announces it, or it has come to be so long. Memory is committed as bytes arrive.
    #[must_use]
    pub fn max_request_body(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_request_body = bytes)
    }

    /// The number of unsent bytes from which a connection is [congested](crate::Endpoint::is_congested), default 1
    /// MiB: the event loop then stops reading from it, and only the latest Ping is answered (RFC 6455 section 5.5.3
    /// allows that).
    #[doc(alias = "highWaterMark")]
    #[must_use]
    pub fn output_high_water(self, bytes: usize) -> Self {
        self.with(|settings| settings.output_high_water = bytes)
    }

    /// The number of unsent bytes down to which a congested connection must come to count as drained, default 256
    /// KiB; values above the high water mark count as that mark.
    #[doc(alias = "lowWaterMark")]
    #[must_use]
    pub fn output_low_water(self, bytes: usize) -> Self {
        self.with(|settings| settings.output_low_water = bytes)
    }

    /// The number of unsent bytes above which further messages are rejected, default 16 MiB: a peer that does not
    /// read costs this much memory, and one message, at most. Control frames are not refused.
    #[doc(alias("maxBackpressure", "max_write_buffer_size"))]
    #[must_use]
    pub fn max_buffered_amount(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_buffered_amount = bytes)
    }

    /// The limit that [`max_rejection_body`](Self::max_rejection_body) has set.
    pub fn rejection_body_limit(&self) -> usize {
        self.settings().max_rejection_body
    }

    /// Whether Pings are answered automatically, default yes. Otherwise answer each
    /// [`Event::Ping`](crate::Event::Ping) with [`pong`](crate::Connection::pong).
    #[must_use]
    pub fn auto_pong(self, automatic: bool) -> Self {
        self.with(|settings| settings.auto_pong = automatic)
    }

    /// Which messages are delivered in pieces as they arrive, as
    /// [`Event::Fragment`](crate::Event::Fragment), instead of whole; by default none.
    ///
    /// It holds for messages that begin later. On a connection that is open,
    /// [`set_fragments`](crate::Connection::set_fragments) changes it.
    ///
    /// ```
    /// use framewire::{Config, Fragments};
    ///
    /// // Uploads come in pieces, and short messages whole.
    /// let config = Config::new().fragments(Fragments::From(64 * 1024));
    /// # assert_eq!(config.validate(), Ok(()));
    /// ```
    #[must_use]
    pub fn fragments(self, fragments: Fragments) -> Self {
        self.with(|settings| settings.fragments = fragments)
    }

    /// Server: the only path served, compared exactly with the request target up to `?`; another is
    /// answered 404. By default all paths are served.
    #[must_use]
    pub fn path(self, path: impl Into<String>) -> Self {
        let path = path.into().into_boxed_str();
        self.with(|settings| settings.path = Some(path))
    }

    /// Server: the origins that pages may come from, such as `https://example.com`, compared exactly
    /// but for ASCII case; another one is answered 403 (RFC 6455 section 10.2). A request without an
    /// origin is not a browser's and passes. By default all origins pass.
    #[doc(alias("cors", "allowed origins", "Access-Control-Allow-Origin"))]
    #[must_use]
    pub fn origins<O: AsRef<[u8]>>(self, origins: impl IntoIterator<Item = O>) -> Self {
        let origins = origins.into_iter().map(|origin| origin.as_ref().into()).collect();
        self.with(|settings| settings.origins = Some(origins))
    }

    /// Server: the subprotocols spoken, the most wanted first. The first that the client offers is
    /// chosen, unless [`Accept::subprotocol`](crate::Accept::subprotocol) chooses another; without any
    /// in common the connection opens without one (RFC 6455 section 4.2.2).
    #[doc(alias("handleProtocols", "Sec-WebSocket-Protocol"))]
    #[must_use]
    pub fn subprotocols<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        let names = Subprotocols::new(names);
        self.with(|settings| settings.subprotocols = names)
    }

    /// Server: chooses the first subprotocol that the client offers where it offers none of
    /// [`subprotocols`](Self::subprotocols), as ws does unless it is told otherwise. So a browser opens the
    /// connection whatever a page asks for; without this, it fails a connection that opens without a
    /// subprotocol though it offered some. The messages must then mean the same in every subprotocol, as they
    /// do for an echo: RFC 6455 section 1.9 has the subprotocol say what they mean.
    ///
    /// ```
    /// use framewire::Config;
    ///
    /// let config = Config::new().any_subprotocol();
    /// ```
    #[must_use]
    pub fn any_subprotocol(self) -> Self {
        self.with(|settings| settings.any_subprotocol = true)
    }

    /// Turns permessage-deflate on with these parameters (RFC 7692). By default a client offers it with
    /// the defaults of [`DeflateConfig`] and a server declines it.
    #[doc(alias("perMessageDeflate", "permessage-deflate", "compression", "gzip", "zlib"))]
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(self, deflate: DeflateConfig) -> Self {
        self.with(|settings| settings.deflate = DeflateSetting::On(deflate))
    }

    /// Turns permessage-deflate off, for a client too.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn no_deflate(self) -> Self {
        self.with(|settings| settings.deflate = DeflateSetting::Off)
    }

    /// How long the opening handshake may take from its first moment, default 10 s; the connection is
    /// then dropped. Progress does not extend it.
    #[doc(alias = "slowloris")]
    #[must_use]
    pub fn handshake_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.handshake = timeout.into().into())
    }

    /// The limit that [`handshake_timeout`](Self::handshake_timeout) has set.
    pub fn handshake_time_limit(&self) -> Option<Duration> {
        self.settings().timeouts.handshake.duration()
    }

    /// The limit that [`close_timeout`](Self::close_timeout) has set.
    pub fn close_time_limit(&self) -> Option<Duration> {
        self.settings().timeouts.close.duration()
    }

    /// The time that [`ping_interval`](Self::ping_interval) has set.
    pub fn ping_time_limit(&self) -> Option<Duration> {
        self.settings().timeouts.ping.duration()
    }

    /// The limit that [`pong_timeout`](Self::pong_timeout) has set.
    pub fn pong_time_limit(&self) -> Option<Duration> {
        self.settings().timeouts.pong.duration()
    }

    /// The limit that [`rejection_timeout`](Self::rejection_timeout) has set.
    pub fn rejection_time_limit(&self) -> Option<Duration> {
        self.settings().timeouts.rejection.duration()
    }

    /// Client: how long the body of a rejection may take from when its head has come whole, default 1 s; then
    /// the rejection is told with as much of its body as has come. The
    /// [handshake timeout](Self::handshake_timeout) holds as well.
    ///
    /// Some servers do not say where the body ends, and do not end the connection either (RFC 9112 section 6.3).
    #[must_use]
    pub fn rejection_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.rejection = timeout.into().into())
    }

    /// Server: how long the application may take to decide about a request, from the moment at which the
    /// request was whole, default 10 s; 503 is then answered. The handshake timeout does not run meanwhile.
    #[must_use]
    pub fn decision_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.decision = timeout.into().into())
    }

    /// How long an open connection may wait for its first message, by default for ever; it then fails
    /// with 1008. Time in which the application has paused the connection (`Peer::pause`) does not
    /// count.
    #[must_use]
    pub fn first_message_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.first_message = timeout.into().into())
    }

    /// How long the peer may be silent before a Ping is sent, default 20 s. In the event loop each connection takes
    /// up to a quarter less; see [`jitter`](Self::jitter). The answers tell the [round-trip
    /// time](crate::Endpoint::round_trip_time).
    #[doc(alias("heartbeat", "keep-alive", "sendPingsAutomatically", "isAlive"))]
    #[must_use]
    pub fn ping_interval(self, interval: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.ping = interval.into().into())
    }

    /// How long the peer may stay silent after such a Ping has left, default 20 s; the connection is then
    /// lost. Output that leaves behind the Ping shows as well that the peer is there.
    #[doc(alias("pingTimeout", "dead peer"))]
    #[must_use]
    pub fn pong_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.pong = timeout.into().into())
    }

    /// How long a message may take from its first byte to its last, by default for ever; the connection
    /// then fails with 1008. This is the guard against those who send a message byte by byte: their
    /// bytes keep every other deadline from passing. Time in which the application has
    /// paused the connection (`Peer::pause`) does not count.
    #[must_use]
    pub fn message_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.message = timeout.into().into())
    }

    /// How long a connection may be idle, that is, get no part of a message, by default for ever; the connection is
    /// then closed with 1001 and the reason `idle timeout`. Only messages count, and only those of the peer: a peer
    /// that answers Pings is alive and may be idle all the same. Time in which the application has paused the
    /// connection (`Peer::pause`) does not count.
    ///
    /// ```
    /// use framewire::{Config, Connection};
    /// use std::time::Duration;
    ///
    /// let config = Config::new().ping_interval(None).idle_timeout(Duration::from_secs(15));
    /// let mut connection = Connection::adopted_server(&config);
    /// connection.handle_timeout(Duration::ZERO);
    /// while connection.output().next().is_none() {
    ///     // Wait for the transport until then.
    ///     connection.handle_timeout(connection.next_timeout().unwrap());
    /// }
    /// assert_eq!(connection.output().flatten().copied().collect::<Vec<_>>(), b"\x88\x0e\x03\xe9idle timeout");
    /// ```
    #[must_use]
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.idle = timeout.into().into())
    }

    /// How long a connection may be open, whatever is said on it, by default for ever; it is then closed
    /// with 1001 and the reason `maximum lifetime reached`. It makes clients come back now and then,
    /// to another server or with a fresh token. In the event loop each connection takes up to a quarter
    /// less, so that they do not all come back at once; see [`jitter`](Self::jitter).
    #[must_use]
    pub fn max_lifetime(self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.lifetime = lifetime.into().into())
    }

    /// By how many per cent at most [`ping_interval`](Self::ping_interval) and [`max_lifetime`](Self::max_lifetime)
    /// are shortened, by a part of it that differs from connection to connection; default 25, and 0 for not at all.
    /// It needs a seed for each connection: the event loop gives one, the blocking client none, and a driver of yours
    /// by [`Connection::seed`](crate::Connection::seed).
    #[must_use]
    pub fn jitter(self, percent: u8) -> Self {
        self.with(|settings| settings.timeouts.jitter = percent)
    }

    /// How long unsent output may wait without the peer taking a byte, default 30 s; the connection is
    /// then lost. This holds for the handshake, for HTTP answers and for what waits before a Close, too.
    #[must_use]
    pub fn write_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.write = timeout.into().into())
    }

    /// How long the closing handshake and the end of the transport may take from when our Close, or the
    /// whole of an HTTP answer, has left, default 5 s; the transport is then dropped. Before,
    /// [`write_timeout`](Self::write_timeout) holds: however much waits before a Close goes out first, for as
    /// long as the peer takes it.
    #[must_use]
    pub fn close_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.with(|settings| settings.timeouts.close = timeout.into().into())
    }

    /// Checks the settings, which a setter alone cannot; the event loop calls this before it serves.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] names the setting that cannot work.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let settings = self.settings();
        // The shortest request that can ask for an upgrade is longer than this.
        if settings.head.head_bytes < 128 {
            return Err(InvalidConfig::HeadSize(settings.head.head_bytes));
        }
        if settings.head.headers < 5 {
            return Err(InvalidConfig::Headers(settings.head.headers));
        }
        if settings.head.request_line_bytes < 16 {
            return Err(InvalidConfig::RequestLine(settings.head.request_line_bytes));
        }
        if settings.max_fragments == 0 {
            return Err(InvalidConfig::Fragments);
        }
        if settings.output_low_water > settings.output_high_water {
            return Err(InvalidConfig::LowWater);
        }
        if settings.timeouts.jitter > 100 {
            return Err(InvalidConfig::Jitter(settings.timeouts.jitter));
        }
        if let Some(path) = settings.path.as_deref().filter(|path| !path.starts_with('/')) {
            return Err(InvalidConfig::Path(path.into()));
        }
        if let Some(name) = settings.hosts.iter().flatten().find(|name| !is_host_name(name)) {
            return Err(InvalidConfig::Host(name.to_string()));
        }
        let is_method = |name: &str| is_token(name.as_bytes()) && name != "CONNECT";
        if let Some(name) = settings.http_methods.iter().find(|name| !is_method(name)) {
            return Err(InvalidConfig::Method(name.to_string()));
        }
        let mut names = settings.subprotocols.iter();
        let malformed = names.find(|name| !is_token(name.as_bytes()));
        match malformed.or_else(|| settings.subprotocols.duplicate()) {
            Some(name) => Err(InvalidConfig::Subprotocol(name.to_owned())),
            None => Ok(()),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

/// Who may connect.
///
/// [`origins`](Self::origins) and [`same_origin`](Self::same_origin) say whose pages may open a WebSocket
/// here: a browser lets all pages do so, and sends the user's cookies along. Where one of the two lets a
/// request pass, it passes. [`hosts`](Self::hosts) and [`local_hosts`](Self::local_hosts) say by which
/// names this server may be asked.
impl Config {
    /// Server: accepts pages of its own host, those whose `Origin` has the name and the port that stand in `Host`;
    /// see [`Request::is_same_origin`]. Another origin is answered 403, unless it is one of
    /// [`origins`](Self::origins). A request without an origin is not a browser's and passes.
    ///
    /// ```
    /// use framewire::Config;
    ///
    /// // Its own pages, and those of one other site.
    /// let config = Config::new().same_origin().origins(["https://partner.example"]);
    /// ```
    #[doc(alias("csrf", "CSWSH", "cross-site"))]
    #[must_use]
    pub fn same_origin(self) -> Self {
        self.with(|settings| settings.same_origin = true)
    }

    /// Server: the host names that are served, compared without the port and without regard to ASCII case; one that
    /// begins with a dot stands for a domain and all names under it. Another name in `Host` is answered 403, whether
    /// a WebSocket is asked for or a page. By default all names pass. A dot at the end, that of an absolute name,
    /// makes no difference; a plain request of HTTP/1.0 that names no host, as health checks do, is not a browser's
    /// and passes.
    ///
    /// A server for one machine or one network needs this: a page of an attacker can give a name of its
    /// own the address of such a server (DNS rebinding), and is then of the same origin.
    ///
    /// ```
    /// use framewire::Config;
    ///
    /// // For development: as ws and Vite would have it.
    /// let config = Config::new().local_hosts().hosts(["my-machine", ".test.example"]);
    /// ```
    #[doc(alias("allowedHosts", "virtual host"))]
    #[must_use]
    pub fn hosts<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(|name| name.into().into_boxed_str()).collect();
        self.with(|settings| settings.hosts = Some(names))
    }

    /// Server: accepts `localhost`, the names under it and all IP addresses as names of this server, none of which an
    /// attacker can make its own; all others, but for those of [`hosts`](Self::hosts), are answered 403.
    #[doc(alias = "DNS rebinding")]
    #[must_use]
    pub fn local_hosts(self) -> Self {
        self.with(|settings| settings.local_hosts = true)
    }

    /// Server: the proxies whose header fields are believed, by default none. What they say of the client is its
    /// address, the host and the scheme that it asked for: so [`same_origin`](Self::same_origin),
    /// [`hosts`](Self::hosts) and `Server::max_connections_per_ip` hold for the client and not for the proxy, which
    /// may rewrite `Host`. A field that cannot be read is answered 400.
    ///
    /// Name no network from which clients may come by themselves: they could be whoever they like. See
    /// [`TrustedProxies`].
    ///
    /// The event loop tells whether a connection comes from one of them; a driver of your own does by
    /// [`Connection::trust_proxy`](crate::Connection::trust_proxy).
    ///
    /// ```
    /// use framewire::{Config, TrustedProxies};
    ///
    /// let proxies = TrustedProxies::new(["10.0.0.0/8", "::1"])?.unix_sockets();
    /// let config = Config::new().trusted_proxies(proxies).same_origin();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "trust proxy")]
    #[must_use]
    pub fn trusted_proxies(self, proxies: TrustedProxies) -> Self {
        self.with(|settings| settings.trusted_proxies = Some(Arc::new(proxies)))
    }

    /// The proxies of [`trusted_proxies`](Self::trusted_proxies).
    pub fn proxies(&self) -> Option<&TrustedProxies> {
        self.settings().trusted_proxies.as_deref()
    }

    /// Checks that a request keeps to the path, the origins and the hosts of these settings. An engine asks by itself
    /// before it tells of the request; this is for who chooses the settings by the request.
    ///
    /// # Errors
    ///
    /// [`RequestError`], to be answered with `Response::from(&error)`.
    ///
    /// ```
    /// use framewire::Config;
    /// use framewire::handshake::{RequestError, HeadLimits, RequestParts};
    ///
    /// let request = RequestParts::new("GET", "/chat")?
    ///     .header("Host", "example.com")?
    ///     .header("Origin", "https://elsewhere.example")?
    ///     .read(HeadLimits::default())?;
    /// let config = Config::new().same_origin();
    /// assert_eq!(config.check(&request), Err(RequestError::OriginRejected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, request: &Request) -> Result<(), RequestError> {
        self.settings().check_host(request)?;
        self.settings().check(request)
    }

    /// Checks that a request asks for a host of these settings: the part of [`check`](Self::check) that holds for
    /// plain requests too.
    ///
    /// # Errors
    ///
    /// [`RequestError::HostRejected`].
    pub fn check_host(&self, request: &Request) -> Result<(), RequestError> {
        self.settings().check_host(request)
    }
}

impl Settings {
    pub(super) fn check_host(&self, request: &Request) -> Result<(), RequestError> {
        if self.hosts.is_none() && !self.local_hosts {
            return Ok(());
        }
        let host_name = request.host_name();
        if host_name.is_empty() {
            // Only a plain HTTP/1.0 request has no Host, and no browser sends such a one.
            return Ok(());
        }
        let passes = (self.local_hosts && request.is_local_host())
            || self.hosts.iter().flatten().any(|name| is_name_of(host_name, name));
        if passes { Ok(()) } else { Err(RequestError::HostRejected) }
    }

    /// Of a plain request.
    pub(super) fn check_method(&self, request: &Request) -> Result<(), RequestError> {
        let method = request.method();
        let is_served = matches!(method, "GET" | "HEAD")
            || (method != "CONNECT" && self.http_methods.iter().any(|own| **own == *method));
        if is_served { Ok(()) } else { Err(RequestError::MethodNotAllowed) }
    }

    /// The answer to a request at fault.
    pub(super) fn response_to(&self, error: &RequestError) -> Response {
        if *error != RequestError::MethodNotAllowed {
            return Response::from(error);
        }
        let methods = self.http_methods.iter().map(|own| &**own).filter(|own| *own != "CONNECT");
        Response::method_not_allowed(["GET", "HEAD"].into_iter().chain(methods))
    }

    /// Path and origin.
    pub(super) fn check(&self, request: &Request) -> Result<(), RequestError> {
        if self.path.as_deref().is_some_and(|path| path != request.path()) {
            return Err(RequestError::PathNotServed);
        }
        let may_pass = |origin: &[u8]| {
            (self.same_origin && request.is_own_origin(origin))
                || self.origins.iter().flatten().any(|own| own.eq_ignore_ascii_case(origin))
        };
        let all_pass =
            (self.origins.is_none() && !self.same_origin) || request.origins().all(may_pass);
        if all_pass { Ok(()) } else { Err(RequestError::OriginRejected) }
    }

    /// What a connection in this role offers or accepts; `None` for no compression.
    #[cfg(feature = "deflate")]
    pub(super) fn deflate_config(&self, role: Role) -> Option<DeflateConfig> {
        match &self.deflate {
            DeflateSetting::On(config) => Some(config.clone()),
            DeflateSetting::ByRole if role == Role::Client => Some(DeflateConfig::default()),
            DeflateSetting::ByRole | DeflateSetting::Off => None,
        }
    }
}

/// A setting that cannot work.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InvalidConfig {
    /// A head size in which no request fits.
    HeadSize(usize),
    /// Fewer header fields than every upgrade has.
    Headers(usize),
    /// A request line in which no request fits.
    RequestLine(usize),
    /// A limit of no fragments: no message could be received.
    Fragments,
    /// A low water mark above the high one.
    LowWater,
    /// A jitter of more than 100 per cent.
    Jitter(u8),
    /// A path that does not begin with `/`.
    Path(String),
    /// A host that cannot be the name of one, or has a port.
    Host(String),
    /// A method that is not a token, or is `CONNECT`.
    Method(String),
    /// A subprotocol that is not a token or stands twice (RFC 6455 section 4.1).
    Subprotocol(String),
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadSize(bytes) => write!(f, "max_head_size: no request fits in {bytes} bytes"),
            Self::Headers(fields) => write!(f, "max_headers: an upgrade has more than {fields}"),
            Self::RequestLine(bytes) => {
                write!(f, "max_request_line: no request line fits in {bytes} bytes")
            }
            Self::Fragments => f.write_str("max_fragments: 0 allows no message"),
            Self::LowWater => f.write_str("output_low_water is above output_high_water"),
            Self::Jitter(percent) => write!(f, "jitter: {percent} per cent is more than 100"),
            Self::Path(path) => write!(f, "path: {path:?} does not begin with '/'"),
            Self::Host(name) => write!(f, "hosts: {name:?} is not the name of a host"),
            Self::Method(name) => write!(f, "http_methods: {name:?} cannot be served"),
            Self::Subprotocol(name) => {
                write!(f, "subprotocols: {name:?} is not a token or stands twice")
            }
        }
    }
}

impl std::error::Error for InvalidConfig {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Opcode;

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        assert_eq!(Config::new().validate(), Ok(()));
        for (config, error) in [
            (Config::new().max_head_size(0), InvalidConfig::HeadSize(0)),
            (Config::new().max_headers(4), InvalidConfig::Headers(4)),
            (Config::new().max_request_line(0), InvalidConfig::RequestLine(0)),
            (Config::new().max_fragments(0), InvalidConfig::Fragments),
            (Config::new().output_low_water(usize::MAX), InvalidConfig::LowWater),
            (Config::new().jitter(101), InvalidConfig::Jitter(101)),
            (Config::new().path("chat"), InvalidConfig::Path("chat".into())),
            (Config::new().hosts(["a:80"]), InvalidConfig::Host("a:80".into())),
            (Config::new().http_methods(["A B"]), InvalidConfig::Method("A B".into())),
            (Config::new().http_methods(["CONNECT"]), InvalidConfig::Method("CONNECT".into())),
            (Config::new().subprotocols(["a", "a"]), InvalidConfig::Subprotocol("a".into())),
            (Config::new().subprotocols(["a b"]), InvalidConfig::Subprotocol("a b".into())),
        ] {
            assert_eq!(config.validate(), Err(error.clone()));
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_setting_at_its_bound_works() {
        for config in [
            Config::new().max_head_size(128),
            Config::new().max_headers(5),
            Config::new().max_request_line(16),
            Config::new().max_fragments(1),
            Config::new().output_low_water(100).output_high_water(100),
            Config::new().jitter(100),
        ] {
            assert_eq!(config.validate(), Ok(()), "{config:?}");
        }
    }

    #[test]
    fn the_first_frame_tells_whether_a_message_comes_in_pieces() {
        let whole = |length| FrameHeader::new(Opcode::Binary, length);
        let begun = |length| FrameHeader { fin: false, ..whole(length) };
        assert!(Fragments::From(10).include(&whole(10)));
        assert!(!Fragments::From(10).include(&whole(9)));
        assert!(Fragments::From(10).include(&begun(0)));
        assert!(Fragments::Always.include(&whole(0)) && !Fragments::Never.include(&begun(99)));
    }

    #[test]
    fn a_clone_keeps_its_own_settings() {
        let first = Config::new().max_fragments(1);
        let second = first.clone().max_fragments(2);
        assert_eq!((first.settings().max_fragments, second.settings().max_fragments), (1, 2));
    }

    #[test]
    fn a_setter_leaves_all_else_as_it_was() {
        let config = Config::new().max_fragments(1).decision_timeout(Duration::from_secs(1));
        let settings = config.settings();
        let decision = settings.timeouts.decision.duration();
        assert_eq!((settings.max_fragments, decision), (1, Some(Duration::from_secs(1))));
    }

    #[test]
    fn a_method_that_is_not_served_is_told_which_are() {
        let config = Config::new().http_methods(["POST", "CONNECT"]);
        let response = config.settings().response_to(&RequestError::MethodNotAllowed);
        assert_eq!(response.headers().get_str("Allow"), Some("GET, HEAD, POST"));
    }
}
