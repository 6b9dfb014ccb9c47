//! Requests: any bytes in any portions, head and body, and the answers to them.

#![no_main]

use arbitrary::Arbitrary;
use framewire::handshake::{
    BodyReader, HeadLimits, Headers, Request, RequestError, RequestReader, Response,
    ResponseReader, accept_key, encode_switching_protocols,
};
use framewire_fuzz::split_head;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    head_bytes: u16,
    request_line_bytes: u16,
    headers: u8,
    body_bytes: u8,
    cuts: [u8; 12],
    stream: &'a [u8],
}

type Read = Result<Option<(Request, usize)>, RequestError>;

fuzz_target!(|input: Input<'_>| {
    let limits = HeadLimits::default()
        .head_bytes(input.head_bytes.into())
        .request_line_bytes(input.request_line_bytes.into())
        .headers(input.headers.into());
    let pieces = framewire_fuzz::pieces(input.stream, &input.cuts);
    let bytes: Vec<&[u8]> = input.stream.chunks(1).collect();
    let (whole, is_head) = read(limits, &[input.stream]);
    assert_eq!(read(limits, &pieces), (whole.clone(), is_head));
    assert_eq!(read(limits, &bytes), (whole.clone(), is_head));

    match whole {
        Ok(None) => {}
        Ok(Some((request, used))) => {
            assert!(used <= usize::from(input.head_bytes));
            assert!(request.headers().len() <= usize::from(input.headers));
            check_request(&request, &input.stream[..used]);
            check_body(&request, &input.stream[used..], &input);
        }
        Err(error) => check_error(&error, is_head),
    }
});

/// What came of a stream, and whether it is answered as a `HEAD`.
fn read(limits: HeadLimits, pieces: &[&[u8]]) -> (Read, bool) {
    let mut reader = RequestReader::new(limits);
    let mut before = 0;
    for piece in pieces {
        match reader.read(piece) {
            Ok(None) => before += piece.len(),
            Ok(Some((request, used))) => {
                let is_head = request.method() == "HEAD";
                return (Ok(Some((request, before + used))), is_head);
            }
            Err(error) => {
                assert_eq!(reader.read(b"GET / HTTP/1.1\r\n"), Err(error.clone()));
                return (Err(error), reader.is_head());
            }
        }
    }
    (Ok(None), false)
}

fn check_error(error: &RequestError, is_head: bool) {
    assert!(!error.to_string().chars().any(char::is_control), "a log line is split");
    let mut out = Vec::new();
    let response = Response::from(error);
    response.encode("GET", None, &mut out);
    assert_eq!(read_back(&out).status(), error.status());
    if is_head {
        let length = out.len() - response.body_bytes().len();
        let mut head = Vec::new();
        response.encode("HEAD", None, &mut head);
        assert_eq!(head, out[..length]);
    }
}

/// Reads the body behind a head, in every way that its bytes may come.
fn check_body(request: &Request, stream: &[u8], input: &Input<'_>) {
    let limit = usize::from(input.body_bytes);
    let whole = read_body(request, limit, &[stream]);
    let cut = framewire_fuzz::pieces(stream, &input.cuts);
    assert_eq!(read_body(request, limit, &cut), whole);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read_body(request, limit, &bytes), whole);
    match whole {
        Ok(None) => assert!(request.has_body()),
        Ok(Some((with_body, used))) => {
            assert!(with_body.body().len() <= limit && used <= stream.len());
            assert_eq!(
                (with_body.method(), with_body.target()),
                (request.method(), request.target())
            );
            // Without chunks, the body is the bytes.
            if request.headers().get("Transfer-Encoding").is_none() {
                assert_eq!(with_body.body(), &stream[..used]);
            }
        }
        Err(error) => check_error(&error, false),
    }
}

fn read_body(request: &Request, limit: usize, pieces: &[&[u8]]) -> Read {
    let mut reader = BodyReader::new(request.clone(), limit)?;
    if !request.has_body() {
        assert!(!reader.is_awaited());
        return reader.read(b"");
    }
    assert!(!matches!(request.method(), "GET" | "HEAD"));
    let mut before = 0;
    for piece in pieces {
        match reader.read(piece)? {
            None => before += piece.len(),
            Some((request, used)) => return Ok(Some((request, before + used))),
        }
    }
    Ok(None)
}

/// Holds a request against the bytes that it was read from.
fn check_request(request: &Request, bytes: &[u8]) {
    let empty_lines = bytes.chunks(2).take_while(|line| line == b"\r\n").count();
    let head = split_head(&bytes[2 * empty_lines..]);
    assert!(head.rest.is_empty());
    let (major, minor) = request.http_version();
    let line = format!("{} {} HTTP/{major}.{minor}", request.method(), request.target());
    assert_eq!(head.start, line);
    assert_eq!(head.fields.len(), request.headers().len());
    for (read, (name, value)) in head.fields.iter().zip(request.headers().iter()) {
        assert_eq!((read.0, read.1.trim_ascii()), (name, value.trim_ascii()));
    }
    assert!(
        request.path().starts_with('/') || (request.method(), request.path()) == ("OPTIONS", "*")
    );
    assert!(!request.host().is_empty() || (minor == 0 && head.get("host").is_none()));
    assert!(request.query_parameters().count() <= request.query().map_or(0, |query| query.len()));
    assert!(request.query().is_none_or(|query| request.target().ends_with(query)));

    // Written again, it reads as the same.
    let mut again = format!("{line}\r\n").into_bytes();
    for (name, value) in request.headers().iter() {
        again.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    again.extend_from_slice(b"\r\n");
    let limits = HeadLimits::default()
        .head_bytes(again.len())
        .request_line_bytes(again.len())
        .headers(request.headers().len());
    assert_eq!(RequestReader::new(limits).read(&again), Ok(Some((request.clone(), again.len()))));

    let extensions = request.extensions();
    if !request.is_upgrade() {
        assert!(
            request.method() != "GET"
                || minor == 0
                || !request.headers().has_token("upgrade", "websocket")
        );
        return;
    }
    assert_eq!((request.method(), request.has_body()), ("GET", false));
    assert!(matches!(request.version(), 8 | 13) && request.key().len() == 24);
    assert!(extensions.iter().all(|extension| !extension.name.is_empty()));
    let names: Vec<&str> = request.subprotocols().collect();
    assert!(names.iter().enumerate().all(|(at, name)| !names[..at].contains(name)));

    let mut out = Vec::new();
    let subprotocol = names.first().copied();
    let key = request.key().as_bytes();
    encode_switching_protocols(&mut out, key, subprotocol, None, &Headers::new()).unwrap();
    let response = read_back(&out);
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers().get("sec-websocket-accept"), Some(&accept_key(key)[..]));
    assert_eq!(response.headers().get_str("sec-websocket-protocol"), subprotocol);
}

/// An answer of ours, as our client reads it.
fn read_back(bytes: &[u8]) -> Response {
    let mut reader = ResponseReader::new(HeadLimits::default(), usize::MAX);
    let (response, used) = reader.read(bytes).unwrap().expect("a whole response");
    assert_eq!(used, bytes.len());
    response
}
