//! What proxies say of the client that they ask for, in `X-Forwarded-For`, `-Host` and `-Proto`, or in `Forwarded`
//! (RFC 7239).

use core::net::{IpAddr, SocketAddr};
use std::fmt;

use super::header_list::check_distinct;
use super::headers::{Headers, is_token, trim};
use super::names::{FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::request_error::RequestError;
use super::trusted_proxies::{ForwardedFields, TrustedProxies};
use super::url::{is_authority, parse_port};

/// What trusted proxies say of the client of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forwarded {
    /// From the client to the proxy before the last; the last is the one that has connected.
    chain: Vec<ForwardedNode>,
    host: Option<Box<str>>,
    scheme: Option<Box<str>>,
}

/// A client or a proxy, as the next proxy knows it (RFC 7239 section 6).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardedNode {
    /// Its address, and its port if that was given.
    Address(IpAddr, Option<u16>),
    /// The proxy does not know it.
    Unknown,
    /// A name that means something to the proxy alone; it begins with `_`.
    Obfuscated(String),
}

impl Forwarded {
    /// The client: the rightmost node that is no trusted proxy, or the first of all. `None` if no proxy speaks of
    /// it.
    #[must_use]
    pub fn client(&self) -> Option<&ForwardedNode> {
        self.chain.first()
    }

    /// The address of the client; its port is 0 where none was given. `None` if the proxy did not tell the address.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.client()? {
            ForwardedNode::Address(address, port) => {
                Some(SocketAddr::new(*address, port.unwrap_or(0)))
            }
            _ => None,
        }
    }

    /// The nodes that the request has come through before the proxy that has connected, the client first: all but
    /// the first are trusted proxies. What stood before the client is left out: anybody may have written it.
    #[must_use]
    pub fn chain(&self) -> &[ForwardedNode] {
        &self.chain
    }

    /// The host that the client has asked for, as it stands in its `Host`.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The scheme by which the client has asked, in small letters: `http` or `https`, and of some proxies `ws` or
    /// `wss`.
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        self.scheme.as_deref()
    }

    /// A client that nothing is known of.
    pub(super) fn unknown() -> Self {
        Self { chain: vec![ForwardedNode::Unknown], host: None, scheme: None }
    }

    /// What these proxies say; `None` if nothing.
    pub(super) fn of(
        headers: &Headers,
        proxies: &TrustedProxies,
    ) -> Result<Option<Self>, RequestError> {
        let fields = proxies.their_fields();
        let common = match fields {
            ForwardedFields::Forwarded => None,
            _ => Self::of_x_forwarded(headers, proxies)?,
        };
        let standard = match fields {
            ForwardedFields::XForwarded => None,
            _ => Self::of_forwarded(headers, proxies)?,
        };
        match (common, standard) {
            (Some(common), Some(standard)) => Self::of_both(common, standard).map(Some),
            (one, other) => Ok(one.or(other).map(|form| form.forwarded)),
        }
    }

    /// What both forms say. A proxy that writes one of them hands on the other as the client sent it, and which
    /// one that is cannot be told: what one says alone may be the client's word.
    fn of_both(common: Form, standard: Form) -> Result<Self, RequestError> {
        let chain = match (common.names_client, standard.names_client) {
            (true, true) => common_chain(common.forwarded.chain, &standard.forwarded.chain)
                .ok_or(RequestError::ForwardedTwice)?,
            // A form without addresses contradicts none.
            (true, false) => common.forwarded.chain,
            (false, _) => standard.forwarded.chain,
        };
        let host =
            common.forwarded.host.filter(|own| Some(own) == standard.forwarded.host.as_ref());
        let scheme =
            common.forwarded.scheme.filter(|own| Some(own) == standard.forwarded.scheme.as_ref());
        Ok(Self { chain, host, scheme })
    }

    fn of_x_forwarded(
        headers: &Headers,
        proxies: &TrustedProxies,
    ) -> Result<Option<Form>, RequestError> {
        let nodes = elements(headers, X_FORWARDED_FOR);
        let hosts = elements(headers, X_FORWARDED_HOST);
        let schemes = elements(headers, X_FORWARDED_PROTO);
        if nodes.is_empty() && hosts.is_empty() && schemes.is_empty() {
            return Ok(None);
        }
        let parse = |element: &&[u8]| {
            let text = std::str::from_utf8(element).ok();
            text.and_then(parse_node).ok_or(RequestError::InvalidHeader(X_FORWARDED_FOR))
        };
        let chain = trusted_chain(nodes.iter().rev().map(parse), proxies)?;
        // A proxy that adds to one of them adds to all, or sets the others anew.
        let at = |elements: &[&[u8]], name| -> Result<Option<String>, RequestError> {
            let place = elements.len().saturating_sub(chain.len().max(1));
            let text = elements.get(place).map(|element| std::str::from_utf8(element));
            text.transpose()
                .map(|text| text.map(str::to_owned))
                .map_err(|_| RequestError::InvalidHeader(name))
        };
        let host = host(at(&hosts, X_FORWARDED_HOST)?, X_FORWARDED_HOST)?;
        let scheme = scheme(at(&schemes, X_FORWARDED_PROTO)?, X_FORWARDED_PROTO)?;
        let names_client = !chain.is_empty();
        Ok(Some(Form { forwarded: Self { chain, host, scheme }, names_client }))
    }

    fn of_forwarded(
        headers: &Headers,
        proxies: &TrustedProxies,
    ) -> Result<Option<Form>, RequestError> {
        let malformed = || RequestError::InvalidHeader(FORWARDED);
        let mut elements = Vec::new();
        for line in headers.get_all(FORWARDED) {
            let line = std::str::from_utf8(line).map_err(|_| malformed())?;
            parse_elements(line, &mut elements).ok_or_else(malformed)?;
        }
        if elements.is_empty() {
            return Ok(None);
        }
        let parse = |element: &Element| match &element.node {
            None => Ok(ForwardedNode::Unknown),
            Some(text) => parse_node(text).ok_or_else(malformed),
        };
        let chain = trusted_chain(elements.iter().rev().map(parse), proxies)?;
        let place = elements.len() - chain.len();
        let told = elements.swap_remove(place);
        let (host, scheme) = (host(told.host, FORWARDED)?, scheme(told.scheme, FORWARDED)?);
        let names_client = told.node.is_some();
        Ok(Some(Form { forwarded: Self { chain, host, scheme }, names_client }))
    }
}

