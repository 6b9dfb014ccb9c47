//! The proxy that the environment names, by the conventions that curl and Go's `net/http` share.

use std::net::IpAddr;

use super::{Proxy, ProxyError};
use crate::handshake::Url;

/// The proxy for this URL, if the variables that `lookup` knows name one.
///
/// `ws_proxy`, then `http_proxy`, then `all_proxy` for `ws:`; `wss_proxy`, then `https_proxy`, then
/// `all_proxy` for `wss:`; each in lower case first. Not for what `no_proxy` lists, not for this
/// machine, and not for Unix sockets.
pub(in super::super) fn from_environment(
    url: &Url,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, ProxyError> {
    if url.socket_path().is_some() || is_local(url) {
        return Ok(None);
    }
    let find = |name: &str| {
        let lower = lookup(name).filter(|value| !value.is_empty());
        lower.or_else(|| {
            let upper = name.to_ascii_uppercase();
            // In a CGI program `HTTP_PROXY` is the request's header `Proxy`, which anybody can send.
            if upper == "HTTP_PROXY" && lookup("REQUEST_METHOD").is_some() {
                return None;
            }
            lookup(&upper).filter(|value| !value.is_empty())
        })
    };
    let names = match url.is_secure() {
        true => ["wss_proxy", "https_proxy", "all_proxy"],
        false => ["ws_proxy", "http_proxy", "all_proxy"],
    };
    let Some(proxy) = names.into_iter().find_map(find) else { return Ok(None) };
    if find("no_proxy").is_some_and(|list| is_listed(url, &list)) {
        return Ok(None);
    }
    Proxy::parse(&proxy).map(Some)
}

fn is_local(url: &Url) -> bool {
    let host = url.host();
    let name = host.strip_suffix('.').unwrap_or(host);
    name == "localhost"
        || name.ends_with(".localhost")
        || url.address().is_some_and(|address| address.to_canonical().is_loopback())
}

/// Whether a list such as `example.com, 10.0.0.0/8, [::1]:8080` has this host in it.
fn is_listed(url: &Url, list: &str) -> bool {
    list.split([',', ' ', '\t']).any(|entry| matches(url, entry))
}

fn matches(url: &Url, entry: &str) -> bool {
    if entry == "*" {
        return true;
    }
    let address = url.address().map(|address| address.to_canonical());
    if let Some((network, bits)) = entry.split_once('/') {
        let network = network.parse::<IpAddr>().ok();
        let bits = bits.parse().ok();
        return matches!((address, network, bits),
            (Some(address), Some(network), Some(bits)) if is_within(address, network, bits));
    }
    // A bare IPv6 address has colons, and no port.
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (entry, None),
    };
    if port.is_some_and(|port| port.parse() != Ok(url.port())) {
        return false;
    }
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(listed) = host.parse::<IpAddr>() {
        return address == Some(listed.to_canonical());
    }
    if address.is_some() {
        return false;
    }
    // A name stands for itself and for all below it, with or without the dot in front.
    let name = host.strip_prefix('*').unwrap_or(host);
    let name = name.strip_prefix('.').unwrap_or(name).to_ascii_lowercase();
    let host = url.host();
    let host = host.strip_suffix('.').unwrap_or(host);
    let name = name.strip_suffix('.').unwrap_or(&name);
    !name.is_empty()
        && host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether the first `bits` of both are the same.
fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let differing = u32::from(address) ^ u32::from(network);
            differing.leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let differing = u128::from(address) ^ u128::from(network);
            differing.leading_zeros() >= bits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxy = from_environment(&Url::parse(url).unwrap(), lookup).unwrap();
        proxy.map(|proxy| format!("{proxy:?}"))
    }

    #[test]
    fn which_variable_counts() {
        let all = [
            ("ALL_PROXY", "socks5://g"),
            ("all_proxy", "socks5://f"),
            ("HTTP_PROXY", "e"),
            ("http_proxy", "d"),
            ("WS_PROXY", "c"),
            ("ws_proxy", "b"),
            ("https_proxy", "s"),
        ];
        let expected = ["Socks5(g:1080)", "Socks5(f:1080)", "Http(e:80)", "Http(d:80)"];
        let expected = expected.into_iter().chain(["Http(c:80)", "Http(b:80)"]);
        assert_eq!(proxy("ws://h", &[]), None);
        for (count, expected) in expected.enumerate() {
            assert_eq!(proxy("ws://h", &all[..=count]).as_deref(), Some(expected));
        }
        assert_eq!(proxy("wss://h", &all).as_deref(), Some("Http(s:80)"));
        assert_eq!(proxy("wss://h", &all[2..6]), None);
        let empty = [("http_proxy", ""), ("HTTP_PROXY", "e")];
        assert_eq!(proxy("ws://h", &empty).as_deref(), Some("Http(e:80)"));
        let cgi = [("HTTP_PROXY", "e"), ("REQUEST_METHOD", "GET")];
        assert_eq!(proxy("ws://h", &cgi), None);
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::1%251]",
            "127.1",
            "127.0.0.1.",
            "0x7f.1",
            "0177.0.0.01",
            "2130706433",
        ] {
            assert_eq!(proxy(&format!("ws://{host}"), &[("http_proxy", "h")]), None, "{host}");
        }
        assert_eq!(proxy("ws+unix:/run/x", &[("all_proxy", "h")]), None);
        for host in ["localhost.example", "alocalhost", "128.0.0.1", "128.1", "[::2]"] {
            assert!(proxy(&format!("ws://{host}"), &[("http_proxy", "h")]).is_some(), "{host}");
        }
    }

    #[test]
    fn what_no_proxy_lists() {
        let cases = [
            ("example.com", "ws://example.com", true),
            ("example.com", "ws://EXAMPLE.com.", true),
            ("Example.COM.", "ws://example.com", true),
            ("example.com", "ws://a.b.example.com:9", true),
            ("example.com", "ws://notexample.com", false),
            ("example.com", "ws://example.com.evil", false),
            (".example.com", "ws://a.example.com", true),
            ("*.example.com", "ws://a.example.com", true),
            ("a, example.com\t,b", "ws://example.com", true),
            ("a example.com", "ws://example.com", true),
            ("*", "ws://h", true),
            ("a,*", "ws://1.2.3.4", true),
            ("", "ws://h", false),
            (",,.,*.", "ws://h", false),
            ("h:80", "ws://h", true),
            ("h:81", "ws://h", false),
            ("h:x", "ws://h", false),
            ("1.2.3.4", "ws://1.2.3.4:9", true),
            ("1.2.3.4:9", "ws://1.2.3.4:9", true),
            ("1.2.3.4:8", "ws://1.2.3.4:9", false),
            ("2.3.4", "ws://1.2.3.4", false),
            ("1.2.3.4", "ws://0x1.2.772", true),
            ("1.2.3.0/24", "ws://16909060", true),
            ("1.2.3.0/24", "ws://1.2.3.4", true),
            ("1.2.3.0/30", "ws://1.2.3.4", false),
            ("0.0.0.0/0", "ws://1.2.3.4", true),
            ("1.2.3.0/33", "ws://1.2.3.4", false),
            ("1.2.3.0/24", "ws://h", false),
            ("1.2.3.0/24", "ws://[1::2]", false),
            ("fe80::/10", "ws://[fe80::1]", true),
            ("fe80::/10", "ws://[fec0::1]", false),
            ("fe80::1", "ws://[fe80:0::1]:9", true),
            ("[fe80::1]", "ws://[fe80::1]", true),
            ("[fe80::1]:9", "ws://[fe80::1]:9", true),
            ("[fe80::1]:8", "ws://[fe80::1]:9", false),
            ("::ffff:1.2.3.4", "ws://1.2.3.4", true),
        ];
        for (list, url, listed) in cases {
            let variables = [("http_proxy", "p"), ("no_proxy", list)];
            assert_eq!(proxy(url, &variables).is_none(), listed, "{list:?} {url}");
        }
        assert_eq!(proxy("ws://h", &[("http_proxy", "p"), ("NO_PROXY", "h")]), None);
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_not_passed_over() {
        let lookup = |name: &str| (name == "http_proxy").then(|| "ftp://h".to_owned());
        let error = from_environment(&Url::parse("ws://h").unwrap(), lookup).unwrap_err();
        assert!(matches!(error, ProxyError::Scheme(scheme) if scheme == "ftp"));
    }
}
