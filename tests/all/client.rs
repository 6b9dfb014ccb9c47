//! What a client sends, and what it makes of a server: RFC 6455 sections 4.1, 5.3 and 10.3.

use std::collections::HashSet;

use framewire::handshake::{ClientRequest, HeadError, HeaderListError, ResponseError, Url};
use framewire::{Config, Endpoint, Outcome, Role, SendError, State};

use super::support::frames::*;
use super::support::script::*;

fn plain() -> Config {
    let config = Config::new();
    #[cfg(feature = "deflate")]
    let config = config.no_deflate();
    config
}

/// The stream fails the handshake; nothing is sent.
fn fails(stream: impl AsRef<[u8]>, error: ResponseError) {
    let script = Script::client_from_start()
        .config(plain())
        .bytes(stream)
        .sees(Seen::HandshakeFailed(error.clone().into()));
    let transcript = script.run();
    assert_eq!((transcript.state, transcript.wants_shutdown), (State::Closing, true));
    assert_eq!(transcript.outcome, Outcome::HandshakeFailed(error.into()));
    assert_eq!(transcript.outcome.code().0, 1006);
    script.nothing_follows(&transcript);
}

/// [`response`] in which the line that starts with `name` is replaced by `lines`.
fn changed(name: &str, lines: &str) -> String {
    let whole = response("");
    let whole = whole.strip_suffix("\r\n").unwrap();
    let kept: String =
        whole.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect();
    format!("{kept}{lines}\r\n")
}

