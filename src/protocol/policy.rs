use crate::handshake::{HandshakeError, Request};

use super::config::{Config, Settings};

/// Who may connect.
///
/// [`origins`](Self::origins) and [`same_origin`](Self::same_origin) say whose pages may open a WebSocket
/// here: a browser lets all pages do so, and sends the user's cookies along. Where one of the two lets a
/// request pass, it passes. [`hosts`](Self::hosts) and [`local_hosts`](Self::local_hosts) say by which
/// names this server may be asked.
impl Config {
    /// Server: lets pages of this same host pass, those whose `Origin` has the name and the port that
    /// stand in `Host`; see [`Request::is_same_origin`]. Another origin is answered 403, unless it is one
    /// of [`origins`](Self::origins). A request without an origin is not a browser's and passes.
    ///
    /// ```
    /// use framewire::Config;
    ///
    /// // Its own pages, and those of one other site.
    /// let config = Config::new().same_origin().origins(["https://partner.example"]);
    /// ```
    pub fn same_origin(self) -> Self {
        self.with(|settings| settings.same_origin = true)
    }

    /// Server: the names under which it may be asked, compared without the port and without regard to
    /// ASCII case; one that begins with a dot stands for a domain and all names under it. Another name in
    /// `Host` is answered 403, whether a WebSocket is asked for or a page. By default all names pass.
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
    pub fn hosts<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(|name| name.into().into_boxed_str()).collect();
        self.with(|settings| settings.hosts = Some(names))
    }

    /// Server: lets `localhost`, the names under it and all IP addresses pass as names of this server,
    /// none of which an attacker can make its own; all others, but for those of [`hosts`](Self::hosts),
    /// are answered 403.
    pub fn local_hosts(self) -> Self {
        self.with(|settings| settings.local_hosts = true)
    }

    /// Whether a request keeps to the path, the origins and the hosts of these settings. An engine asks by
    /// itself before it tells of the request; this is for who chooses the settings by the request.
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
    /// let config = Config::new().same_origin();
    /// assert_eq!(config.check(&request), Err(HandshakeError::OriginRefused));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, request: &Request) -> Result<(), HandshakeError> {
        self.settings().check_host(request)?;
        self.settings().check(request)
    }

    /// The part of this that holds for plain requests too.
    #[cfg(feature = "mio")]
    pub(crate) fn check_host(&self, request: &Request) -> Result<(), HandshakeError> {
        self.settings().check_host(request)
    }
}

impl Settings {
    pub(super) fn check_host(&self, request: &Request) -> Result<(), HandshakeError> {
        let passes = (self.hosts.is_none() && !self.local_hosts)
            || (self.local_hosts && request.is_local_host())
            || self.hosts.iter().flatten().any(|name| request.is_for_host(name));
        if passes { Ok(()) } else { Err(HandshakeError::HostRefused) }
    }

    /// Path and origin.
    pub(super) fn check(&self, request: &Request) -> Result<(), HandshakeError> {
        if self.path.as_deref().is_some_and(|path| path != request.path()) {
            return Err(HandshakeError::PathNotServed);
        }
        let Some(origin) = request.origin() else { return Ok(()) };
        let passes = (self.origins.is_none() && !self.same_origin)
            || (self.same_origin && request.is_same_origin() == Some(true))
            || self.origins.iter().flatten().any(|own| own.eq_ignore_ascii_case(origin));
        if passes { Ok(()) } else { Err(HandshakeError::OriginRefused) }
    }
}
