//! Responses: any bytes in any portions, their bodies, and their judgement.

#![no_main]

use arbitrary::Arbitrary;
use framewire::handshake::{
    ClientRequest, HeadLimits, Response, ResponseError, ResponseReader, Url, encode_key,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    head_bytes: u16,
    headers: u8,
    body_limit: u16,
    cuts: [u8; 12],
    stream: &'a [u8],
}

/// The response and how much of the stream it took, or what the end of the stream made of it.
#[derive(Debug, PartialEq)]
enum Read {
    Whole(Response, usize),
    Ended(Result<Option<Response>, ResponseError>),
    Refused(ResponseError),
}

fuzz_target!(|input: Input<'_>| {
    let limits =
        HeadLimits::default().head_bytes(input.head_bytes.into()).headers(input.headers.into());
    let limit = usize::from(input.body_limit);
    let whole = read(limits, limit, &[input.stream]);
    assert_eq!(read(limits, limit, &framewire_fuzz::pieces(input.stream, &input.cuts)), whole);
    let bytes: Vec<&[u8]> = input.stream.chunks(1).collect();
    assert_eq!(read(limits, limit, &bytes), whole);

    match whole {
        Read::Whole(response, used) => {
            assert!(used <= input.stream.len());
            check_response(&response, limit);
        }
        Read::Ended(Ok(Some(response))) => check_response(&response, limit),
        Read::Ended(Ok(None)) => panic!("nothing was returned, ever"),
        Read::Ended(Err(error)) => assert_eq!(error, ResponseError::Truncated),
        Read::Refused(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "a log line is split");
        }
    }
});

fn read(limits: HeadLimits, body_limit: usize, pieces: &[&[u8]]) -> Read {
    let mut reader = ResponseReader::new(limits, body_limit);
    let mut before = 0;
    for piece in pieces {
        match reader.read(piece) {
            Ok(None) => before += piece.len(),
            Ok(Some((response, used))) => {
                assert_eq!(reader.read(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(None), "one response only");
                assert_eq!(reader.read_eof(), Ok(None));
                return Read::Whole(response, before + used);
            }
            Err(error) => {
                assert_eq!(reader.read(b""), Err(error.clone()));
                assert_eq!(reader.read_eof(), Err(error.clone()));
                return Read::Refused(error);
            }
        }
    }
    Read::Ended(reader.read_eof())
}

fn check_response(response: &Response, limit: usize) {
    assert!(response.body_bytes().len() <= limit);
    assert!(response.status() == 101 || (200..=999).contains(&response.status()));

    let key = encode_key([7; 16]);
    let request = ClientRequest::new(&Url::parse("ws://h/").unwrap()).subprotocols(["a"]).unwrap();
    for offered in [false, true] {
        match request.verify(response, &key, offered) {
            Ok(accepted) => {
                assert_eq!((response.status(), accepted.subprotocol.as_deref()), (101, Some("a")));
                assert!(accepted.extensions.len() <= usize::from(offered));
            }
            Err(error) => {
                assert!(!error.to_string().chars().any(char::is_control), "a log line is split");
            }
        }
    }

    // Passed on, it says the same, but for what frames a message.
    let mut out = Vec::new();
    response.encode("GET", None, &mut out);
    let limits = HeadLimits::default()
        .head_bytes(out.len())
        .request_line_bytes(out.len())
        .headers(response.headers().len() + 4);
    let mut reader = ResponseReader::new(limits, usize::MAX);
    let (again, used) = reader.read(&out).unwrap().expect("a whole response");
    let final_status = (200..=599).contains(&response.status());
    assert_eq!(used, out.len());
    assert_eq!(again.status(), if final_status { response.status() } else { 500 });
    if final_status {
        assert_eq!(again.reason_phrase(), response.reason_phrase());
    }
    if !matches!(response.status(), 204 | 304) {
        assert_eq!(again.body_bytes(), response.body_bytes());
    }
    let framing = ["connection", "content-length", "transfer-encoding"];
    for (name, _) in response.headers().iter() {
        if !framing.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            assert!(again.headers().get_all(name).eq(response.headers().get_all(name)));
        }
    }
}
