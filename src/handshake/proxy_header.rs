//! The header of the PROXY protocol, in which a proxy says whose connection it hands on: versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::mem;

use super::url::parse_port;

/// The first bytes of version 2, which begin no request of any other protocol.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of version 1.
const WORD: &[u8; 6] = b"PROXY ";

/// "a 108-byte buffer is always enough to store all the line and a trailing zero" (section 2.1).
const MAX_LINE: usize = 107;

/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// The header of the PROXY protocol, by which a proxy tells the addresses of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProxyHeader {
    version: u8,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Content {
    /// The proxy asks for itself.
    Local,
    /// It says nothing of addresses.
    Unknown,
    /// The client has come over a Unix-domain socket.
    Unix,
    Addresses(SocketAddr, SocketAddr),
}

impl ProxyHeader {
    /// The version of the protocol: 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The address of the client; `None` if none was told.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        match self.content {
            Content::Addresses(source, _) => Some(source),
            _ => None,
        }
    }

    /// The address that the client has connected to; `None` if none was told.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.content {
            Content::Addresses(_, destination) => Some(destination),
            _ => None,
        }
    }

    /// Whether the connection is the proxy's own, a health check for instance, or its header says nothing of
    /// addresses: then those of the connection itself are to be used.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.content, Content::Local | Content::Unknown)
    }
}

/// Reads the header of the PROXY protocol, of either version, over any number of reads.
///
/// What follows the addresses in version 2 (type-length-value vectors) is skipped, and takes no memory. The same
/// bytes give the same result however they are cut into reads.
///
/// ```
/// use framewire::handshake::ProxyHeaderReader;
///
/// let mut reader = ProxyHeaderReader::new();
/// assert_eq!(reader.read(b"PROXY TCP4 203.0.113.7 192.0.2"), Ok(None));
/// let input = b".1 56324 443\r\nGET / HTTP/1.1\r\n";
/// let (header, used) = reader.read(input)?.unwrap();
/// assert_eq!(header.source(), Some("203.0.113.7:56324".parse()?));
/// assert!(input[used..].starts_with(b"GET "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct ProxyHeaderReader {
    /// What came, but for what is skipped.
    bytes: Vec<u8>,
    /// Of version 2, once its addresses have come: what is still to be skipped.
    skipping: Option<(usize, ProxyHeader)>,
}

