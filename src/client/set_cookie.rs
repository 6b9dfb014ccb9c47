use crate::handshake::Url;

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
    is_over: bool,
}

impl SetCookie {
    /// Reads the value of `Set-Cookie`; `None` for one without a name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (name, value) = parts.next()?.split_once('=')?;
        let (name, value) = (name.trim_end().to_owned(), value.trim_start().to_owned());
        let mut cookie =
            Self { name, value, path: None, domain: None, is_secure: false, is_over: false };
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
                    cookie.is_over = is_number && (is_zero || digits.len() < value.len());
                }
                // A date at which it lapses matters to who keeps it, which a way of redirects does not.
                _ => {}
            }
        }
        Some(cookie).filter(|cookie| !cookie.name.is_empty())
    }

    /// Whether it is to be kept, from a server of this name.
    pub(super) fn is_of(&self, host: &str) -> bool {
        let is_domain = |domain: &str| {
            let below = host.strip_suffix(domain);
            below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
        };
        !self.is_over && self.domain.as_deref().is_none_or(is_domain)
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