// req: W009, W010, W011, W012, W013, W014, W015
#[test]
fn the_request_as_it_goes_out() {
    let mut connection = client(&plain());
    assert_eq!((connection.state(), connection.role()), (State::Connecting, Role::Client));
    let expected = format!(
        "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    assert_eq!(String::from_utf8(drain(&mut connection)).unwrap(), expected);
    let url = Url::parse("ws://h:81/?q=1").unwrap();
    let request = ClientRequest::new(&url).origin("https://o").unwrap();
    let text = String::from_utf8(drain(&mut client_of(request, &plain()))).unwrap();
    assert!(text.starts_with("GET /?q=1 HTTP/1.1\r\nHost: h:81\r\n"));
    assert!(text.contains("\r\nOrigin: https://o\r\n"));
    assert_eq!(text.matches("Host:").count(), 1);
}

// req: W017, W058, W079
#[test]
fn nothing_follows_the_request_before_the_answer() {
    let mut connection = client(&plain());
    drain(&mut connection);
    let head = response("");
    for byte in head.as_bytes() {
        assert_eq!(connection.state(), State::Connecting);
        assert_eq!(connection.send("early"), Err(SendError::Connecting));
        assert_eq!(connection.ping(b""), Err(SendError::Connecting));
        assert_eq!(drain(&mut connection), b"");
        feed(&mut connection, &[*byte]);
    }
    assert_eq!(connection.state(), State::Open);
    connection.send("now").unwrap();
    assert_eq!(drain_frames(&mut connection), [text("now")]);
}

// req: W041, W024, W025
// attack: HC08
#[test]
fn the_101_and_frames_in_one_stream() {
    Script::client_from_start()
        .config(plain())
        .bytes(response("Set-Cookie: a=b\r\n").replace("Upgrade: w", "uPGRADE: W"))
        .sees(Seen::Open)
        .app(|c| c.send("hello").unwrap())
        .sends(text("hello"))
        .peer(text("one"))
        .sees(said("one"))
        .peer(ping("p"))
        .sees(Seen::Ping(b"p".to_vec()))
        .sends(pong("p"))
        .peer(close(1000, ""))
        .sees(Seen::Close(1000, "".into()))
        .sends(close(1000, ""))
        .run();
}

// req: W019, W020, W021, W024, W046, W018
// attack: HC01
#[test]
fn a_101_lacks_nothing() {
    use ResponseError::*;
    for name in ["Upgrade", "Connection", "Sec-WebSocket-Accept"] {
        fails(changed(name, ""), MissingHeader(name));
    }
    for value in ["websocketx", "web", "websocket, h2c", ""] {
        let head = changed("Upgrade", &format!("Upgrade: {value}\r\n"));
        fails(head, InvalidHeader("Upgrade"));
    }
    for value in ["close", "upgraded", ""] {
        let head = changed("Connection", &format!("Connection: {value}\r\n"));
        fails(head, InvalidHeader("Connection"));
    }
    let name = "Sec-WebSocket-Accept";
    for value in ["", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo", KEY] {
        fails(changed(name, &format!("{name}: {value}\r\n")), AcceptMismatch);
    }
    let right = format!("{name}: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    fails(changed("-", &right), RepeatedHeader(name));
    // White space around the value is no part of it.
    let spaced = format!("{name}: \t s3pPLMBiTxaQ9kYGzzhZRbK+xOo= \t\r\n");
    let script = Script::client_from_start().config(plain()).bytes(changed(name, &spaced));
    script.sees(Seen::Open).run();
}

// req: W023, W024, W047
// attack: HC02
#[test]
fn a_subprotocol_is_one_that_was_asked_for() {
    use ResponseError::*;
    let name = "Sec-WebSocket-Protocol";
    fails(response(&format!("{name}: a\r\n")), SubprotocolNotRequested("a".into()));
    fails(response(&format!("{name}: \r\n")), InvalidHeader(name));
    let outcome = |lines: &str| {
        let request = ClientRequest::new(&Url::parse("ws://h").unwrap());
        let mut client = client_of(request.subprotocols(["a", "b"]).unwrap(), &plain());
        let head = String::from_utf8(drain(&mut client)).unwrap();
        assert!(head.contains("\r\nSec-WebSocket-Protocol: a, b\r\n"));
        let seen = feed(&mut client, response(lines).as_bytes());
        (seen, client.subprotocol().map(str::to_owned))
    };
    let good = outcome(&format!("{name}: b\r\n"));
    assert_eq!(good, (vec![Seen::Open], Some("b".into())));
    for (lines, error) in [
        (format!("{name}: c\r\n"), SubprotocolNotRequested("c".into())),
        (format!("{name}: B\r\n"), SubprotocolNotRequested("B".into())),
        (format!("{name}: a, b\r\n"), InvalidHeader(name)),
        (format!("{name}: a\r\n{name}: b\r\n"), RepeatedHeader(name)),
        (String::new(), NoSubprotocol),
    ] {
        assert_eq!(outcome(&lines), (vec![Seen::HandshakeFailed(error.into())], None));
    }
}

// req: W022, W049, W051, W053
// attack: HC03
#[test]
fn an_extension_that_was_not_offered_fails() {
    use ResponseError::*;
    let name = "Sec-WebSocket-Extensions";
    for extension in ["permessage-deflate", "x-other"] {
        let head = response(&format!("{name}: {extension}\r\n"));
        fails(head, ExtensionNotOffered(extension.into()));
    }
    let error = HeaderListError::UnexpectedEnd;
    fails(response(&format!("{name}: x;\r\n")), InvalidList { name, error });
}

// req: W018, W024, H002, H006, H009
// attack: HC07, HC04
#[test]
fn other_answers_than_a_clean_101_fail() {
    use ResponseError::*;
    for interim in 0..=4 {
        let head = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(interim) + &response("");
        Script::client_from_start().config(plain()).bytes(head).sees(Seen::Open).run();
    }
    fails("HTTP/1.1 100 Continue\r\n\r\n".repeat(5), TooManyInterimResponses);
    fails(response("").replace("HTTP/1.1", "HTTP/1.0"), HttpVersion);
    let head = ResponseError::Head;
    fails("HTTP/2 101\r\n", head(HeadError::StartLine));
    fails("SSH-2.0-x\r\n", head(HeadError::StartLine));
    fails("HTTP/1.1 101 x\n", head(HeadError::BareLineFeed));
    fails("HTTP/1.1 101 x\r\n a", head(HeadError::LeadingWhitespace));
    fails(response(&"a:b\r\n".repeat(98)), head(HeadError::TooManyHeaders));
    let large = response(&format!("X: {}\r\n", "x".repeat(20_000)));
    fails(&large[..16_385], head(HeadError::TooLarge));
}

fn rejected(outcome: &Outcome) -> (u16, Vec<u8>) {
    let Outcome::Rejected(response) = outcome else { panic!("{outcome:?}") };
    (response.status(), response.body_bytes().to_vec())
}

// req: W018, H013
// attack: HC05, HC06
#[test]
fn another_status_is_http_and_never_an_open_connection() {
    for status in [200, 204, 301, 302, 401, 403, 404, 426, 500, 503] {
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 4\r\nLocation: /y\r\n\r\nbody");
        let script = Script::client_from_start().config(plain()).bytes(head);
        let transcript = script.run();
        let body = if status == 204 { vec![] } else { b"body".to_vec() };
        assert_eq!(rejected(&transcript.outcome), (status, body));
        assert!(transcript.wants_shutdown && transcript.state == State::Closing);
        script.nothing_follows(&transcript);
        let Outcome::Rejected(response) = &transcript.outcome else { unreachable!() };
        assert_eq!(response.headers().get_str("location"), Some("/y"), "not followed, but told");
    }
    // The end of the stream is the end of the body.
    let script = Script::client_from_start().config(plain());
    let transcript = script.bytes("HTTP/1.0 500 x\r\n\r\nabc").run();
    assert_eq!(rejected(&transcript.outcome), (500, b"abc".to_vec()));
    // An endless body is cut.
    let mut connection = client(&plain().max_rejection_body(1000));
    drain(&mut connection);
    feed(&mut connection, b"HTTP/1.1 200 OK\r\n\r\n");
    let mut taken = 0;
    while connection.state() == State::Connecting {
        feed(&mut connection, &[b'x'; 100]);
        taken += 100;
    }
    assert_eq!(taken, 1000);
    assert_eq!(rejected(&connection.receive_eof()), (200, vec![b'x'; 1000]));
}

// req: W105, W018
#[test]
fn an_end_before_the_answer_is_a_loss() {
    let head = response("");
    for cut in 0..head.len() {
        let mut connection = client(&plain());
        drain(&mut connection);
        assert_eq!(feed(&mut connection, &head.as_bytes()[..cut]), vec![]);
        let outcome = connection.receive_eof();
        assert_eq!(outcome, Outcome::Lost { sent: None, received: None, cause: None });
        assert_eq!(outcome.code().0, 1006);

        let mut connection = client(&plain());
        drain(&mut connection);
        feed(&mut connection, &head.as_bytes()[..cut]);
        let outcome = connection.abort_with("a reset");
        assert_eq!(outcome.to_string(), "lost without a closing handshake: a reset");
    }
}

/// A server that rejects and closes with input unread resets the connection.
#[test]
fn a_rejection_that_a_reset_cuts_short_is_one() {
    let mut connection = client(&plain());
    drain(&mut connection);
    feed(&mut connection, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(rejected(&connection.abort_with("a reset")), (403, b"half".to_vec()));
}

// req: W001, W002, W003, W004, W016, H007
// attack: HC12
#[test]
fn what_cannot_be_asked_for_is_refused_before_connecting() {
    for url in [
        "ws://h/#f",
        "ws://h#",
        "http2://h",
        "ws://",
        "ws://h:0",
        "ws://h:65536",
        "ws://h/a b",
        "ws://h/\r\nX: y",
        "ws://h\0/",
        "ws://[::1",
        "ws://b\u{fc}cher.example/",
    ] {
        assert!(Url::parse(url).is_err(), "{url:?}");
    }
    for (url, line, host) in [
        ("WS://H", "GET / HTTP/1.1", "h"),
        ("wss://h:443/a%23b", "GET /a%23b HTTP/1.1", "h"),
        ("ws://u:p@[::1]:8080/?", "GET / HTTP/1.1", "[::1]:8080"),
        ("ws://h/\u{fc}?q=\u{e4}", "GET /%C3%BC?q=%C3%A4 HTTP/1.1", "h"),
    ] {
        let request = ClientRequest::new(&Url::parse(url).unwrap());
        let head = String::from_utf8(drain(&mut client_of(request, &plain()))).unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!((lines[0], lines[1]), (line, format!("Host: {host}").as_str()));
    }
    let request = || ClientRequest::new(&Url::parse("ws://h").unwrap());
    assert!(request().header("X", "a\r\nY: b").is_err());
    assert!(request().header("X\r\n", "a").is_err());
    assert!(request().origin("a\nb").is_err());
    assert!(request().subprotocols(["a", "a"]).is_err());
    assert!(request().subprotocols(["a b"]).is_err());
}

// req: W013, W044, W045
#[test]
fn every_connection_has_a_key_of_its_own() {
    let mut keys = HashSet::new();
    let mut workspace = framewire::Workspace::with_entropy(not_random(1));
    for _ in 0..1000 {
        let request = ClientRequest::new(&Url::parse("ws://h").unwrap());
        let endpoint = Endpoint::client(request, &plain(), &mut workspace).unwrap();
        let head: Vec<u8> = endpoint.output().flatten().copied().collect();
        let head = String::from_utf8(head).unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        let found: Vec<_> =
            lines.iter().filter_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).collect();
        assert_eq!((found.len(), found[0].len()), (1, 24));
        assert!(keys.insert(found[0].to_owned()));
        assert_eq!(head.matches("Sec-WebSocket-Version: ").count(), 1);
    }
}

// req: W054, W065, W089, W013
// attack: HC13
#[cfg(feature = "getrandom")]
#[test]
fn a_million_masks_from_the_system() {
    let request = ClientRequest::new(&Url::parse("ws://h").unwrap());
    let entropy = framewire::SystemEntropy::new();
    let mut connection = framewire::Connection::client(request, &plain(), entropy).unwrap();
    let head = String::from_utf8(drain(&mut connection)).unwrap();
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap()[..24].to_owned();
    let accept = framewire::handshake::accept_key(key.as_bytes());
    let answer = changed("Sec-WebSocket-Accept", "");
    let answer = answer.strip_suffix("\r\n").unwrap().to_owned();
    let answer = format!("{answer}Sec-WebSocket-Accept: {}\r\n\r\n", accept.escape_ascii());
    assert_eq!(feed(&mut connection, answer.as_bytes()), [Seen::Open]);

    const TOTAL: usize = 1_000_000;
    let mut counts = [[0u32; 256]; 4];
    let mut last = [[0; 4]; 2];
    let (mut seen, mut repeats) = (HashSet::new(), 0);
    for _ in 0..TOTAL / 1000 {
        for _ in 0..250 {
            connection.send("text").unwrap();
            connection.send(&[0u8; 130]).unwrap();
            connection.ping(b"").unwrap();
            connection.pong(b"x").unwrap();
        }
        for key in mask_keys(&drain(&mut connection)) {
            assert_ne!([key; 2], last, "three the same in a row");
            last = [last[1], key];
            repeats += usize::from(!seen.insert(key));
            for (count, byte) in counts.iter_mut().zip(key) {
                count[usize::from(byte)] += 1;
            }
        }
    }
    // 116 birthdays are to be expected among a million of 2^32.
    assert!(repeats < 250 && seen.len() + repeats == TOTAL);
    let mean = TOTAL as f64 / 256.0;
    for count in counts {
        let chi: f64 = count.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
        assert!(chi < 450.0, "chi-square {chi} over 255 degrees of freedom");
    }
    connection.close(1000, "").unwrap();
    assert_eq!(drain_frames(&mut connection), [close(1000, "")]);
}

// req: W065, W066, W054
// attack: HC14
#[test]
fn no_payload_chooses_the_bytes_on_the_wire() {
    let mut connection = open(Role::Client, &plain(), None);
    let wanted = b"GET /x HTTP/1.1\r\n";
    let mut last = [0; 4];
    for number in 0..10_000 {
        // What would come out as wanted, had the mask stayed the same.
        let payload: Vec<u8> =
            wanted.iter().zip(last.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        match number % 3 {
            0 => connection.send(&payload).unwrap(),
            1 => connection.send(payload.clone()).unwrap(),
            _ => connection.ping(&payload).unwrap(),
        }
        let bytes = drain(&mut connection);
        assert!(!bytes.windows(wanted.len()).any(|window| window == wanted));
        let key = mask_keys(&bytes)[0];
        assert_ne!(key, last);
        last = key;
        assert_eq!(sent_by(Role::Client, &bytes)[0].payload, payload);
    }
}

// req: W067
#[test]
fn a_frame_under_way_cannot_be_changed() {
    for role in ROLES {
        for length in [10, 100_000] {
            let mut connection = open(role, &plain(), None);
            let mut payload = vec![1; length];
            connection.send(&payload).unwrap();
            connection.consume_output(3);
            // The borrow has ended: what is queued is a copy.
            payload.fill(2);
            let rest = drain(&mut connection);
            connection.send(payload).unwrap();
            let all = drain(&mut connection);
            assert_eq!(sent_by(role, &all), [binary(vec![2; length])]);
            let mut first = open(role, &plain(), None);
            first.send(vec![1; length]).unwrap();
            assert_eq!(rest, drain(&mut first)[3..]);
        }
    }
}

// req: W101
#[test]
fn failing_is_told_and_ends_the_transport() {
    for role in ROLES {
        let mut connection = open(role, &plain(), None);
        assert!(matches!(feed(&mut connection, &[0xff])[..], [Seen::Failed(_)]));
        assert!(!connection.wants_shutdown(), "the Close goes out first");
        assert!(drain(&mut connection).len() > 4);
        assert!(connection.wants_shutdown());
        assert!(matches!(connection.receive_eof(), Outcome::Failed(_)));
    }
}