impl ProxyHeaderReader {
    /// A reader for one header.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes of the stream until the header is whole.
    ///
    /// `None`: all of `input` was taken and more is needed. Otherwise the header, and the count of bytes of this
    /// `input` that belong to it.
    ///
    /// # Errors
    ///
    /// [`ProxyHeaderError`], at the byte that shows it. After [`Missing`](ProxyHeaderError::Missing) the stream
    /// begins with what was [taken](Self::taken) before, and then with this `input`.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
        let before = self.bytes.len();
        let mut used = 0;
        while used < input.len() {
            if let Some((left, header)) = &mut self.skipping {
                let skipped = (*left).min(input.len() - used);
                *left -= skipped;
                used += skipped;
                if *left == 0 {
                    return Ok(Some((*header, used)));
                }
                continue;
            }
            self.bytes.push(input[used]);
            used += 1;
            match parse(&self.bytes) {
                Ok(Parsed::More) => {}
                Ok(Parsed::Header(header, 0)) => {
                    self.bytes = Vec::new();
                    return Ok(Some((header, used)));
                }
                Ok(Parsed::Header(header, left)) => {
                    self.bytes = Vec::new();
                    self.skipping = Some((left, header));
                }
                Err(error) => {
                    self.bytes.truncate(before);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Returns the bytes that were taken so far, if they were no header.
    pub fn taken(&mut self) -> Vec<u8> {
        mem::take(&mut self.bytes)
    }

    /// Whether any byte of the header has come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !self.bytes.is_empty() || self.skipping.is_some()
    }
}

enum Parsed {
    More,
    /// The header, and how many bytes after it belong to it.
    Header(ProxyHeader, usize),
}

/// Looks at what came, of which all but the last byte was looked at before.
fn parse(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    if SIGNATURE.starts_with(bytes) || WORD.starts_with(bytes) {
        return Ok(Parsed::More);
    }
    if bytes.starts_with(SIGNATURE) {
        return parse_binary(bytes);
    }
    if bytes.starts_with(WORD) {
        return parse_line(bytes);
    }
    Err(ProxyHeaderError::Missing)
}

fn parse_line(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    let malformed = ProxyHeaderError::Malformed("its line");
    let Some((&last, line)) = bytes.split_last() else { return Ok(Parsed::More) };
    match (last, line.last()) {
        (b'\n', Some(b'\r')) => {
            let line = std::str::from_utf8(&line[..line.len() - 1]).map_err(|_| malformed)?;
            Ok(Parsed::Header(ProxyHeader { version: 1, content: parse_words(line)? }, 0))
        }
        // A carriage return stands before the line feed and nowhere else.
        (b'\n', _) | (_, Some(b'\r')) => Err(malformed),
        (b' '..=b'~' | b'\r', _) if bytes.len() < MAX_LINE => Ok(Parsed::More),
        (b' '..=b'~' | b'\r', _) => Err(ProxyHeaderError::TooLong),
        _ => Err(malformed),
    }
}

fn parse_words(line: &str) -> Result<Content, ProxyHeaderError> {
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // "the receiver must ignore anything presented before the CRLF" (section 2.1).
        return Ok(Content::Unknown);
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err(ProxyHeaderError::Malformed("the number of its words"));
    };
    let address: fn(&str) -> Option<IpAddr> = match family {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(ProxyHeaderError::Malformed("its protocol")),
    };
    let of = |text, port| {
        Some(SocketAddr::new(address(text)?.to_canonical(), parse_port_without_zeros(port)?))
    };
    match (of(source, source_port), of(destination, destination_port)) {
        (Some(source), Some(destination)) => Ok(Content::Addresses(source, destination)),
        _ => Err(ProxyHeaderError::Malformed("an address")),
    }
}

/// "The header '0' is not permitted except for the value 0 itself" (section 2.1, of leading zeros).
fn parse_port_without_zeros(text: &str) -> Option<u16> {
    parse_port(text).filter(|_| text.len() == 1 || !text.starts_with('0'))
}

fn parse_binary(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    let command = bytes[SIGNATURE.len()];
    if command >> 4 != 2 {
        return Err(ProxyHeaderError::Version(command >> 4));
    }
    if command & 0xf > 1 {
        return Err(ProxyHeaderError::Malformed("its command"));
    }
    let is_local = command & 0xf == 0;
    let Some(&family) = bytes.get(13) else { return Ok(Parsed::More) };
    let addresses = match family {
        // "the receiver should ignore address information" of its own connections (section 2.2).
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // Datagram protocols and unassigned numbers cannot come over a stream.
        _ => return Err(ProxyHeaderError::Malformed("its family or its protocol")),
    };
    let Some(length) = bytes.get(14..FIXED) else { return Ok(Parsed::More) };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let Some(rest) = length.checked_sub(addresses) else {
        return Err(ProxyHeaderError::Malformed("its length"));
    };
    let block = &bytes[FIXED..];
    if block.len() < addresses {
        return Ok(Parsed::More);
    }
    let content = match family {
        _ if is_local => Content::Local,
        0x11 => {
            let address = |at: usize| Ipv4Addr::from(array::<4>(block, at));
            addresses_of(address(0).into(), address(4).into(), &block[8..])
        }
        0x21 => {
            let address = |at: usize| Ipv6Addr::from(array::<16>(block, at));
            addresses_of(address(0).into(), address(16).into(), &block[32..])
        }
        0x31 => Content::Unix,
        _ => Content::Unknown,
    };
    Ok(Parsed::Header(ProxyHeader { version: 2, content }, rest))
}

fn addresses_of(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Content {
    let port = |at| u16::from_be_bytes(array(ports, at));
    Content::Addresses(
        SocketAddr::new(source.to_canonical(), port(0)),
        SocketAddr::new(destination.to_canonical(), port(2)),
    )
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// What is wrong with the header of the PROXY protocol. There is no answer to it: the connection is to be
/// ended.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProxyHeaderError {
    /// The connection does not begin with a header.
    Missing,
    /// The header is of a version other than 1 and 2.
    Version(u8),
    /// The header's line is longer than any can be.
    TooLong,
    /// This part of the header breaks its syntax.
    Malformed(&'static str),
    /// The header comes from an address whose headers are not accepted.
    NotAccepted,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the PROXY protocol: ")?;
        match self {
            Self::Missing => f.write_str("the connection does not begin with its header"),
            Self::Version(version) => write!(f, "there is no version {version}"),
            Self::TooLong => f.write_str("a line that does not end"),
            Self::Malformed(part) => write!(f, "its header is malformed in {part}"),
            Self::NotAccepted => f.write_str("its header is not accepted from this address"),
        }
    }
}

impl std::error::Error for ProxyHeaderError {}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Result<Option<(ProxyHeader, usize)>, ProxyHeaderError>;

    /// Reads a stream whole and in every two parts and byte by byte, which must give the same.
    fn read(stream: &[u8]) -> Read {
        let whole = ProxyHeaderReader::new().read(stream);
        for split in 0..=stream.len() {
            assert_eq!(in_parts(&[&stream[..split], &stream[split..]]), whole, "split at {split}");
        }
        assert_eq!(in_parts(&stream.chunks(1).collect::<Vec<_>>()), whole);
        whole
    }

    fn in_parts(parts: &[&[u8]]) -> Read {
        let mut reader = ProxyHeaderReader::new();
        let (mut before, mut stream) = (0, Vec::new());
        for part in parts {
            match reader.read(part) {
                Ok(None) => before += part.len(),
                Ok(Some((header, used))) => return Ok(Some((header, before + used))),
                Err(error) => {
                    stream.extend_from_slice(part);
                    if error == ProxyHeaderError::Missing {
                        assert_eq!([reader.taken(), part.to_vec()].concat(), stream);
                    }
                    return Err(error);
                }
            }
            stream.extend_from_slice(part);
        }
        Ok(None)
    }

    fn header(stream: &[u8]) -> ProxyHeader {
        let with_rest = [stream, b"GET / HTTP/1.1\r\n"].concat();
        let (header, used) = read(&with_rest).unwrap().expect("a whole header");
        assert_eq!(used, stream.len());
        for length in 0..stream.len() {
            assert_eq!(read(&stream[..length]), Ok(None), "{length} bytes");
        }
        header
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, rest].concat()
    }

