use crate::handshake::ClientRequest;

use super::{Connection, Phase};
use crate::protocol::config::Config;
use crate::protocol::entropy::{Entropy, EntropyError};
use crate::protocol::event::Role;
use crate::protocol::opening::Opening;
use crate::protocol::output::Output;
use crate::protocol::receiver::Receiver;
use crate::protocol::sender::Sender;
use crate::protocol::upgraded::Upgraded;
use crate::protocol::workspace::Workspace;

/// Creation.
impl Connection {
    /// The server's end of a connection whose transport has just been accepted.
    pub fn server(config: &Config) -> Self {
        let opening = Opening::server(config.settings());
        Self::new(Role::Server, Phase::Connecting(Box::new(opening)), config)
    }

    /// The client's end of a connection whose transport has just been opened: the request is in the
    /// output. `entropy` serves for the nonce of the handshake and the masking keys.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] if there is no entropy for the nonce.
    ///
    /// ```
    /// use framewire::handshake::{ClientRequest, Url};
    /// use framewire::{Config, Connection};
    ///
    /// let request = ClientRequest::new(&Url::parse("ws://example.com/chat")?);
    /// let not_random = |bytes: &mut [u8]| bytes.fill(7);
    /// let connection = Connection::client(request, &Config::new(), not_random)?;
    /// let head: Vec<u8> = connection.output().flatten().copied().collect();
    /// assert!(head.starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client(
        request: ClientRequest,
        config: &Config,
        entropy: impl Entropy + Send + 'static,
    ) -> Result<Self, EntropyError> {
        let mut workspace = Some(Box::new(Workspace::with_entropy(entropy)));
        let mut connection = Self::client_in(request, config, &mut workspace)?;
        connection.workspace = workspace;
        Ok(connection)
    }

    /// The same with the entropy of a workspace that is [lent](Self::lend) to each connection in turn.
    ///
    /// # Errors
    ///
    /// [`EntropyError`] if there is no entropy for the nonce.
    pub fn client_in(
        request: ClientRequest,
        config: &Config,
        workspace: &mut Option<Box<Workspace>>,
    ) -> Result<Self, EntropyError> {
        let mut nonce = [0; 16];
        workspace.get_or_insert_default().fill_entropy(&mut nonce)?;
        let mut output = Output::default();
        let opening = Opening::client(request, nonce, config.settings(), &mut output);
        let phase = Phase::Connecting(Box::new(opening));
        let mut connection = Self::new(Role::Client, phase, config);
        connection.output = Some(Box::new(output));
        Ok(connection)
    }

    /// The server's end of a connection that another HTTP server accepts with a 101 of its own. The
    /// request comes as [`Event::Request`](crate::Event::Request) all the same, before anything is read:
    /// [`accept`](Self::accept) then sends nothing, and what it says of subprotocol, header fields and
    /// compression is void; [`reject`](Self::reject) sends a Close.
    pub fn upgraded(upgraded: Upgraded, config: &Config) -> Self {
        Self::new(Role::Server, Phase::Connecting(Box::new(Opening::upgraded(upgraded))), config)
    }

    /// The client's end of a connection that somebody else opened, without subprotocol or compression.
    pub fn adopted_client(config: &Config, entropy: impl Entropy + Send + 'static) -> Self {
        let mut connection = Self::new(Role::Client, Phase::Open, config);
        connection.workspace = Some(Box::new(Workspace::with_entropy(entropy)));
        connection
    }

    /// The server's end of a connection that somebody else opened, without subprotocol or compression.
    pub fn adopted_server(config: &Config) -> Self {
        Self::new(Role::Server, Phase::Open, config)
    }

    fn new(role: Role, phase: Phase, config: &Config) -> Self {
        Self {
            role,
            ping_answered: false,
            pings: 0,
            phase,
            config: config.clone(),
            receiver: Receiver::default(),
            sender: Sender::default(),
            compression: None,
            subprotocol: None,
            output: None,
            workspace: None,
            messages: 0,
        }
    }
}
