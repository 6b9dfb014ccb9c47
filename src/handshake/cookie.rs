//! A cookie that an answer sets (RFC 6265).

use std::fmt;
use std::time::Duration;

use super::headers::{InvalidHeader, is_token};

/// A cookie to be set by [`Accept::cookie`](crate::Accept::cookie) or
/// [`Response::cookie`](crate::Response::cookie).
///
/// ```
/// use framewire::Accept;
/// use framewire::handshake::{Cookie, SameSite};
///
/// let cookie = Cookie::new("session", "31d4d96e")?.path("/chat")?.http_only().secure();
/// let cookie = cookie.same_site(SameSite::Strict);
/// assert_eq!(
///     cookie.to_string(),
///     "session=31d4d96e; Path=/chat; Secure; HttpOnly; SameSite=Strict",
/// );
/// let accept = Accept::new().cookie(&cookie);
/// // What a user has typed cannot end the value, or the line.
/// assert!(Cookie::new("name", "ann; Domain=example.com").is_err());
/// assert!(Cookie::new("name", "ann\r\nSet-Cookie: admin=1").is_err());
/// # Ok::<(), framewire::handshake::InvalidHeader>(())
/// ```
#[doc(alias("SameSite", "HttpOnly"))]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// Name and value.
    pair: String,
    path: Option<String>,
    domain: Option<String>,
    max_age: Option<Duration>,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
}

/// With which cross-site requests a browser sends a cookie.
#[allow(clippy::exhaustive_enums, reason = "browsers know these three")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SameSite {
    /// With no request: then a WebSocket that a page of another site opens does not bring it.
    Strict,
    /// With links that are followed, but not with WebSockets.
    Lax,
    /// With all requests; browsers want [`secure`](Cookie::secure) beside it.
    None,
}

impl Cookie {
    /// A cookie for this host, which lives as long as the browser runs.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader::Cookie`] for a name that is not a token, and a value with control characters, white
    /// space, quotation marks, commas, semicolons, backslashes or anything outside of ASCII (RFC 6265
    /// section 4.1.1): encode such a value first.
    pub fn new(name: &str, value: &str) -> Result<Self, InvalidHeader> {
        if !is_token(name.as_bytes()) {
            return Err(InvalidHeader::Cookie(name.to_owned()));
        }
        let is_octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
        if !value.bytes().all(is_octet) {
            return Err(InvalidHeader::Cookie(value.to_owned()));
        }
        Ok(Self {
            pair: format!("{name}={value}"),
            path: None,
            domain: None,
            max_age: None,
            secure: false,
            http_only: false,
            same_site: None,
        })
    }

    /// Limits the cookie to this path and those under it.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader::Cookie`] for a path that does not begin with `/`, or has a semicolon, a control
    /// character or anything outside of ASCII in it.
    pub fn path(mut self, path: &str) -> Result<Self, InvalidHeader> {
        self.path = Some(attribute(path, path.starts_with('/'))?);
        Ok(self)
    }

    /// Extends the cookie to this domain and the names under it.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader::Cookie`] for an empty domain, and as [`path`](Self::path).
    pub fn domain(mut self, domain: &str) -> Result<Self, InvalidHeader> {
        self.domain = Some(attribute(domain, !domain.is_empty())?);
        Ok(self)
    }

    /// Keeps the cookie for this long, in whole seconds; 0 deletes it at once.
    #[must_use]
    pub fn max_age(self, age: Duration) -> Self {
        Self { max_age: Some(age), ..self }
    }

    /// Limits the cookie to TLS.
    #[must_use]
    pub fn secure(self) -> Self {
        Self { secure: true, ..self }
    }

    /// Hides the cookie from scripts.
    #[must_use]
    pub fn http_only(self) -> Self {
        Self { http_only: true, ..self }
    }

    /// Says with which cross-site requests the cookie is sent.
    #[must_use]
    pub fn same_site(self, same_site: SameSite) -> Self {
        Self { same_site: Some(same_site), ..self }
    }
}

/// The value of `Set-Cookie`.
impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pair)?;
        for (name, value) in [("Domain", &self.domain), ("Path", &self.path)] {
            if let Some(value) = value {
                write!(f, "; {name}={value}")?;
            }
        }
        if let Some(age) = self.max_age {
            write!(f, "; Max-Age={}", age.as_secs())?;
        }
        if self.secure {
            f.write_str("; Secure")?;
        }
        if self.http_only {
            f.write_str("; HttpOnly")?;
        }
        match self.same_site {
            Some(same_site) => write!(f, "; SameSite={same_site:?}"),
            None => Ok(()),
        }
    }
}

fn attribute(value: &str, is_right: bool) -> Result<String, InvalidHeader> {
    let is_octet = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
    if !is_right || !value.bytes().all(is_octet) || value.trim() != value {
        return Err(InvalidHeader::Cookie(value.to_owned()));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_with_all_it_can_have() {
        let cookie = Cookie::new("a", "").unwrap();
        assert_eq!(cookie.to_string(), "a=");
        let cookie = Cookie::new("__Host-a", "b=c/d+e==").unwrap();
        let cookie = cookie.domain("example.com").unwrap().path("/").unwrap();
        let cookie = cookie.max_age(Duration::from_millis(90_500)).secure().http_only();
        assert_eq!(
            cookie.same_site(SameSite::None).to_string(),
            "__Host-a=b=c/d+e==; Domain=example.com; Path=/; Max-Age=90; Secure; HttpOnly; \
             SameSite=None"
        );
    }

    // HS33
    #[test]
    fn a_cookie_cannot_be_split() {
        for name in ["", "a b", "a=b", "a;b", "a\r\nb", "ä"] {
            assert_eq!(Cookie::new(name, ""), Err(InvalidHeader::Cookie(name.into())));
        }
        for value in ["a b", "a;b", "a,b", "\"a\"", "a\\b", "a\r\nSet-Cookie: b=c", "ä", "\0"] {
            assert_eq!(Cookie::new("a", value), Err(InvalidHeader::Cookie(value.into())));
        }
        let cookie = Cookie::new("a", "b").unwrap();
        for path in ["", "a", "/;Secure", "/\r\n", "/ä", "/ "] {
            assert_eq!(cookie.clone().path(path), Err(InvalidHeader::Cookie(path.into())));
        }
        for domain in ["", "a;b", "a\nb", " a"] {
            assert!(cookie.clone().domain(domain).is_err());
        }
    }
}
