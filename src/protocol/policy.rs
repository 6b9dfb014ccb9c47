use crate::handshake::{HandshakeError, Request};

use super::config::{Config, Settings};

/// Who may connect.
impl Config {
    /// Whether a request keeps to the path and the origins of these settings. An engine asks by itself
    /// before it tells of the request; this is for who chooses the settings by the request.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`], to be answered with `Response::from(&error)`.
    ///
    /// ```
    /// use framewire::Config;
    /// use framewire::handshake::{HandshakeError, HeadLimits, RequestParts};
    ///
    /// let request = RequestParts::new("GET", "/chat")?
    ///     .header("Host", "example.com")?
    ///     .header("Origin", "https://elsewhere.example")?
    ///     .read(HeadLimits::default())?;
    /// let config = Config::new().origins(["https://example.com"]);
    /// assert_eq!(config.check(&request), Err(HandshakeError::OriginRefused));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, request: &Request) -> Result<(), HandshakeError> {
        self.settings().check(request)
    }
}

impl Settings {
    pub(super) fn check(&self, request: &Request) -> Result<(), HandshakeError> {
        if self.path.as_deref().is_some_and(|path| path != request.path()) {
            return Err(HandshakeError::PathNotServed);
        }
        if let (Some(origins), Some(origin)) = (&self.origins, request.origin())
            && !origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return Err(HandshakeError::OriginRefused);
        }
        Ok(())
    }
}
