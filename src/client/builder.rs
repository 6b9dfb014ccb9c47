use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{ClientError, Waiting};
use super::line::Line;
use super::socket::Socket;
use super::{Client, Waits, dial};
use crate::handshake::{ClientRequest, Url};
use crate::protocol::{Config, Connection, SystemEntropy, Workspace};
use crate::pump::Transport;
#[cfg(feature = "tls")]
use crate::tls::{self, TlsSocket};

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
#[derive(Clone)]
pub struct ClientBuilder {
    url: Url,
    request: ClientRequest,
    config: Config,
    connect_timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
    #[cfg(feature = "tls")]
    tls_server_name: Option<String>,
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

    /// Adds a header field to the request.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for a field that may not be sent, or that the handshake sets itself.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, ClientError> {
        self.request = self.request.header(name, value)?;
        Ok(self)
    }

    /// Says from which origin the request comes, as browsers do.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for one that cannot be a header value.
    pub fn origin(mut self, origin: impl Into<String>) -> Result<Self, ClientError> {
        self.request = self.request.origin(origin)?;
        Ok(self)
    }

    /// Speaks this version of the protocol, 13 (as by default) or 8, its last draft.
    ///
    /// # Errors
    ///
    /// [`ClientError::Request`] for another one.
    pub fn version(mut self, version: u8) -> Result<Self, ClientError> {
        self.request = self.request.version(version)?;
        Ok(self)
    }

    /// How long connecting to the address may take, all its attempts together; default 10 s. Resolving
    /// the name is the system's, and takes as long as the system lets it.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = timeout.into();
        self
    }

    /// Whom a `wss:` URL's server is trusted by and who the client says it is: a
    /// [`TlsClient`](crate::TlsClient), or a [`rustls::ClientConfig`]. By default the roots of the web
    /// are trusted.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// The name, or the IP address, that the server's certificate must have, and by which the server
    /// chooses it; by default the host of the URL.
    #[cfg(feature = "tls")]
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls_server_name = Some(name.into());
        self
    }

    /// Connects, and does the opening handshake.
    ///
    /// # Errors
    ///
    /// [`ClientError`] says which step failed.
    pub fn connect(self) -> Result<Client, ClientError> {
        self.config.validate()?;
        let until = self.connect_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.check_secure(&self.url)?;
        let socket = self.dial(until)?;
        let (wait, another) = (socket.waiter()?, socket.try_clone()?);
        let transport = self.secure(socket, &self.url)?;
        let mut workspace = Some(Box::new(Workspace::with_entropy(SystemEntropy::new())));
        let mut connection = Connection::client_in(self.request, &self.config, &mut workspace)?;
        if let Some(workspace) = workspace {
            connection.lend(workspace);
        }
        Client::new(Line::new(connection, transport), Waits::Poll(wait, another)).opened()
    }

    /// Whether this build and these settings can reach this URL at all, asked before anything is sent.
    fn check_secure(&self, url: &Url) -> Result<(), ClientError> {
        let built = cfg!(feature = "tls");
        if url.is_secure() && !built { Err(ClientError::TlsNotBuilt) } else { Ok(()) }
    }

    /// Puts TLS around the socket, connected to the host of this URL, where the URL asks for it. The
    /// handshake of TLS is the transport's, done by its reads and writes: the socket does not block.
    fn secure(&self, socket: Socket, url: &Url) -> Result<Box<dyn Transport + Send>, ClientError> {
        self.check_secure(url)?;
        #[cfg(feature = "tls")]
        if url.is_secure() {
            let config = self.tls.clone().unwrap_or_else(tls::default_config);
            let name = self.tls_server_name.as_deref().unwrap_or_else(|| url.host());
            return Ok(Box::new(TlsSocket::client(config, name, socket)?));
        }
        Ok(Box::new(socket))
    }

    fn dial(&self, until: Option<Instant>) -> Result<Socket, ClientError> {
        let addresses = (self.url.host(), self.url.port()).to_socket_addrs()?;
        match dial::connect(addresses, until) {
            Ok(stream) => Ok(Socket::Tcp(stream.into())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(ClientError::TimedOut(Waiting::Connect))
            }
            Err(error) => Err(error.into()),
        }
    }
}
