//! Requests: any bytes in any portions, and the answers to them.

#![no_main]

use arbitrary::Arbitrary;
use framewire::handshake::{
    HeadLimits, Headers, Request, RequestError, RequestReader, Response, ResponseReader,
    accept_key, encode_switching_protocols,
};
use framewire_fuzz::split_head;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    head_bytes: u16,
    request_line_bytes: u16,
    headers: u8,
    cuts: [u8; 12],
    stream: &'a [u8],
}

type Read = Result<Option<(Request, usize)>, RequestError>;

fuzz_target!(|input: Input<'_>| {
    let limits = HeadLimits::default()
        .with_head_bytes(input.head_bytes.into())
        .with_request_line_bytes(input.request_line_bytes.into())
        .with_headers(input.headers.into());
    let whole = read(limits, &[input.stream]);
    assert_eq!(read(limits, &framewire_fuzz::pieces(input.stream, &input.cuts)), whole);
    let bytes: Vec<&[u8]> = input.stream.chunks(1).collect();
    assert_eq!(read(limits, &bytes), whole);

    match whole {
        Ok(None) => {}
        Ok(Some((request, used))) => {
            assert!(used <= usize::from(input.head_bytes));
            assert!(request.headers().len() <= usize::from(input.headers));
            check_request(&request, &input.stream[..used]);
        }
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "a log line is split");
            let mut out = Vec::new();
            Response::from(&error).encode(&mut out);
            assert_eq!(read_back(&out).status(), error.status());
        }
    }
});

fn read(limits: HeadLimits, pieces: &[&[u8]]) -> Read {
    let mut reader = RequestReader::new(limits);
    let mut before = 0;
    for piece in pieces {
        match reader.read(piece) {
            Ok(None) => before += piece.len(),
            Ok(Some((request, used))) => return Ok(Some((request, before + used))),
            Err(error) => {
                assert_eq!(reader.read(b"GET / HTTP/1.1\r\n"), Err(error.clone()));
                return Err(error);
            }
        }
    }
    Ok(None)
}

/// Holds a request against the bytes that it was read from.
fn check_request(request: &Request, bytes: &[u8]) {
    let empty_lines = bytes.chunks(2).take_while(|line| line == b"\r\n").count();
    let head = split_head(&bytes[2 * empty_lines..]);
    assert!(head.rest.is_empty());
    assert_eq!(head.start, format!("GET {} HTTP/1.1", request.target()));
    assert_eq!(head.fields.len(), request.headers().len());
    for (read, (name, value)) in head.fields.iter().zip(request.headers().iter()) {
        assert_eq!((read.0, read.1.trim_ascii()), (name, value.trim_ascii()));
    }
    assert!(request.path().starts_with('/') && !request.host().is_empty());
    assert!(request.query().is_none_or(|query| request.target().ends_with(query)));

    // Written again, it reads as the same.
    let mut again = format!("GET {} HTTP/1.1\r\n", request.target()).into_bytes();
    for (name, value) in request.headers().iter() {
        again.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    again.extend_from_slice(b"\r\n");
    let limits = HeadLimits::default()
        .with_head_bytes(again.len())
        .with_request_line_bytes(again.len())
        .with_headers(request.headers().len());
    assert_eq!(RequestReader::new(limits).read(&again), Ok(Some((request.clone(), again.len()))));

    let extensions = request.extensions();
    if !request.is_upgrade() {
        assert!(head.get("upgrade").is_none());
        return;
    }
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
