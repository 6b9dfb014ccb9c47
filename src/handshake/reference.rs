//! What a `Location` means, seen from the URL that was asked (RFC 3986 section 5.2).

use super::{Url, UrlError};

impl Url {
    /// The URL that `reference`, absolute or relative, means where this one is the base (RFC 3986
    /// section 5.2).
    ///
    /// A fragment is dropped, for it is nothing of a request. The user name and the password stay with
    /// their origin.
    ///
    /// ```
    /// use framewire::handshake::Url;
    ///
    /// let url = Url::parse("wss://example.com/rooms/1?a=b")?;
    /// assert_eq!(url.join("../chat")?.to_string(), "wss://example.com/chat");
    /// assert_eq!(url.join("//b.example")?.to_string(), "wss://b.example/");
    /// assert_eq!(url.join("http://b.example/#c")?.to_string(), "ws://b.example/");
    /// # Ok::<(), framewire::handshake::UrlError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = reference.split('#').next().unwrap_or_default();
        if has_scheme(reference) {
            return Ok(self.keep_userinfo(Self::parse(reference)?));
        }
        if reference.starts_with("//") {
            if self.socket_path().is_some() {
                return Err(UrlError::MissingScheme);
            }
            let scheme = if self.is_secure() { "wss" } else { "ws" };
            return Ok(self.keep_userinfo(Self::parse(&format!("{scheme}:{reference}"))?));
        }
        let (path, query) = split_query(reference);
        let (base_path, base_query) = split_query(self.target());
        let (path, query) = match path {
            "" if query.is_empty() => (base_path.to_owned(), base_query),
            "" => (base_path.to_owned(), query),
            path if path.starts_with('/') => (without_dots(path), query),
            path => {
                let folder = &base_path[..=base_path.rfind('/').unwrap_or(0)];
                (without_dots(&format!("{folder}{path}")), query)
            }
        };
        Ok(self.keep_userinfo(Self::parse(&format!("{}{path}{query}", self.root()))?))
    }

    fn keep_userinfo(&self, target: Self) -> Self {
        if self.is_same_origin(&target) { target.or_userinfo_of(self) } else { target }
    }
}

/// `scheme ":"` (RFC 3986 section 3.1).
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The path, and the query with its question mark.
fn split_query(text: &str) -> (&str, &str) {
    text.split_at(text.find('?').unwrap_or(text.len()))
}

/// Without its segments `.` and `..` (RFC 3986 section 5.2.4). `path` begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3986 section 5.4, as far as their scheme is one of a WebSocket.
    #[test]
    fn the_examples_of_the_rfc() {
        let base = Url::parse("ws://a/b/c/d;p?q").unwrap();
        let cases = [
            ("ws:g", Err(UrlError::MissingHost)),
            ("g:h", Err(UrlError::Scheme("g".into()))),
            ("g", Ok("ws://a/b/c/g")),
            ("./g", Ok("ws://a/b/c/g")),
            ("g/", Ok("ws://a/b/c/g/")),
            ("/g", Ok("ws://a/g")),
            ("//g", Ok("ws://g/")),
            ("?y", Ok("ws://a/b/c/d;p?y")),
            ("g?y", Ok("ws://a/b/c/g?y")),
            ("#s", Ok("ws://a/b/c/d;p?q")),
            ("g#s", Ok("ws://a/b/c/g")),
            ("g?y#s", Ok("ws://a/b/c/g?y")),
            (";x", Ok("ws://a/b/c/;x")),
            ("g;x?y#s", Ok("ws://a/b/c/g;x?y")),
            ("", Ok("ws://a/b/c/d;p?q")),
            (".", Ok("ws://a/b/c/")),
            ("./", Ok("ws://a/b/c/")),
            ("..", Ok("ws://a/b/")),
            ("../", Ok("ws://a/b/")),
            ("../g", Ok("ws://a/b/g")),
            ("../..", Ok("ws://a/")),
            ("../../g", Ok("ws://a/g")),
            ("../../../g", Ok("ws://a/g")),
            ("/./g", Ok("ws://a/g")),
            ("/../g", Ok("ws://a/g")),
            ("g.", Ok("ws://a/b/c/g.")),
            ("..g", Ok("ws://a/b/c/..g")),
            ("./../g", Ok("ws://a/b/g")),
            ("./g/.", Ok("ws://a/b/c/g/")),
            ("g/./h", Ok("ws://a/b/c/g/h")),
            ("g/../h", Ok("ws://a/b/c/h")),
            ("g;x=1/../y", Ok("ws://a/b/c/y")),
            ("g?y/../x", Ok("ws://a/b/c/g?y/../x")),
            ("/a:b", Ok("ws://a/a:b")),
            ("g\r\nX: y", Err(UrlError::Character { index: 12 })),
        ];
        for (reference, expected) in cases {
            let joined = base.join(reference).map(|url| url.to_string());
            assert_eq!(joined, expected.map(str::to_owned), "{reference:?}");
        }
    }

    #[test]
    fn a_unix_socket_stays_the_same_for_relative_references() {
        let base = Url::parse("ws+unix:/run/a%20b:/x/y").unwrap();
        let joined = base.join("z?q").unwrap();
        assert_eq!((joined.socket_path(), joined.target()), (Some("/run/a b"), "/x/z?q"));
        assert_eq!(base.join("//h/"), Err(UrlError::MissingScheme));
        assert_eq!(base.join("ws://h/").unwrap().socket_path(), None);
    }

    #[test]
    fn userinfo_stays_with_its_origin() {
        let base = Url::parse("ws://u:p@a/b").unwrap();
        for (reference, userinfo) in [
            ("c", Some(("u", "p"))),
            ("ws://a:80/c", Some(("u", "p"))),
            ("ws://v@a/c", Some(("v", ""))),
            ("ws://b/c", None),
            ("wss://a/c", None),
            ("//a:81/c", None),
        ] {
            assert_eq!(base.join(reference).unwrap().userinfo(), userinfo, "{reference}");
        }
    }
}
