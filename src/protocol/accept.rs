use crate::handshake::{Cookie, Headers, InvalidHeader, Request, is_of_handshake};

use super::compression::Compression;
use super::config::{Config, Settings};
use super::error::SendError;
#[cfg(feature = "deflate")]
use super::state::Role;

/// How to accept a request; [`Accept::new`] does what [`Config`] says.
///
/// ```
/// use framewire::Accept;
///
/// let accept = Accept::new().subprotocol("chat.v2").header("Set-Cookie", "seen=1")?;
/// # Ok::<(), framewire::handshake::InvalidHeader>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Accept {
    subprotocol: SubprotocolChoice,
    headers: Headers,
    no_deflate: bool,
    config: Option<Config>,
}

#[derive(Clone, Debug, Default)]
enum SubprotocolChoice {
    #[default]
    ByConfig,
    None,
    This(Box<str>),
}

impl Accept {
    /// Accepts with the first of [`Config::subprotocols`] that the client
    /// offers, and compression as configured.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses this subprotocol, which the client must have offered.
    #[doc(alias = "selectSubprotocol")]
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = SubprotocolChoice::This(name.into().into_boxed_str());
        self
    }

    /// Opens without a subprotocol, whatever was offered.
    #[must_use]
    pub fn no_subprotocol(mut self) -> Self {
        self.subprotocol = SubprotocolChoice::None;
        self
    }

    /// Opens without compression, whatever was offered.
    #[must_use]
    pub fn no_deflate(mut self) -> Self {
        self.no_deflate = true;
        self
    }

    /// Serves the connection with these settings from now on: limits, subprotocols, compression,
    /// deadlines. Without it they stay those that the connection was made with.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    pub(super) fn take_config(&mut self) -> Option<Config> {
        self.config.take()
    }

    /// Adds a header field to the 101, such as `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] for a name that is not a token, a value with control characters, or a field
    /// that the handshake sets itself; so no answer can be split by what a user typed.
    #[doc(alias("setHeader", "response header"))]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        if is_of_handshake(name) {
            return Err(InvalidHeader::Reserved(name.into()));
        }
        self.headers.append(name, value)?;
        Ok(self)
    }

    /// Sets a cookie with the 101.
    #[doc(alias = "Set-Cookie")]
    #[must_use]
    pub fn cookie(mut self, cookie: &Cookie) -> Self {
        let appended = self.headers.append("Set-Cookie", cookie.to_string());
        debug_assert_eq!(appended, Ok(()), "a cookie has no byte that a header may not have");
        self
    }

    pub(super) fn headers(&self) -> &Headers {
        &self.headers
    }

    fn choose_subprotocol(
        &self,
        request: &Request,
        settings: &Settings,
    ) -> Result<Option<Box<str>>, SendError> {
        let offered = |name: &str| request.subprotocols().any(|offer| offer == name);
        match &self.subprotocol {
            SubprotocolChoice::None => Ok(None),
            SubprotocolChoice::This(name) if offered(name) => Ok(Some(name.clone())),
            SubprotocolChoice::This(name) => Err(SendError::SubprotocolNotOffered(name.clone())),
            SubprotocolChoice::ByConfig => {
                let chosen = settings.subprotocols.choose(request.subprotocols());
                let first = || request.subprotocols().next().filter(|_| settings.any_subprotocol);
                Ok(chosen.or_else(first).map(Box::from))
            }
        }
    }
}

/// What was agreed on.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) subprotocol: Option<Box<str>>,
    pub(super) compression: Option<Box<Compression>>,
}

/// What was agreed on, with the header that says so.
pub(super) struct Agreed {
    pub(super) opened: Opened,
    pub(super) extensions: Option<String>,
}

/// Chooses from what a client offers.
pub(super) fn negotiate(
    request: &Request,
    accept: &Accept,
    settings: &Settings,
) -> Result<Agreed, SendError> {
    let subprotocol = accept.choose_subprotocol(request, settings)?;
    #[cfg_attr(not(feature = "deflate"), allow(unused_mut, reason = "nothing to negotiate"))]
    let mut agreed = Agreed { opened: Opened { subprotocol, compression: None }, extensions: None };
    #[cfg(feature = "deflate")]
    if !accept.no_deflate
        && let Some(config) = settings.deflate_config(Role::Server)
        && let Some((params, answer)) = crate::deflate::accept_offer(&request.extensions(), &config)
    {
        let compression = Compression::new(params, Role::Server, &config);
        agreed.opened.compression = Some(Box::new(compression));
        agreed.extensions = Some(answer);
    }
    Ok(agreed)
}
