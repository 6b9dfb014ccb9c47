use std::sync::Arc;

use crate::handshake::{Headers, Request, accept_headers};

use super::accept::{Accept, Opened, negotiate};
#[cfg(feature = "deflate")]
use super::compression::Compression;
use super::config::{Config, Settings};
use super::error::SendError;
#[cfg(feature = "deflate")]
use super::state::Role;

/// A WebSocket that another HTTP server opens, one that insists on writing the 101 itself and hands the connection
/// over after it.
///
/// [`accept`](Self::accept) decides what the 101 says, and remembers what was agreed on.
///
/// ```
/// use framewire::handshake::{HeadLimits, RequestParts};
/// use framewire::{Accept, Config, Upgraded};
///
/// // What the other server tells of the request ...
/// let request = RequestParts::new("GET", "/chat")?
///     .header("Host", "example.com")?
///     .header("Upgrade", "websocket")?
///     .header("Connection", "Upgrade")?
///     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")?
///     .header("Sec-WebSocket-Version", "13")?
///     .header("Sec-WebSocket-Protocol", "chat.v2, chat.v1")?
///     .read(HeadLimits::default())?;
/// // ... and what its 101 is to say.
/// let config = Config::new().subprotocols(["chat.v1"]);
/// let (upgraded, headers) = Upgraded::accept(request, Accept::new(), &config)?;
/// assert_eq!(headers.get_str("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
/// assert_eq!(headers.get_str("Sec-WebSocket-Protocol"), Some("chat.v1"));
/// # let connection = framewire::Connection::upgraded(upgraded, &config);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Upgraded {
    pub(super) request: Arc<Request>,
    pub(super) subprotocol: Option<Box<str>>,
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<crate::deflate::DeflateParams>,
}

impl Upgraded {
    /// A connection that was opened for this request without a subprotocol and without an extension.
    pub fn new(request: impl Into<Arc<Request>>) -> Self {
        Self {
            request: request.into(),
            subprotocol: None,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Accepts a request as [`Connection::accept`](crate::Connection::accept) does, but leaves the
    /// answer to somebody else: a 101 with all of these header fields.
    ///
    /// # Errors
    ///
    /// [`SendError::NothingToAnswer`] if the request does not ask for a WebSocket,
    /// [`SendError::SubprotocolNotOffered`].
    pub fn accept(
        request: impl Into<Arc<Request>>,
        accept: Accept,
        config: &Config,
    ) -> Result<(Self, Headers), SendError> {
        let mut upgraded = Self::new(request);
        if !upgraded.request.is_upgrade() {
            return Err(SendError::NothingToAnswer);
        }
        let agreed = negotiate(&upgraded.request, &accept, config.settings())?;
        let (subprotocol, extensions) =
            (agreed.opened.subprotocol.as_deref(), agreed.extensions.as_deref());
        let key = upgraded.request.key().as_bytes();
        let headers = accept_headers(key, subprotocol, extensions, accept.headers())?;
        #[cfg(feature = "deflate")]
        {
            upgraded.deflate = agreed.opened.compression.as_deref().map(|agreed| agreed.params());
        }
        upgraded.subprotocol = agreed.opened.subprotocol;
        Ok((upgraded, headers))
    }

    /// Sets the subprotocol that the 101 names.
    #[must_use]
    pub fn subprotocol(self, name: impl Into<String>) -> Self {
        Self { subprotocol: Some(name.into().into_boxed_str()), ..self }
    }

    /// Sets the parameters of permessage-deflate that the 101 names.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(self, params: crate::deflate::DeflateParams) -> Self {
        Self { deflate: Some(params), ..self }
    }

    /// The request.
    pub fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// What a connection opened so begins with.
    pub(super) fn opened(&self, settings: &Settings) -> Opened {
        #[cfg(not(feature = "deflate"))]
        let (compression, _) = (None, settings);
        #[cfg(feature = "deflate")]
        let compression = self.deflate.map(|params| {
            let config = settings.deflate_config(Role::Server).unwrap_or_default();
            Box::new(Compression::new(params, Role::Server, &config))
        });
        Opened { subprotocol: self.subprotocol.clone(), compression }
    }
}
