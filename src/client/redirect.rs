pub(super) mod error;

use std::time::{SystemTime, UNIX_EPOCH};

pub use self::error::RedirectError;
use super::error::ClientError;
use super::set_cookie::SetCookie;
use crate::handshake::{ClientRequest, Response, Url};

/// The most redirects that are ever followed.
pub(super) const MOST: u8 = 10;

/// Where a client is on its way through redirects.
pub(super) struct RedirectChain {
    pub(super) url: Url,
    /// Without the cookies that were set on the way.
    request: ClientRequest,
    /// What the origin of `url` has set on the way.
    cookies: Vec<SetCookie>,
    /// How many more may be followed, if any may.
    left: Option<u8>,
}

impl RedirectChain {
    /// At the beginning, with this many redirects at the most; none is followed for zero.
    pub(super) fn new(url: Url, request: ClientRequest, redirects: u8) -> Self {
        let left = Some(redirects).filter(|&redirects| redirects > 0);
        Self { url, request, cookies: Vec::new(), left }
    }

    /// What is asked for at `url`.
    pub(super) fn request(&self) -> ClientRequest {
        let mut request = self.request.clone();
        for cookie in self.cookies.iter().filter(|cookie| cookie.is_for(&self.url)) {
            // A cookie with characters that a header cannot carry is left out.
            if let Ok(with) = request.clone().cookie(&cookie.name, &cookie.value) {
                request = with;
            }
        }
        request
    }

    /// Turns to where the server sent it.
    ///
    /// # Errors
    ///
    /// `error` itself if it sends nowhere; otherwise why it is not followed.
    pub(super) fn follow(&mut self, error: ClientError) -> Result<(), ClientError> {
        let ClientError::Rejected(response) = &error else { return Err(error) };
        let location = location(response);
        let (Some(left), Some(location)) = (self.left, location) else { return Err(error) };
        self.left = Some(left.checked_sub(1).ok_or(ClientError::TooManyRedirects)?);
        self.turn(location, response).map_err(ClientError::Redirect)
    }

    fn turn(&mut self, location: &str, response: &Response) -> Result<(), RedirectError> {
        let target = self.url.join(location).map_err(RedirectError::Url)?;
        if target.socket_path().is_some() && !self.url.is_same_origin(&target) {
            return Err(RedirectError::UnixSocket);
        }
        if self.url.is_secure() && !target.is_secure() {
            return Err(RedirectError::Insecure);
        }
        let mut request = self.request.clone();
        if self.url.is_same_origin(&target) {
            self.keep_cookies(response);
        } else {
            // Never restored, even if a later redirect leads back: another origin has chosen that target.
            request = request.without_credentials();
            self.cookies.clear();
        }
        self.request = request.redirected(&target);
        self.url = target;
        Ok(())
    }

    fn keep_cookies(&mut self, response: &Response) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for value in response.headers().get_all("Set-Cookie") {
            let text = std::str::from_utf8(value).ok();
            let cookie = text.and_then(|text| SetCookie::parse(text, now));
            // A cookie for another domain is ignored (RFC 6265 section 5.3, step 6).
            let Some(cookie) = cookie.filter(|cookie| cookie.is_of(self.url.host())) else {
                continue;
            };
            self.cookies.retain(|kept| (&kept.name, &kept.path) != (&cookie.name, &cookie.path));
            if !cookie.is_over && self.cookies.len() < COOKIES {
                self.cookies.push(cookie);
            }
        }
    }
}

/// The most cookies that are kept on the way.
const COOKIES: usize = 50;