    #[test]
    fn lines() {
        for (line, source, destination) in [
            ("TCP4 203.0.113.7 192.0.2.1 56324 443", "203.0.113.7:56324", "192.0.2.1:443"),
            ("TCP4 0.0.0.0 255.255.255.255 0 65535", "0.0.0.0:0", "255.255.255.255:65535"),
            ("TCP6 2001:db8::1 ::1 4 80", "[2001:db8::1]:4", "[::1]:80"),
            ("TCP6 ::ffff:10.0.0.1 ::1 4 80", "10.0.0.1:4", "[::1]:80"),
        ] {
            let header = header(format!("PROXY {line}\r\n").as_bytes());
            assert_eq!((header.version(), header.is_local()), (1, false));
            assert_eq!(header.source(), Some(source.parse().unwrap()));
            assert_eq!(header.destination(), Some(destination.parse().unwrap()));
        }
        for line in ["UNKNOWN", "UNKNOWN ffff:f...f:ffff what ever 65535 65535"] {
            let header = header(format!("PROXY {line}\r\n").as_bytes());
            assert!(header.is_local() && header.source().is_none());
        }
        // The longest that can be.
        let longest =
            [b"PROXY UNKNOWN ".to_vec(), vec![b'f'; MAX_LINE - 16], b"\r\n".to_vec()].concat();
        assert_eq!(longest.len(), MAX_LINE);
        header(&longest);
    }

