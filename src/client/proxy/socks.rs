//! SOCKS 5 (RFC 1928) with user name and password (RFC 1929). Names go to the proxy as they are.

use std::io::{self, Read, Write};
use std::net::IpAddr;

use super::error::ProxyError;
use crate::handshake::Url;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
/// The version of the sub-negotiation of RFC 1929.
const AUTHENTICATION_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const DOMAIN: u8 = 3;
const IPV6: u8 = 4;

/// Has the proxy connect to the server of `url`. Not a byte behind the proxy's reply is read.
pub(super) fn connect(
    stream: &mut (impl Read + Write),
    url: &Url,
    userinfo: Option<(&str, &str)>,
) -> Result<(), ProxyError> {
    let credentials = userinfo.map(credentials).transpose()?;
    let request = request(url)?;
    let methods: &[u8] = match credentials {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
    };
    stream.write_all(methods)?;
    match (read(stream)?, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, USER_AND_PASSWORD], Some(credentials)) => {
            stream.write_all(&credentials)?;
            let [version, status] = read(stream)?;
            if version != AUTHENTICATION_VERSION {
                return Err(ProxyError::Socks);
            }
            if status != 0 {
                return Err(ProxyError::SocksAuthentication);
            }
        }
        ([VERSION, _], _) => return Err(ProxyError::SocksMethod),
        _ => return Err(ProxyError::Socks),
    }
    stream.write_all(&request)?;
    let [version, reply, _reserved] = read(stream)?;
    match (version, reply) {
        (VERSION, 0) => read_address(stream),
        // Some leave out the address then; nobody needs it.
        (VERSION, reply) => Err(ProxyError::SocksReply(reply)),
        _ => Err(ProxyError::Socks),
    }
}

/// Reads over the address from which the proxy connects, and its port.
fn read_address(stream: &mut impl Read) -> Result<(), ProxyError> {
    let length = match read(stream)? {
        [IPV4] => 4,
        [IPV6] => 16,
        [DOMAIN] => usize::from(read::<1>(stream)?[0]),
        _ => return Err(ProxyError::Socks),
    };
    let mut address = [0; 255 + 2];
    read_exact(stream, &mut address[..length + 2])
}

fn credentials((user, password): (&str, &str)) -> Result<Vec<u8>, ProxyError> {
    if user.is_empty() {
        return Err(ProxyError::SocksLength);
    }
    let mut bytes = vec![AUTHENTICATION_VERSION];
    for text in [user, password] {
        push_text(&mut bytes, text)?;
    }
    Ok(bytes)
}

fn request(url: &Url) -> Result<Vec<u8>, ProxyError> {
    let mut bytes = vec![VERSION, CONNECT, 0];
    match url.address().ok_or(()) {
        Ok(IpAddr::V4(address)) => {
            bytes.push(IPV4);
            bytes.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            bytes.push(IPV6);
            bytes.extend(address.octets());
        }
        Err(_) => {
            bytes.push(DOMAIN);
            push_text(&mut bytes, url.host())?;
        }
    }
    bytes.extend(url.port().to_be_bytes());
    Ok(bytes)
}

fn push_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), ProxyError> {
    bytes.push(u8::try_from(text.len()).map_err(|_| ProxyError::SocksLength)?);
    bytes.extend(text.as_bytes());
    Ok(())
}

fn read<const N: usize>(stream: &mut impl Read) -> Result<[u8; N], ProxyError> {
    let mut bytes = [0; N];
    read_exact(stream, &mut bytes)?;
    Ok(bytes)
}