/// Where a response redirects to (RFC 9110 section 15.4).
fn location(response: &Response) -> Option<&str> {
    match response.status() {
        301 | 302 | 303 | 307 | 308 => response.headers().get_str("Location"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::handshake::UrlError;

    const KEY: [u8; 24] = *b"dGhlIHNhbXBsZSBub25jZQ==";

    fn chain(url: &str, redirects: u8) -> RedirectChain {
        let url = Url::parse(url).unwrap();
        let mut request = ClientRequest::new(&url);
        for (name, value) in [("cookie", "a=1"), ("X-Kept", "yes")] {
            request = request.header(name, value).unwrap();
        }
        if url.userinfo().is_none() {
            request = request.header("AUTHORIZATION", "Bearer t").unwrap();
        }
        request = request.header("Proxy-Authorization", "Basic eA==").unwrap();
        RedirectChain::new(url, request, redirects)
    }

    fn redirect(status: u16, location: &str) -> ClientError {
        let response = Response::new(status).header("Location", location).unwrap();
        ClientError::Rejected(Arc::new(response))
    }

    fn head(chain: &RedirectChain) -> String {
        let mut bytes = Vec::new();
        chain.request().encode(&KEY, None, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    // attack: HC06
    #[test]
    fn credentials_stay_with_their_origin_for_good() {
        for url in ["ws://h/a/b", "ws://u:p@h/a/b"] {
            let mut chain = chain(url, 10);
            chain.follow(redirect(302, "../c?d#e")).unwrap();
            assert!(head(&chain).starts_with("GET /c?d HTTP/1.1\r\nHost: h\r\n"));
            chain.follow(redirect(307, "ws://h:80/d")).unwrap();
            let kept = head(&chain).to_ascii_lowercase();
            let credentials = ["authorization: b", "cookie: a=1", "proxy-authorization: basic"];
            assert!(credentials.iter().all(|secret| kept.contains(secret)), "{kept}");
            chain.follow(redirect(308, "ws://h:81/d")).unwrap();
            chain.follow(redirect(301, "ws://h/a/b")).unwrap();
            let bare = head(&chain).to_ascii_lowercase();
            assert!(!bare.contains("authorization") && !bare.contains("cookie"), "{bare}");
            assert!(bare.contains("x-kept: yes"), "{bare}");
            chain.follow(redirect(303, "wss://v:q@i")).unwrap();
            assert!(head(&chain).contains("Host: i\r\n"));
            assert!(head(&chain).contains("Authorization: Basic djpx\r\n"));
        }
    }

    // attack: HC06
    #[test]
    fn cookies_go_back_to_the_origin_that_has_set_them() {
        let setting = |location: &str, cookies: &[&str]| {
            let mut response = Response::new(302).header("Location", location).unwrap();
            for cookie in cookies {
                response = response.header("Set-Cookie", cookie).unwrap();
            }
            ClientError::Rejected(Arc::new(response))
        };
        let cookies = |chain: &RedirectChain| {
            let head = head(chain);
            assert!(head.to_ascii_lowercase().matches("\r\ncookie:").count() <= 1, "{head}");
            let line = head.lines().find_map(|line| line.strip_prefix("Cookie: "));
            line.map(str::to_owned)
        };
        let mut chain = chain("ws://h/a", 10);
        let set = [
            "s=2; HttpOnly; SameSite=Lax",
            "a=3; path=/",
            "secret=4; Secure",
            "other=5; Domain=i",
            "below=6; Path=/x",
            "=7",
            "8",
        ];
        chain.follow(setting("/b", &set)).unwrap();
        // All are in one header, and a cookie that was set replaces the application's of the same name.
        assert_eq!(cookies(&chain).as_deref(), Some("s=2; a=3"));
        chain.follow(setting("/x/y", &["s=; Max-Age=0", "t=9; Domain=.H"])).unwrap();
        assert_eq!(cookies(&chain).as_deref(), Some("a=3; below=6; t=9"));
        // A cookie for another domain neither sets anything nor deletes anything.
        chain.follow(setting("/x/y", &["t=evil; Domain=i", "t=; Max-Age=0; Domain=i"])).unwrap();
        assert_eq!(cookies(&chain).as_deref(), Some("a=3; below=6; t=9"));
        let past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        let future = "Expires=Fri, 31 Dec 9999 23:59:59 GMT";
        chain
            .follow(setting(
                "/x/y",
                &[&format!("below=; Path=/x; {past}"), &format!("t=9; {future}")],
            ))
            .unwrap();
        assert_eq!(cookies(&chain).as_deref(), Some("a=3; t=9"));
        chain.follow(setting("/x/y", &[&format!("t=10; {past}; Max-Age=9")])).unwrap();
        assert_eq!(cookies(&chain).as_deref(), Some("a=3; t=10"));
        chain.follow(setting("/xy", &["a=x; Max-Age=-1; Path=/"])).unwrap();
        assert_eq!(cookies(&chain).as_deref(), Some("a=1; t=10"));
        chain.follow(setting("ws://i/", &["u=1"])).unwrap();
        assert_eq!(cookies(&chain), None);
        chain.follow(setting("ws://h/", &["v=1"])).unwrap();
        assert_eq!(cookies(&chain), None);
        chain.follow(setting("/", &["w=1"])).unwrap();
        assert_eq!(cookies(&chain).as_deref(), Some("w=1"));
    }

    // attack: HC06
    #[test]
    fn what_is_not_followed() {
        let follow = |url, redirects, error| chain(url, redirects).follow(error).unwrap_err();
        let error = follow("ws://h", 0, redirect(302, "/a"));
        assert_eq!(error.status(), Some(302));
        for status in [300, 304, 305, 306, 401] {
            let error = follow("ws://h", 1, redirect(status, "/a"));
            assert_eq!(error.status(), Some(status));
        }
        let error = follow("ws://h", 1, ClientError::Rejected(Arc::new(Response::new(302))));
        assert_eq!(error.status(), Some(302));
        let refused = |url, location| match follow(url, 1, redirect(302, location)) {
            ClientError::Redirect(error) => error,
            error => panic!("{location}: {error}"),
        };
        assert_eq!(refused("wss://h", "ws://h/"), RedirectError::Insecure);
        assert_eq!(refused("wss://h", "http://i/"), RedirectError::Insecure);
        assert_eq!(refused("ws://h", "ws+unix:/run/x"), RedirectError::UnixSocket);
        assert_eq!(refused("wss://h", "ws+unix:/run/x"), RedirectError::UnixSocket);
        assert_eq!(refused("ws+unix:/run/y", "ws+unix:/run/x"), RedirectError::UnixSocket);
        let scheme = RedirectError::Url(UrlError::Scheme("ftp".into()));
        assert_eq!(refused("ws://h", "ftp://h/"), scheme);
    }

    // attack: HC06
    #[test]
    fn a_loop_ends() {
        let mut chain = chain("ws://h/a", MOST);
        for _ in 0..MOST {
            chain.follow(redirect(302, "/a")).unwrap();
        }
        let error = chain.follow(redirect(302, "/a")).unwrap_err();
        assert!(matches!(error, ClientError::TooManyRedirects), "{error:?}");
    }
}