impl fmt::Display for ForwardedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, None) => address.fmt(f),
            Self::Address(address, Some(port)) => SocketAddr::new(*address, *port).fmt(f),
            Self::Unknown => f.write_str("unknown"),
            Self::Obfuscated(name) => f.write_str(name),
        }
    }
}

/// What one of the two forms says: that of `X-Forwarded-*`, or `Forwarded`.
struct Form {
    forwarded: Forwarded,
    /// Whether it has an address of the client, or says that this is unknown.
    names_client: bool,
}

/// The nodes of which both chains know: the client at least, or `None`; a port if they agree on it.
fn common_chain(
    mut chain: Vec<ForwardedNode>,
    other: &[ForwardedNode],
) -> Option<Vec<ForwardedNode>> {
    let agrees = |(own, other): (&mut ForwardedNode, &ForwardedNode)| match (own, other) {
        (ForwardedNode::Address(own, port), ForwardedNode::Address(address, other)) => {
            *port = port.filter(|_| port == other);
            own == address
        }
        (own, other) => own == other,
    };
    let length = chain.len().max(other.len());
    let agreed = chain.iter_mut().zip(other).map(agrees).take_while(|agrees| *agrees).count();
    if agreed < length {
        // Between a client and the last proxy no proxy is left out: all of them, or none.
        chain.truncate(1);
    }
    (agreed > 0).then_some(chain)
}

/// The elements of all fields of this name, as one list; those of nothing are left out.
fn elements<'h>(headers: &'h Headers, name: &str) -> Vec<&'h [u8]> {
    let lines = headers.get_all(name);
    let parts = lines.flat_map(|line| line.split(|&byte| byte == b',')).map(trim);
    parts.filter(|part| !part.is_empty()).collect()
}

