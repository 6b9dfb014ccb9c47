//! Heads, the lists in them and bodies: a server answers 503 where there is no memory for one, and a client gives up. A
//! body of a rejection is cut where memory ends.

use framewire::handshake::{
    ClientRequest, HeadLimits, RequestError, ResponseError, ResponseReader, Url, accept_key,
};
use framewire::{Config, Connection, Event, HandshakeError};

use crate::{LARGE, failing};

/// What is far longer than any allocation that does not depend on it.
const LENGTH: usize = 1 << 20;

/// Far more than usual, so that each buffer grows beyond what is called large.
fn config() -> Config {
    Config::new()
        .max_head_size(8 * LENGTH)
        .max_request_line(4 * LENGTH)
        .max_headers(LENGTH)
        .http_methods(["POST"])
        .max_request_body(8 * LENGTH)
        .max_rejection_body(8 * LENGTH)
}

const UPGRADE: &str = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn upgrade(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{UPGRADE}{lines}\r\n")
}

/// Names that are all different.
fn names() -> String {
    (0..LENGTH / 16).map(|number| format!("p{number},")).collect()
}

fn long() -> String {
    "x".repeat(LENGTH)
}

/// How the bytes come.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Pieces,
}

impl Cut {
    fn length(self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Pieces => 50_000,
        }
    }
}

/// The first event that comes of these bytes. It borrows nothing, so that it costs no memory to keep it.
fn event(connection: &mut Connection, bytes: &mut [u8], cut: Cut) -> Option<Event<'static>> {
    let length = cut.length().min(bytes.len());
    for mut input in bytes.chunks_mut(length) {
        if let Some(event) = connection.receive(&mut input) {
            return Some(event.into_owned());
        }
    }
    None
}