fn read_exact(stream: &mut impl Read, bytes: &mut [u8]) -> Result<(), ProxyError> {
    match stream.read_exact(bytes) {
        // It hung up in the middle of its answer: that is no answer.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ProxyError::Socks),
        result => Ok(result?),
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::io::{self, Cursor, Read, Write};

    use crate::client::deadline_stream::ShortenDeadline;

    /// A peer that says these bytes, one a read.
    pub(in super::super) struct Script {
        pub(in super::super) answer: Cursor<Vec<u8>>,
        pub(in super::super) written: Vec<u8>,
        pub(in super::super) is_shortened: bool,
    }

    impl Script {
        pub(in super::super) fn new(answer: &[u8]) -> Self {
            Self { answer: Cursor::new(answer.to_vec()), written: Vec::new(), is_shortened: false }
        }
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answer.read(buffer)
        }
    }

    impl ShortenDeadline for Script {
        fn shorten_deadline(&mut self) {
            self.is_shortened = true;
        }
    }

    impl Write for Script {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.written.extend_from_slice(buffer);
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Script;
    use super::*;

    type UserInfo = Option<(&'static str, &'static str)>;

    const BOUND: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50";

    fn run(
        url: &str,
        userinfo: Option<(&str, &str)>,
        answer: &[u8],
    ) -> (Result<(), ProxyError>, Script) {
        let mut script = Script::new(answer);
        let url = Url::parse(url).unwrap();
        (connect(&mut script, &url, userinfo), script)
    }

    #[test]
    fn requests_on_the_wire() {
        let cases: [(&str, UserInfo, &[u8], &[u8]); 4] = [
            (
                "ws://example.com/",
                None,
                b"\x05\x00",
                b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x00\x50",
            ),
            (
                "wss://1.2.3.4/",
                None,
                b"\x05\x00",
                b"\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x01\xbb",
            ),
            (
                "ws://[1::2]:258/",
                Some(("u", "")),
                b"\x05\x00",
                b"\x05\x02\x00\x02\x05\x01\x00\x04\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\x01\x02",
            ),
            (
                "ws://h/",
                Some(("user", "pw")),
                b"\x05\x02\x01\x00",
                b"\x05\x02\x00\x02\x01\x04user\x02pw\x05\x01\x00\x03\x01h\x00\x50",
            ),
        ];
        for (url, userinfo, method, written) in cases {
            let answer = [method, BOUND, b"frames"].concat();
            let (result, mut script) = run(url, userinfo, &answer);
            result.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(script.written, written, "{url}");
            let mut rest = String::new();
            script.answer.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "frames", "{url}");
        }
    }

    #[test]
    fn bound_addresses_of_every_kind_are_read_over() {
        let v6 = [&b"\x05\x00\x05\x00\x00\x04"[..], &[9; 18], b"rest"].concat();
        let name = [&b"\x05\x00\x05\x00\x00\x03\xff"[..], &[9; 257], b"rest"].concat();
        for answer in [v6, name, b"\x05\x00\x05\x00\x00\x03\x00\x01\x02rest".to_vec()] {
            let (result, mut script) = run("ws://h", None, &answer);
            result.unwrap();
            let mut rest = String::new();
            script.answer.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "rest");
        }
    }

    #[test]
    fn faults() {
        use ProxyError::*;
        let user = Some(("u", "p"));
        let cases: [(UserInfo, &[u8], ProxyError); 12] = [
            (None, b"", Socks),
            (None, b"\x05", Socks),
            (None, b"HTTP/1.1 400 x\r\n\r\n", Socks),
            (None, b"\x04\x00", Socks),
            (None, b"\x05\xff", SocksMethod),
            (None, b"\x05\x02", SocksMethod),
            (user, b"\x05\x01", SocksMethod),
            (user, b"\x05\x02\x01\x01", SocksAuthentication),
            (user, b"\x05\x02\x05\x00", Socks),
            (None, b"\x05\x00\x05\x05\x00", SocksReply(5)),
            (None, b"\x05\x00\x05\x00\x00\x02", Socks),
            (None, b"\x05\x00\x05\x00\x00\x01\x01", Socks),
        ];
        for (userinfo, answer, expected) in cases {
            let error = run("ws://h", userinfo, answer).0.unwrap_err();
            assert_eq!(format!("{error:?}"), format!("{expected:?}"), "{answer:?}");
        }
        let long = "x".repeat(256);
        for (url, userinfo) in [
            (format!("ws://{long}"), None),
            ("ws://h".into(), Some((long.as_str(), "p"))),
            ("ws://h".into(), Some(("u", long.as_str()))),
            ("ws://h".into(), Some(("", "p"))),
        ] {
            let (result, script) = run(&url, userinfo, b"");
            assert!(matches!(result, Err(SocksLength)));
            assert!(script.written.is_empty(), "nothing is said that cannot be finished");
        }
    }
}