/// From the last node to the first that is no trusted proxy, turned round. What stands before it is not read.
fn trusted_chain(
    nodes: impl Iterator<Item = Result<ForwardedNode, RequestError>>,
    proxies: &TrustedProxies,
) -> Result<Vec<ForwardedNode>, RequestError> {
    let mut chain = Vec::new();
    for node in nodes {
        let node = node?;
        let goes_on =
            matches!(&node, ForwardedNode::Address(address, _) if proxies.trusts(*address));
        chain.push(node);
        if !goes_on {
            break;
        }
    }
    chain.reverse();
    Ok(chain)
}

/// `node` (RFC 7239 section 6), and what others write: IPv6 addresses without brackets.
fn parse_node(text: &str) -> Option<ForwardedNode> {
    let of = |address: IpAddr, port| ForwardedNode::Address(address.to_canonical(), port);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(of(address, None));
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            let address: core::net::Ipv6Addr = name.parse().ok()?;
            return Some(of(address.into(), parse_node_port(port)?));
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = parse_node_port(port)?;
    if let Ok(address) = name.parse::<core::net::Ipv4Addr>() {
        return Some(of(address.into(), port));
    }
    if name.eq_ignore_ascii_case("unknown") {
        return Some(ForwardedNode::Unknown);
    }
    is_obfuscated(name).then(|| ForwardedNode::Obfuscated(name.to_owned()))
}

/// The port of a node, which may be obfuscated too; `None` for what is no port.
fn parse_node_port(text: Option<&str>) -> Option<Option<u16>> {
    match text {
        None => Some(None),
        Some(text) if is_obfuscated(text) => Some(None),
        Some(text) => parse_port(text).map(Some),
    }
}

/// `"_" 1*( ALPHA / DIGIT / "." / "_" / "-")` (RFC 7239 section 6.3).
fn is_obfuscated(text: &str) -> bool {
    text.strip_prefix('_').is_some_and(|rest| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !rest.is_empty() && rest.bytes().all(allowed)
    })
}

fn host(text: Option<String>, name: &'static str) -> Result<Option<Box<str>>, RequestError> {
    match text {
        Some(text) if !is_authority(&text) => Err(RequestError::InvalidHeader(name)),
        text => Ok(text.map(String::into_boxed_str)),
    }
}

fn scheme(text: Option<String>, name: &'static str) -> Result<Option<Box<str>>, RequestError> {
    match text {
        Some(text) if !is_token(text.as_bytes()) => Err(RequestError::InvalidHeader(name)),
        text => Ok(text.map(|text| text.to_ascii_lowercase().into_boxed_str())),
    }
}

/// A `forwarded-element` (RFC 7239 section 4), as far as it is of use.
#[derive(Debug, Default)]
struct Element {
    node: Option<String>,
    host: Option<String>,
    scheme: Option<String>,
}

/// Adds the elements of one line; `None` if it breaks the grammar. All of it is read, since a quotation mark that
/// a client has left open would hide what the proxy has added.
fn parse_elements(line: &str, elements: &mut Vec<Element>) -> Option<()> {
    let mut rest = line;
    loop {
        rest = skip_space(rest);
        if let Some(behind) = rest.strip_prefix(',') {
            rest = behind;
            continue;
        }
        if rest.is_empty() {
            return Some(());
        }
        let mut element = Element::default();
        rest = parse_pairs(rest, &mut element)?;
        elements.push(element);
    }
}

/// Reads the pairs of one element, and returns what is left: nothing, or a comma and what follows it.
fn parse_pairs<'t>(mut rest: &'t str, element: &mut Element) -> Option<&'t str> {
    let mut others = Vec::new();
    loop {
        rest = skip_space(rest);
        if let Some(behind) = rest.strip_prefix(';') {
            rest = behind;
            continue;
        }
        if rest.is_empty() || rest.starts_with(',') {
            let names: Vec<&str> = others.iter().map(String::as_str).collect();
            // "Each parameter MUST NOT occur more than once per field-value" (section 4), of an element.
            return check_distinct(&names).is_ok().then_some(rest);
        }
        let (name, behind) = rest.split_once('=')?;
        if !is_token(name.as_bytes()) {
            return None;
        }
        let (value, behind) = parse_value(behind)?;
        let name = name.to_ascii_lowercase();
        let place = match name.as_str() {
            "for" => &mut element.node,
            "host" => &mut element.host,
            "proto" => &mut element.scheme,
            _ => {
                others.push(name);
                &mut None
            }
        };
        if place.replace(value).is_some() {
            return None;
        }
        rest = skip_space(behind);
        if !rest.is_empty() && !rest.starts_with([';', ',']) {
            return None;
        }
    }
}

