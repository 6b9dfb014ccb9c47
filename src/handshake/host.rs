//! Names of hosts, as a request gives them in `Host` and in `Origin`.

use super::Request;
use super::url::split_port;

/// Whose it is.
impl Request {
    /// The name or the address in [`host`](Self::host), without the port; an IPv6 address keeps its
    /// brackets.
    #[must_use]
    pub fn host_name(&self) -> &str {
        split_port(self.host()).map_or("", |(name, _)| name)
    }

    /// Whether the [`origin`](Self::origin) is the host that was asked: the same name and the same port,
    /// where a port that is left out is that of the origin's scheme. `None` without an origin.
    ///
    /// The scheme itself is not compared: it cannot be known whether TLS is spoken in front of this
    /// server.
    #[must_use]
    pub fn is_same_origin(&self) -> Option<bool> {
        self.origin().map(|origin| is_origin_of(origin, self.host()))
    }

    /// Whether the [`host_name`](Self::host_name) is one that no page of somebody else can have by a trick
    /// of DNS: `localhost`, a name under it, or an IP address.
    #[must_use]
    pub fn is_local_host(&self) -> bool {
        let name = self.host_name();
        name.eq_ignore_ascii_case("localhost")
            || is_under(name, ".localhost")
            || name.starts_with('[')
            || is_ipv4(name)
    }

    /// Whether the [`host_name`](Self::host_name) is this one, or, if it begins with a dot, is it or a
    /// name under it.
    #[must_use]
    pub fn is_for_host(&self, name: &str) -> bool {
        let own = self.host_name();
        match name.strip_prefix('.') {
            Some(parent) => own.eq_ignore_ascii_case(parent) || is_under(own, name),
            None => own.eq_ignore_ascii_case(name),
        }
    }
}

/// Whether this can be the name of a host, with or without a dot in front.
pub(crate) fn is_host_name(name: &str) -> bool {
    let name = name.strip_prefix('.').unwrap_or(name);
    split_port(name).is_ok_and(|(_, port)| port.is_none()) && super::url::is_authority(name)
}

/// `suffix` begins with a dot.
fn is_under(name: &str, suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    start.is_some_and(|start| {
        // A byte that is no border of characters is no dot either.
        start > 0 && name.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    })
}

fn is_ipv4(name: &str) -> bool {
    let is_byte = |part: &str| {
        (1..=3).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse::<u8>().is_ok()
    };
    name.split('.').count() == 4 && name.split('.').all(is_byte)
}

fn is_origin_of(origin: &[u8], host: &str) -> bool {
    let Some((scheme, authority)) =
        std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://"))
    else {
        // "null", for one.
        return false;
    };
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some("80"),
        "https" | "wss" => Some("443"),
        _ => None,
    };
    let (Ok((one, one_port)), Ok((other, other_port))) = (split_port(authority), split_port(host))
    else {
        return false;
    };
    let [one_port, other_port] =
        [one_port, other_port].map(|port| port.filter(|port| !port.is_empty()).or(default));
    one.eq_ignore_ascii_case(other) && one_port == other_port
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, RequestParts};
    use super::*;

    fn request(host: &str, origin: Option<&str>) -> Request {
        let mut parts = RequestParts::new("GET", "/").unwrap().header("Host", host).unwrap();
        if let Some(origin) = origin {
            parts = parts.header("Origin", origin).unwrap();
        }
        parts.read(HeadLimits::default()).unwrap()
    }

    #[test]
    fn origins_of_the_same_host() {
        for (host, origin, same) in [
            ("example.com", "https://example.com", true),
            ("example.com", "http://EXAMPLE.com", true),
            ("example.com:443", "https://example.com", true),
            ("example.com", "https://example.com:443", true),
            ("example.com:80", "https://example.com", false),
            ("example.com:8080", "http://example.com:8080", true),
            ("example.com:8080", "http://example.com", false),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("example.com", "https://example.com.evil.example", false),
            ("example.com", "https://www.example.com", false),
            ("example.com", "null", false),
            ("example.com", "example.com", false),
            ("example.com", "https://example.com/", false),
            ("app", "capacitor://app", true),
            ("app:80", "capacitor://app", false),
        ] {
            let found = request(host, Some(origin)).is_same_origin();
            assert_eq!(found, Some(same), "{host} {origin}");
        }
        assert_eq!(request("example.com", None).is_same_origin(), None);
    }

    #[test]
    fn names_of_hosts() {
        for (host, local) in [
            ("localhost", true),
            ("LocalHost:80", true),
            ("a.localhost", true),
            ("a.b.localhost:1", true),
            ("127.0.0.1", true),
            ("192.168.1.255:9001", true),
            ("[::1]", true),
            ("[2001:db8::1]:443", true),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.256", false),
            ("127.0.0", false),
            ("1.2.3.4.5", false),
            ("example.com", false),
        ] {
            assert_eq!(request(host, None).is_local_host(), local, "{host}");
        }
        for (host, name, matches) in [
            ("example.com", "example.com", true),
            ("Example.Com:81", "example.com", true),
            ("www.example.com", "example.com", false),
            ("www.example.com", ".example.com", true),
            ("a.b.example.com", ".example.com", true),
            ("example.com", ".example.com", true),
            ("notexample.com", ".example.com", false),
            ("example.com.evil.example", ".example.com", false),
        ] {
            assert_eq!(request(host, None).is_for_host(name), matches, "{host} {name}");
        }
        for name in ["example.com", ".example.com", "localhost", "[::1]", "10.0.0.1"] {
            assert!(is_host_name(name), "{name}");
        }
        for name in ["", ".", "example.com:80", "http://example.com", "a b", "a/b"] {
            assert!(!is_host_name(name), "{name}");
        }
    }
}
