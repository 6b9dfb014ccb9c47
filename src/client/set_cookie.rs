use std::time::Duration;

use crate::handshake::{HttpDate, Url};

/// A cookie that a server has set, as far as a way of redirects needs it (RFC 6265 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetCookie {
    pub(super) name: String,
    pub(super) value: String,
    /// For this path and those below it; for all of them if none was set.
    pub(super) path: Option<String>,
    domain: Option<String>,
    is_secure: bool,
    /// It has lapsed: others of its name and path go with it.
    pub(super) is_over: bool,
}

impl SetCookie {
    /// Reads the value of `Set-Cookie` that comes so long after the beginning of 1970; `None` for one without a name.
    pub(super) fn parse(text: &str, now: Duration) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim_end().to_owned(), value.trim_start().to_owned());
        let mut cookie =
            Self { name, value, path: None, domain: None, is_secure: false, is_over: false };
        let (mut is_aged, mut expires) = (None, None);
        for part in parts {
            let (attribute, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim_start();
            match attribute.trim_end().to_ascii_lowercase().as_str() {
                "secure" => cookie.is_secure = true,
                "path" => cookie.path = Some(value.to_owned()).filter(|path| path.starts_with('/')),
                "domain" => {
                    let domain = value.strip_prefix('.').unwrap_or(value).to_ascii_lowercase();
                    cookie.domain = Some(domain).filter(|domain| !domain.is_empty());
                }
                "max-age" => {
                    let digits = value.strip_prefix('-').unwrap_or(value);
                    let is_number =
                        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                    let is_zero = digits.bytes().all(|byte| byte == b'0');
                    if is_number {
                        is_aged = Some(is_zero || digits.len() < value.len());
                    }
                }
                "expires" => expires = HttpDate::parse(value).or(expires),
                _ => {}
            }
        }
        // "If a cookie has both … the Max-Age attribute has precedence" (RFC 6265 section 4.1.2.2).
        let is_expired = || expires.is_some_and(|date| date.duration_since_1970() <= now);
        cookie.is_over = is_aged.unwrap_or_else(is_expired);
        Some(cookie).filter(|cookie| !cookie.name.is_empty())
    }

    /// Whether a server of this name may set it.
    pub(super) fn is_of(&self, host: &str) -> bool {
        let is_domain = |domain: &str| {
            let below = host.strip_suffix(domain);
            below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
        };
        self.domain.as_deref().is_none_or(is_domain)
    }

    /// Whether it is to be sent with a request for this URL, of the same origin.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        let path = url.target().split('?').next().unwrap_or_default();
        let is_path = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            })
        };
        (url.is_secure() || !self.is_secure) && self.path.as_deref().is_none_or(is_path)
    }
}
