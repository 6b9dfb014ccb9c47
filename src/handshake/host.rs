//! Names of hosts, as a request gives them in `Host` and in `Origin`.

use super::url::{is_authority, split_port};

/// Whether this can be the name of a host, with or without a dot in front.
pub(crate) fn is_host_name(name: &str) -> bool {
    let name = name.strip_prefix('.').unwrap_or(name);
    split_port(name).is_ok_and(|(_, port)| port.is_none()) && is_authority(name)
}

/// Without the dot that makes a name of DNS an absolute one, `localhost.`: it is the same name (RFC 9110
/// section 4.2.3 leaves such to the scheme; RFC 3986 section 3.2.2 names the dot).
pub(super) fn relative(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a host has this name or, if that begins with a dot, has it or one under it.
pub(crate) fn is_name_of(host_name: &str, name: &str) -> bool {
    let (host_name, name) = (relative(host_name), relative(name));
    match name.strip_prefix('.') {
        Some(parent) => host_name.eq_ignore_ascii_case(parent) || is_under(host_name, name),
        None => host_name.eq_ignore_ascii_case(name),
    }
}

/// `suffix` begins with a dot.
pub(super) fn is_under(name: &str, suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    start.is_some_and(|start| {
        // Inside a character there is no dot.
        start > 0 && name.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    })
}

pub(super) fn is_ipv4(name: &str) -> bool {
    let is_byte = |part: &str| {
        (1..=3).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse::<u8>().is_ok()
    };
    name.split('.').count() == 4 && name.split('.').all(is_byte)
}

/// Whether an origin is that of pages of this host, as `Host` names it.
pub(crate) fn is_origin_of(origin: &[u8], host: &str) -> bool {
    let Some((scheme, authority)) =
        std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://"))
    else {
        // For example "null".
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
    relative(one).eq_ignore_ascii_case(relative(other)) && one_port == other_port
}

/// Whether an origin is one of this scheme, which a proxy may call by its name or by that of WebSockets.
pub(super) fn is_of_scheme(origin: &[u8], scheme: &str) -> bool {
    let own = origin.split(|&byte| byte == b':').next().unwrap_or_default();
    match scheme {
        "http" | "ws" => own.eq_ignore_ascii_case(b"http"),
        "https" | "wss" => own.eq_ignore_ascii_case(b"https"),
        other => own.eq_ignore_ascii_case(other.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        for name in ["example.com", ".example.com", "localhost", "[::1]", "10.0.0.1"] {
            assert!(is_host_name(name), "{name}");
        }
        for name in ["", ".", "example.com:80", "http://example.com", "a b", "a/b"] {
            assert!(!is_host_name(name), "{name}");
        }
    }

    #[test]
    fn names_under_others() {
        assert!(is_under("www.example.com", ".EXAMPLE.com"));
        for name in ["example.com", ".example.com", "wwwexample.com", "é.com", ""] {
            assert!(!is_under(name, ".example.com"), "{name}");
        }
    }

    #[test]
    fn addresses_of_four_bytes() {
        assert!(is_ipv4("0.10.200.255"));
        for name in
            ["1.2.3", "1.2.3.4.5", "a.b.c.d", "1.2.3.256", "1.2.3.0004", "1.2.3.", "1.2.3.+4"]
        {
            assert!(!is_ipv4(name), "{name}");
        }
    }

    #[test]
    fn an_origin_without_a_port_has_that_of_its_scheme() {
        for (origin, host) in [
            ("http://h", "h:80"),
            ("WS://h", "h:80"),
            ("https://h", "h:443"),
            ("wss://h", "h:443"),
            ("http://h:80", "h"),
            ("app://h", "h"),
        ] {
            assert!(is_origin_of(origin.as_bytes(), host), "{origin} {host}");
        }
        for (origin, host) in [("http://h", "h:443"), ("https://h", "h:80"), ("app://h", "h:80")] {
            assert!(!is_origin_of(origin.as_bytes(), host), "{origin} {host}");
        }
    }
}