/// Has a server read this, again and again, of which one more large allocation succeeds each time: what is `expected` in
/// the end, when all of them do.
fn request(name: &str, bytes: &str, expected: impl Fn(&Event<'_>) -> bool) {
    for cut in [Cut::Whole, Cut::Pieces] {
        let failed = failing(|is_whole, run| {
            let mut connection = Connection::server(&config());
            let mut bytes = bytes.as_bytes().to_vec();
            let event = run(&mut || event(&mut connection, &mut bytes, cut));
            let Some(event) = event else { panic!("{name}, {cut:?}: no event") };
            if is_whole() {
                assert!(expected(&event), "{name}, {cut:?}: {event:?}");
                return;
            }
            let lacks = Event::HandshakeFailed(HandshakeError::Request(RequestError::OutOfMemory));
            assert_eq!(event, lacks, "{name}, {cut:?}");
            let answer: Vec<u8> = connection.output().flatten().copied().collect();
            assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", answer.escape_ascii());
        });
        println!("a request, {name}, {cut:?}: {failed} allocations have failed in turn");
    }
}

/// A client that waits for its answer, with what the answer says to its key.
fn client() -> (Connection, String) {
    let url = Url::parse("ws://a/").expect("a URL");
    let nonce = |bytes: &mut [u8]| bytes.fill(7);
    let mut client =
        Connection::client(ClientRequest::new(&url), &config(), nonce).expect("settings");
    let request: Vec<u8> = client.output().flatten().copied().collect();
    client.consume_output(usize::MAX);
    let request = String::from_utf8(request).expect("a head");
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = accept_key(key.expect("a key").as_bytes()).map(char::from);
    (client, accept.iter().collect())
}

/// The same for a client: the answer is a 101 with these lines.
fn response(name: &str, reason: &str, lines: &str, expected: impl Fn(&Event<'_>) -> bool) {
    for cut in [Cut::Whole, Cut::Pieces] {
        let failed = failing(|is_whole, run| {
            let (mut connection, accept) = client();
            let mut bytes = format!(
                "HTTP/1.1 101 {reason}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
            )
            .into_bytes();
            let event = run(&mut || event(&mut connection, &mut bytes, cut));
            let Some(event) = event else { panic!("{name}, {cut:?}: no event") };
            if is_whole() {
                assert!(expected(&event), "{name}, {cut:?}: {event:?}");
            } else {
                let lacks = HandshakeError::Response(ResponseError::OutOfMemory);
                assert_eq!(event, Event::HandshakeFailed(lacks), "{name}, {cut:?}");
            }
        });
        println!("a response, {name}, {cut:?}: {failed} allocations have failed in turn");
    }
}

/// The body of a rejection, of a server or of a proxy.
fn rejection(name: &str, bytes: &str, reader: fn(HeadLimits, usize) -> ResponseReader) {
    let failed = failing(|is_whole, run| {
        let mut reader = reader(HeadLimits::default(), 8 * LENGTH);
        let read = |reader: &mut ResponseReader| {
            bytes.as_bytes().chunks(50_000).find_map(|input| reader.read(input).transpose())
        };
        let mut result = None;
        run(&mut || {
            result = read(&mut reader);
            None
        });
        let (response, _) = result.expect("it is whole").expect("it is a response");
        assert_eq!(response.status(), 403);
        let body = response.body_bytes();
        assert!(body.iter().all(|&byte| byte == b'x'));
        if is_whole() {
            assert_eq!(body.len(), LENGTH, "{name}");
        } else {
            assert!((LARGE / 2..LENGTH).contains(&body.len()), "{name}: {}", body.len());
        }
    });
    println!("{name}: {failed} allocations have failed in turn");
}

pub(crate) fn all() {
    let opens = |event: &Event<'_>| matches!(event, Event::Request(_));
    request("a long header", &upgrade(&format!("A: {}\r\n", long())), opens);
    request("many headers", &upgrade(&"A: b\r\n".repeat(LENGTH / 16)), opens);
    let target = format!("GET /{} HTTP/1.1\r\n{UPGRADE}\r\n", long());
    request("a long target", &target, opens);
    let list = format!("Sec-WebSocket-Protocol: {}\r\n", names());
    request("many subprotocols", &upgrade(&list), opens);
    for (name, extensions) in [
        ("many extensions", "a,".repeat(LENGTH / 16)),
        ("many parameters", format!("a{}", ";b".repeat(LENGTH / 16))),
        ("an extension with a long name", long()),
        ("a parameter with a long name", format!("a;{}", long())),
        ("a parameter with a long value", format!("a;b={}", long())),
        ("a parameter with a long value in quotation marks", format!("a;b=\"{}\"", long())),
    ] {
        let line = format!("Sec-WebSocket-Extensions: {extensions}\r\n");
        request(name, &upgrade(&line), opens);
        // A client has asked for none of them.
        response(name, "", &line, |event| {
            let Event::HandshakeFailed(HandshakeError::Response(error)) = event else {
                return false;
            };
            matches!(error, ResponseError::ExtensionNotOffered(_))
        });
    }

    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    let has_body = |event: &Event<'_>| match event {
        Event::Http(request) => request.body() == long().as_bytes(),
        _ => false,
    };
    let plain = format!("{post}Content-Length: {LENGTH}\r\n\r\n{}", long());
    request("a body", &plain, has_body);
    let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", LENGTH, long());
    request(
        "a body in chunks",
        &format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunks}"),
        has_body,
    );

    let opens = |event: &Event<'_>| matches!(event, Event::Open(_));
    response("a long header", "", &format!("A: {}\r\n", long()), opens);
    response("a header over two lines", "", &format!("A: {}\r\n b\r\n", long()), opens);
    response("many headers", "", &"A: b\r\n".repeat(LENGTH / 16), opens);
    response("a long reason", &long(), "", opens);

    let rejected = "HTTP/1.1 403 No\r\n";
    for (name, framing, body) in [
        ("of this length", format!("Content-Length: {LENGTH}\r\n"), long()),
        ("in chunks", "Transfer-Encoding: chunked\r\n".to_owned(), chunks),
    ] {
        let bytes = format!("{rejected}{framing}\r\n{body}");
        rejection(&format!("a rejection with a body {name}"), &bytes, ResponseReader::new);
        rejection(&format!("one of a proxy with a body {name}"), &bytes, ResponseReader::of_tunnel);
    }
    faulty();
}

/// A head that is long and at fault. What was read of it is told, or nothing where there is no memory for that.
fn faulty() {
    let bytes = upgrade(&format!("A: {}\n", long()));
    for cut in [Cut::Whole, Cut::Pieces] {
        let failed = failing(|is_whole, run| {
            let mut connection = Connection::server(&config());
            let mut bytes = bytes.as_bytes().to_vec();
            let event = run(&mut || event(&mut connection, &mut bytes, cut));
            let Some(Event::HandshakeFailed(HandshakeError::Request(error))) = event else {
                panic!("{cut:?}: {event:?}")
            };
            let told = connection.take_partial_request().map_or(0, |told| told.head().len());
            if is_whole() {
                assert!(matches!(error, RequestError::Head(_)), "{error:?}");
                assert!(told > LENGTH, "{told}");
            } else {
                assert!(told < LENGTH, "{told}");
            }
        });
        println!("a request at fault, {cut:?}: {failed} allocations have failed in turn");
    }
}