/// A token or a quoted string. Addresses and hosts with a colon stand without quotation marks often enough.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t', '"']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "2001:db8::/32"]).unwrap()
    }

    fn of(
        lines: &[(&str, &str)],
        fields: ForwardedFields,
    ) -> Result<Option<Forwarded>, RequestError> {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.append(name, value).unwrap();
        }
        Forwarded::of(&headers, &proxies().fields(fields))
    }

    fn client(lines: &[(&str, &str)]) -> String {
        let forwarded = of(lines, ForwardedFields::Any).unwrap().unwrap();
        forwarded.client().map_or_else(String::new, ToString::to_string)
    }

    const FOR: &str = "X-Forwarded-For";

    #[test]
    fn the_rightmost_that_is_not_trusted_is_the_client() {
        for (list, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
            ("1.1.1.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
            ("garbage, 203.0.113.7, 10.1.1.1,10.2.2.2", "203.0.113.7"),
            (",203.0.113.7, ,", "203.0.113.7"),
            ("10.9.9.9, 10.1.1.1", "10.9.9.9"),
            ("203.0.113.7:1234", "203.0.113.7:1234"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db9::1, 2001:db8::1", "2001:db9::1"),
            ("[2001:db9::1]", "2001:db9::1"),
            ("[2001:db9::1]:80, [2001:db8::1]:81", "[2001:db9::1]:80"),
            ("203.0.113.7, unknown", "unknown"),
            ("203.0.113.7, Unknown, 10.0.0.1", "unknown"),
            ("203.0.113.7, _hidden:_p, 10.0.0.1", "_hidden"),
        ] {
            assert_eq!(client(&[(FOR, list)]), expected, "{list}");
        }
        // Several lines are one list.
        assert_eq!(
            client(&[(FOR, "1.1.1.1"), (FOR, "203.0.113.7"), (FOR, "10.0.0.1")]),
            "203.0.113.7"
        );
        for list in [
            "garbage",
            "203.0.113.7, x, 10.0.0.1",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "[::1",
            "[1.2.3.4]",
            "_",
            "::1]",
        ] {
            let error = of(&[(FOR, list)], ForwardedFields::Any).unwrap_err();
            assert_eq!(error, RequestError::InvalidHeader(FOR), "{list}");
        }
        assert_eq!(of(&[(FOR, ", ,")], ForwardedFields::Any), Ok(None));
        assert_eq!(of(&[("Host", "a")], ForwardedFields::Any), Ok(None));
    }

    #[test]
    fn the_standard_field() {
        for (list, expected) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=\"203.0.113.7:80\";proto=https", "203.0.113.7:80"),
            ("for=\"[2001:db9::1]:4711\"", "[2001:db9::1]:4711"),
            ("for=[2001:db9::1]", "2001:db9::1"),
            ("for=1.1.1.1, for=203.0.113.7;by=10.0.0.1 , , for=10.0.0.1", "203.0.113.7"),
            ("for=\"_a,b\", for=203.0.113.7", "203.0.113.7"),
            ("for=\"\\2\\03.0.113.7\"", "203.0.113.7"),
            ("for=unknown", "unknown"),
            ("for=_secret", "_secret"),
            ("proto=http;by=10.0.0.9", "unknown"),
            (";;for=203.0.113.7;", "203.0.113.7"),
        ] {
            assert_eq!(client(&[("Forwarded", list)]), expected, "{list}");
        }
        for list in [
            "for",
            "for=",
            "for=\"1.1.1.1",
            "for=\"1.1.1.1, for=203.0.113.7",
            "for=1.1.1.1;for=203.0.113.7",
            "for=1.1.1.1 for=203.0.113.7",
            "for=\"1.1.1.1\"x",
            "fo r=1.1.1.1",
            "for =1.1.1.1",
            "a=1;a=2;for=1.1.1.1",
            "for=example.com",
            "for=1.1.1.1;host=\"a b\"",
            "for=1.1.1.1;proto=\"a b\"",
            "for=\"\\",
        ] {
            let error = of(&[("Forwarded", list)], ForwardedFields::Any).unwrap_err();
            assert_eq!(error, RequestError::InvalidHeader("Forwarded"), "{list}");
        }
    }

    #[test]
    fn host_and_scheme_are_those_of_the_same_proxy() {
        let parts = |lines: &[(&str, &str)]| {
            let one = of(lines, ForwardedFields::Any).unwrap().unwrap();
            (one.host().map(str::to_owned), one.scheme().map(str::to_owned))
        };
        let both = |host: &str, scheme: &str| (Some(host.to_owned()), Some(scheme.to_owned()));
        let (host, proto) = ("X-Forwarded-Host", "X-Forwarded-Proto");
        assert_eq!(parts(&[(host, "a:81"), (proto, "HTTPS")]), both("a:81", "https"));
        // One proxy that adds to what the client has sent.
        let lines = [(FOR, "1.1.1.1, 203.0.113.7"), (host, "evil, real"), (proto, "x, https")];
        assert_eq!(parts(&lines), both("real", "https"));
        // Two that add, and two of which the second sets anew.
        let lines =
            [(FOR, "203.0.113.7, 10.0.0.1"), (host, "evil, real, inner"), (proto, "https, http")];
        assert_eq!(parts(&lines), both("real", "https"));
        let lines = [(FOR, "203.0.113.7, 10.0.0.1"), (host, "real"), (proto, "https")];
        assert_eq!(parts(&lines), both("real", "https"));
        let list = "for=1.1.1.1;host=evil, for=203.0.113.7;host=\"real:81\";proto=https, for=10.0.0.1;host=inner";
        assert_eq!(parts(&[("Forwarded", list)]), both("real:81", "https"));
        for (name, value) in [(host, "a b"), (host, "a/b"), (proto, "a b"), (proto, "a/b")] {
            let error = of(&[(name, value)], ForwardedFields::Any).unwrap_err();
            assert_eq!(error, RequestError::InvalidHeader(if name == host { host } else { proto }));
        }
    }

    /// Most proxies write one and hand on the other as the client sent it.
    #[test]
    fn two_fields_that_differ_are_not_believed() {
        let lines = [(FOR, "203.0.113.7"), ("Forwarded", "for=10.0.0.1")];
        assert_eq!(of(&lines, ForwardedFields::Any), Err(RequestError::ForwardedTwice));
        let address = |fields| of(&lines, fields).unwrap().unwrap().client().unwrap().to_string();
        assert_eq!(address(ForwardedFields::XForwarded), "203.0.113.7");
        assert_eq!(address(ForwardedFields::Forwarded), "10.0.0.1");
        let lines = [(FOR, "203.0.113.7"), ("Forwarded", "for=\"203.0.113.7:80\";host=a")];
        let both = of(&lines, ForwardedFields::Any).unwrap().unwrap();
        assert_eq!((both.host(), both.chain().len()), (None, 1));
        // A field that is not asked for may be anything.
        let lines = [(FOR, "203.0.113.7"), ("Forwarded", "\"")];
        assert!(of(&lines, ForwardedFields::XForwarded).is_ok());
        let lines = [(FOR, "\""), ("Forwarded", "for=203.0.113.7")];
        assert!(of(&lines, ForwardedFields::Forwarded).is_ok());
    }

    /// Where a proxy writes one form, the client may have written all of the other.
    #[test]
    fn what_one_form_says_is_not_believed_where_there_is_another() {
        const STANDARD: &str = "Forwarded";
        const XHOST: &str = "X-Forwarded-Host";
        const XPROTO: &str = "X-Forwarded-Proto";
        let said = |lines: &[(&str, &str)]| {
            let one = of(lines, ForwardedFields::Any).unwrap().unwrap();
            let client = one.client().map_or_else(String::new, ToString::to_string);
            let [host, scheme] = [one.host(), one.scheme()].map(Option::unwrap_or_default);
            format!("{client} {host} {scheme}")
        };
        let proxy = (STANDARD, "for=203.0.113.7;host=real;proto=https");
        assert_eq!(said(&[proxy]), "203.0.113.7 real https");
        for (lines, expected) in [
            // The client adds X-Forwarded-* to what the proxy says.
            (&[proxy, (XHOST, "evil"), (XPROTO, "http")][..], "203.0.113.7  "),
            (&[proxy, (XHOST, "evil"), (XPROTO, "https")], "203.0.113.7  https"),
            (&[proxy, (XHOST, "evil")], "203.0.113.7  "),
            (&[proxy, (FOR, "203.0.113.7")], "203.0.113.7  "),
            // The client adds Forwarded.
            (
                &[(FOR, "203.0.113.7"), (STANDARD, "for=203.0.113.7;host=evil;proto=https")],
                "203.0.113.7  ",
            ),
            (&[(FOR, "203.0.113.7"), (STANDARD, "host=evil;proto=https")], "203.0.113.7  "),
            (
                &[(FOR, "203.0.113.7"), (XHOST, "real"), (STANDARD, "for=203.0.113.7")],
                "203.0.113.7  ",
            ),
            (&[(XPROTO, "https"), (STANDARD, "host=evil")], "unknown  "),
            // Both are written by the proxy.
            (
                &[proxy, (FOR, "203.0.113.7"), (XHOST, "real"), (XPROTO, "https")],
                "203.0.113.7 real https",
            ),
            (&[proxy, (XHOST, "real"), (XPROTO, "https")], "203.0.113.7 real https"),
            // Ports and proxies between are told by one form as well.
            (&[(FOR, "203.0.113.7:1"), (STANDARD, "for=203.0.113.7")], "203.0.113.7  "),
            (&[(FOR, "203.0.113.7:1"), (STANDARD, "for=\"203.0.113.7:2\"")], "203.0.113.7  "),
            (&[(FOR, "203.0.113.7:1"), (STANDARD, "for=\"203.0.113.7:1\"")], "203.0.113.7:1  "),
        ] {
            assert_eq!(said(lines), expected, "{lines:?}");
        }
        let chain = |lines: &[(&str, &str)]| {
            of(lines, ForwardedFields::Any).unwrap().unwrap().chain().len()
        };
        let common = (FOR, "203.0.113.7, 10.0.0.1");
        assert_eq!(chain(&[common, (STANDARD, "for=203.0.113.7, for=10.0.0.1")]), 2);
        assert_eq!(chain(&[common, (STANDARD, "for=203.0.113.7, for=10.0.0.2")]), 1);
        assert_eq!(chain(&[common, (STANDARD, "for=203.0.113.7")]), 1);
        for standard in ["for=unknown", "for=_b", "for=203.0.113.8"] {
            for common in ["_a", "203.0.113.7"] {
                let lines = [(FOR, common), (STANDARD, standard)];
                let result = of(&lines, ForwardedFields::Any);
                assert_eq!(result, Err(RequestError::ForwardedTwice), "{lines:?}");
            }
        }
    }

    /// A client may send as many parameters as the limit of the head lets through. If each were compared with
    /// all before it, this test would run for minutes.
    #[test]
    fn parameters_are_not_compared_with_each_other() {
        let list: String = (0..1 << 17).map(|number| format!("p{number:06}=1;")).collect();
        let parsed = of(&[("Forwarded", &format!("{list}for=203.0.113.7"))], ForwardedFields::Any);
        assert_eq!(parsed.unwrap().unwrap().client().unwrap().to_string(), "203.0.113.7");
        let repeated = of(&[("Forwarded", &format!("{list}P000000=2"))], ForwardedFields::Any);
        assert_eq!(repeated, Err(RequestError::InvalidHeader("Forwarded")));
    }
}
