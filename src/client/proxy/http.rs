//! `CONNECT` (RFC 9110 section 9.3.6), which RFC 6455 section 4.1 wants for `ws:` as for `wss:`.

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::error::ProxyError;
use crate::client::deadline_stream::ShortenDeadline;
use crate::handshake::{
    HeadLimits, Headers, ResponseError, ResponseReader, Url, basic_credentials,
};

/// Sends the [request] for a tunnel, and reads the answer.
pub(super) fn connect(
    stream: &mut (impl Read + Write + ShortenDeadline),
    request: &[u8],
    max_body: usize,
) -> Result<(), ProxyError> {
    stream.write_all(request)?;
    let mut reader = ResponseReader::of_tunnel(HeadLimits::default(), max_body);
    let mut buffer = [0; 4096];
    let (response, is_at_end) = loop {
        let answer = match stream.read(&mut buffer) {
            Ok(0) => Err(None),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(Some(error)),
        };
        match answer {
            Ok(count) => {
                let read = reader.read(&buffer[..count]).map_err(ProxyError::Response)?;
                if let Some((response, used)) = read {
                    break (response, used == count);
                }
                if reader.unfinished().is_some() {
                    stream.shorten_deadline();
                }
            }
            // A refusal of which only the body is not whole is a refusal all the same.
            Err(error) => match (reader.read_eof(), error) {
                (Ok(Some(response)), _) => break (response, true),
                (_, Some(error)) => return Err(error.into()),
                (Err(error), None) => return Err(ProxyError::Response(error)),
                (Ok(None), None) => {
                    return Err(ProxyError::Response(ResponseError::Truncated));
                }
            },
        }
    };
    match response.status() {
        200..=299 if is_at_end => Ok(()),
        200..=299 => Err(ProxyError::UnexpectedData),
        _ => Err(ProxyError::Rejected(Arc::new(response))),
    }
}

/// The request for a tunnel to the server of `url`.
pub(super) fn request(url: &Url, userinfo: Option<(&str, &str)>, headers: &Headers) -> Vec<u8> {
    let target = url.host_and_port();
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    let userinfo = userinfo.filter(|_| !headers.contains(PROXY_AUTHORIZATION));
    let credentials = userinfo.map(|(user, password)| basic_credentials(user, password));
    let credentials = credentials.iter().map(|value| (PROXY_AUTHORIZATION, value.as_bytes()));
    for (name, value) in credentials.chain(headers.iter()) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

const PROXY_AUTHORIZATION: &str = "Proxy-Authorization";

#[cfg(test)]
mod tests {
    use super::super::socks::testing::Script;
    use super::*;

    fn connect_to(answer: &[u8]) -> (Result<(), ProxyError>, String) {
        let mut script = Script::new(answer);
        let url = Url::parse("ws://[::1]/a").unwrap();
        let request = request(&url, Some(("u", "p")), &Headers::new());
        let result = connect(&mut script, &request, 8);
        (result, String::from_utf8(script.written).unwrap())
    }

    #[test]
    fn a_tunnel_is_asked_for() {
        let (result, request) = connect_to(b"HTTP/1.1 200 Connection established\r\nA: b\r\n\r\n");
        result.unwrap();
        assert_eq!(
            request,
            "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
        );
        let url = Url::parse("wss://h/a").unwrap();
        let mut headers = Headers::new();
        let bare = b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n";
        assert_eq!(super::request(&url, None, &headers), [&bare[..], b"\r\n"].concat());
        headers.append("X-Tenant", "a").unwrap();
        headers.append("proxy-authorization", "Bearer t").unwrap();
        let lines = b"X-Tenant: a\r\nproxy-authorization: Bearer t\r\n\r\n";
        let request = super::request(&url, Some(("u", "p")), &headers);
        assert_eq!(request, [&bare[..], lines].concat());
    }

    // attack: HC05
    #[test]
    fn a_refusal_of_which_only_the_body_is_missing_is_not_waited_for() {
        for (answer, is_shortened) in [
            (&b"HTTP/1.1 407 x\r\n\r\n"[..], true),
            (b"HTTP/1.1 407 x\r\nContent-Length: 9\r\n\r\nabc", true),
            (b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n", false),
            (b"HTTP/1.1 407 x\r\nContent-Length: 9\r\n", false),
            (b"HTTP/1.1 200 x\r\n\r\n", false),
        ] {
            let mut script = Script::new(answer);
            let _ = connect(&mut script, b"", 8);
            assert_eq!(script.is_shortened, is_shortened, "{}", answer.escape_ascii());
        }
    }

    // attack: HC04, HC05, HC07
    #[test]
    fn faults() {
        let failed = |answer: &[u8]| connect_to(answer).0.unwrap_err();
        let refused = [
            "HTTP/1.1 407 x\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.0 407 x\r\n\r\nabc",
            "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 407 x\r\nContent-Length: 9\r\n\r\nabc",
        ];
        for answer in refused {
            match failed(answer.as_bytes()) {
                ProxyError::Rejected(response) => {
                    assert_eq!((response.status(), response.body_bytes()), (407, &b"abc"[..]));
                }
                error => panic!("{answer:?}: {error}"),
            }
        }
        let endless = [b"HTTP/1.1 502 x\r\n\r\n".to_vec(), vec![b'x'; 1 << 20]].concat();
        assert_eq!(failed(&endless).status(), Some(502));
        let behind = failed(b"HTTP/1.1 200 x\r\n\r\nGARBAGE");
        assert!(matches!(behind, ProxyError::UnexpectedData), "{behind:?}");
        for answer in ["", "HTTP/1.1 200 x\r\n", "SSH-2.0\r\n", "\u{5}\0"] {
            let error = failed(answer.as_bytes());
            assert!(matches!(error, ProxyError::Response(_)), "{answer:?}: {error:?}");
        }
        let large = [&b"HTTP/1.1 200 x\r\nA: "[..], &[b'a'; 20_000]].concat();
        assert!(matches!(failed(&large), ProxyError::Response(ResponseError::Head(_))));
    }
}