    #[test]
    fn lines_that_are_none() {
        for line in [
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r ",
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 \r\n",
            "PROXY TCP4  203.0.113.7 192.0.2.1 56324 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 056324 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 +1 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1  443\r\n",
            "PROXY TCP4 203.0.113.07 192.0.2.1 1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 443\r\n",
            "PROXY TCP6 192.0.2.1 ::1 1 443\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.1 1 443\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.1 1 443\r\n",
            "PROXY \r\n",
            "PROXY TCP4\t",
            "PROXY / HTTP/1.1\r\n",
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(matches!(error, ProxyHeaderError::Malformed(_)), "{line:?}: {error}");
        }
        let endless = [&b"PROXY UNKNOWN "[..], &[b'f'; MAX_LINE]].concat();
        assert_eq!(read(&endless), Err(ProxyHeaderError::TooLong));
        assert_eq!(read(&endless[..MAX_LINE]), Err(ProxyHeaderError::TooLong));
        assert_eq!(read(&endless[..MAX_LINE - 1]), Ok(None));
    }

    #[test]
    fn binary_headers() {
        let four = b"\xcb\x00\x71\x07\xc0\x00\x02\x01\xdc\x04\x01\xbb";
        let six = [[0x20; 16], [0x30; 16]].concat();
        let six = [&six[..], b"\x00\x50\x01\xbb"].concat();
        for rest in [&b""[..], b"\x03\x00\x04\x01\x02\x03\x04", &[7; 600]] {
            let one = header(&binary(0x21, 0x11, &[four, rest].concat()));
            assert_eq!((one.version(), one.is_local()), (2, false));
            assert_eq!(one.source(), Some("203.0.113.7:56324".parse().unwrap()));
            assert_eq!(one.destination(), Some("192.0.2.1:443".parse().unwrap()));
            let one = header(&binary(0x21, 0x21, &[&six[..], rest].concat()));
            assert_eq!(one.source().unwrap().port(), 80);
            assert_eq!(one.source().unwrap().ip(), IpAddr::from([0x20; 16]));
            let one = header(&binary(0x21, 0x31, &[&[b'u'; 216][..], rest].concat()));
            assert!(one.source().is_none() && !one.is_local());
            // Without addresses: of the proxy itself, whatever else it says, and of a protocol that is not told.
            for (command, family) in [(0x20, 0x00), (0x20, 0x11), (0x20, 0xff), (0x21, 0x00)] {
                let one = header(&binary(command, family, rest));
                assert!(one.is_local() && one.source().is_none(), "{command:x} {family:x}");
            }
        }
    }

    #[test]
    fn binary_headers_that_are_none() {
        let malformed = |error| matches!(error, Err(ProxyHeaderError::Malformed(_)));
        assert_eq!(read(&binary(0x11, 0x11, &[0; 12])), Err(ProxyHeaderError::Version(1)));
        assert!(malformed(read(&binary(0x22, 0x11, &[0; 12]))));
        for family in [0x01, 0x10, 0x12, 0x22, 0x32, 0x41, 0xff] {
            assert!(malformed(read(&binary(0x21, family, &[0; 216]))), "{family:x}");
        }
        for (family, length) in [(0x11, 11), (0x21, 35), (0x31, 215)] {
            assert!(malformed(read(&binary(0x21, family, &vec![0; length]))), "{family:x}");
        }
    }

    #[test]
    fn what_is_no_header_is_given_back() {
        for stream in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"P",
            b"PRI * HTTP/2.0\r\n",
            b"\r\n\r\nGET /",
            b"\x16\x03\x01",
            b"PROXIES",
        ] {
            let result = read(stream);
            let is_prefix = WORD.starts_with(stream);
            assert_eq!(result, if is_prefix { Ok(None) } else { Err(ProxyHeaderError::Missing) });
        }
    }
}
