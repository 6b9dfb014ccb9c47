//! What a server may answer to the opening handshake, and what not.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use framewire::handshake::{HeadError, ResponseError};
use framewire::{Client, ClientBuilder, ClientError, ClientTimeout};

use super::support::*;

type Settings = fn(ClientBuilder) -> ClientBuilder;

fn plain(builder: ClientBuilder) -> ClientBuilder {
    builder.config(untimed().no_deflate())
}

fn deflate(builder: ClientBuilder) -> ClientBuilder {
    builder
}

fn chat(builder: ClientBuilder) -> ClientBuilder {
    plain(builder).subprotocols(["chat", "talk"]).unwrap()
}

/// Connects to a server that gives this answer, and checks that nothing was sent to it after the request.
fn connect(
    settings: Settings,
    answer: impl FnOnce(&str) -> String + Send + 'static,
) -> Result<Client, ClientError> {
    let server = Scripted::new(|listener| {
        let mut stream = accept(listener);
        let answer = answer(&read_head(&mut stream));
        stream.write_all(answer.as_bytes()).unwrap();
        read_rest(&mut stream)
    });
    let result = settings(untimed_client(&server.url("/"))).connect();
    if result.is_err() {
        let sent = server.join();
        assert!(sent.is_empty(), "{sent:?} was sent behind the request");
    }
    result
}

fn failure(settings: Settings, answer: impl FnOnce(&str) -> String + Send + 'static) -> String {
    match connect(settings, answer) {
        Err(ClientError::Handshake(error)) => format!("{error:?}"),
        result => panic!("{result:?}"),
    }
}

/// Replaces one header of a good answer, or leaves it out.
fn with(name: &'static str, value: Option<&'static str>) -> impl Fn(&str) -> String + Send {
    move |request| {
        let good = switch(request, "");
        let lines = good.split_inclusive("\r\n");
        let is_named = |line: &str| line.split(':').next().unwrap().eq_ignore_ascii_case(name);
        let kept: String = lines.filter(|line| !is_named(line)).collect();
        match value {
            Some(value) => kept.replacen("\r\n", &format!("\r\n{name}: {value}\r\n"), 1),
            None => kept,
        }
    }
}

// attack: HC01
// req: W019, W020, W021, W022
#[test]
fn headers_that_a_101_needs() {
    let wrong = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    let cases = [
        ("Upgrade", None, "MissingHeader(\"Upgrade\")"),
        ("Upgrade", Some("h2c"), "InvalidHeader(\"Upgrade\")"),
        ("Upgrade", Some("websocket, h2c"), "InvalidHeader(\"Upgrade\")"),
        ("Upgrade", Some(""), "InvalidHeader(\"Upgrade\")"),
        ("Connection", None, "MissingHeader(\"Connection\")"),
        ("Connection", Some("close"), "InvalidHeader(\"Connection\")"),
        ("Sec-WebSocket-Accept", None, "MissingHeader(\"Sec-WebSocket-Accept\")"),
        ("Sec-WebSocket-Accept", Some(wrong), "AcceptMismatch"),
        ("Sec-WebSocket-Accept", Some(""), "AcceptMismatch"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(failure(plain, with(name, value)), expected, "{name}: {value:?}");
    }
    let doubled = |request: &str| {
        let value = accept_value(request);
        switch(request, &format!("Sec-WebSocket-Accept: {value}\r\n"))
    };
    assert_eq!(failure(plain, doubled), "RepeatedHeader(\"Sec-WebSocket-Accept\")");
    let inside = |request: &str| {
        let value = accept_value(request);
        let spaced = format!("{} {}", &value[..5], &value[5..]);
        switch(request, "").replace(&value, &spaced)
    };
    assert_eq!(failure(plain, inside), "AcceptMismatch");
    let case = |request: &str| {
        let value = accept_value(request);
        let swapped = value.chars().map(|c| {
            if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
        });
        switch(request, "").replace(&value, &swapped.collect::<String>())
    };
    assert_eq!(failure(plain, case), "AcceptMismatch");
}

// attack: HC01
#[test]
fn what_a_101_may_look_like() {
    let around = |request: &str| {
        let value = accept_value(request);
        switch(request, "").replace(&format!(" {value}"), &format!("\t  {value} \t"))
    };
    connect(plain, around).unwrap();
    connect(plain, with("Upgrade", Some("WebSocket"))).unwrap();
    connect(plain, with("Connection", Some("keep-alive, UPGRADE"))).unwrap();
    let reworded = |request: &str| {
        switch(request, "Server: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n")
            .replace("Switching Protocols", "Whatever")
    };
    let client = connect(plain, reworded).unwrap();
    let response = client.response().unwrap();
    assert_eq!(response.headers().get_all("set-cookie").collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(response.reason_phrase(), "Whatever");
}

// attack: HC02
#[test]
fn subprotocols() {
    let answer = |value: &'static str| move |request: &str| switch(request, value);
    let line = "Sec-WebSocket-Protocol: chat\r\n";
    assert_eq!(failure(plain, answer(line)), "SubprotocolNotRequested(\"chat\")");
    assert_eq!(failure(chat, answer("")), "NoSubprotocol");
    let cases = [
        ("Sec-WebSocket-Protocol: other\r\n", "SubprotocolNotRequested(\"other\")"),
        ("Sec-WebSocket-Protocol: Chat\r\n", "SubprotocolNotRequested(\"Chat\")"),
        ("Sec-WebSocket-Protocol:\r\n", "InvalidHeader(\"Sec-WebSocket-Protocol\")"),
        ("Sec-WebSocket-Protocol: chat, talk\r\n", "InvalidHeader(\"Sec-WebSocket-Protocol\")"),
        (
            "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: talk\r\n",
            "RepeatedHeader(\"Sec-WebSocket-Protocol\")",
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(failure(chat, answer(lines)), expected, "{lines:?}");
    }
    let client = connect(chat, answer("Sec-WebSocket-Protocol: talk\r\n")).unwrap();
    assert_eq!(client.subprotocol(), Some("talk"));
}

fn extensions(value: &'static str) -> impl Fn(&str) -> String + Send {
    move |request| switch(request, &format!("Sec-WebSocket-Extensions: {value}\r\n"))
}

// attack: HC03
#[test]
fn extensions_that_were_not_offered() {
    let not_offered = |name: &str| format!("ExtensionNotOffered({name:?})");
    let deflated = extensions("permessage-deflate");
    assert_eq!(failure(plain, deflated), not_offered("permessage-deflate"));
    assert_eq!(failure(deflate, extensions("x-other")), not_offered("x-other"));
    let both = extensions("permessage-deflate, x-other");
    assert_eq!(failure(deflate, both), not_offered("x-other"));
    let repeated = "RepeatedExtension(\"permessage-deflate\")";
    let twice = extensions("permessage-deflate, permessage-deflate; server_max_window_bits=9");
    assert_eq!(failure(deflate, twice), repeated);
    let lines = extensions("permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate");
    assert_eq!(failure(deflate, lines), repeated);
    for value in ["", ",", "permessage-deflate;", "permessage-deflate; =", "a b"] {
        let error = failure(deflate, extensions(value));
        assert!(error.starts_with("InvalidList"), "{value:?}: {error}");
    }
}

// attack: HC09, HC11
#[test]
fn deflate_parameters_that_cannot_be() {
    let cases = [
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=0",
        "server_max_window_bits=99999999999",
        "server_max_window_bits=abc",
        "server_max_window_bits=08",
        "server_max_window_bits=\"\"",
        "server_max_window_bits",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "unheard_of",
    ];
    for case in cases {
        let value: &'static str = format!("permessage-deflate; {case}").leak();
        let error = failure(deflate, extensions(value));
        let is_refused =
            error.starts_with("ExtensionParameters") || error.starts_with("InvalidList");
        assert!(is_refused, "{case}: {error}");
    }
}

// attack: HC10
#[test]
fn windows_of_eight_bits_are_spoken() {
    for value in [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=8; server_max_window_bits=8",
    ] {
        let server = Scripted::new(move |listener| {
            let mut stream = accept(listener);
            let request = read_head(&mut stream);
            stream.write_all(extensions(value)(&request).as_bytes()).unwrap();
            // "Hello", compressed, from RFC 7692 section 7.2.3.1.
            stream.write_all(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00").unwrap();
            let (first, _) = read_frame(&mut stream);
            assert_eq!(first & 0x0f, 2, "{value}");
        });
        let mut client = untimed_client(&server.url("/")).connect().unwrap();
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("Hello"));
        client.send(&b"some bytes that fit into a short frame"[..]).unwrap();
        server.join();
    }
}

// attack: HC11
#[test]
fn a_window_for_the_client_needs_an_offer_of_one() {
    let config = framewire::deflate::DeflateConfig::new();
    let server = Scripted::new(|listener| {
        let mut stream = accept(listener);
        let request = read_head(&mut stream);
        let offer = header(&request, "Sec-WebSocket-Extensions").unwrap().to_owned();
        let answer = extensions("permessage-deflate; client_max_window_bits=10")(&request);
        stream.write_all(answer.as_bytes()).unwrap();
        read_rest(&mut stream);
        offer
    });
    let builder = untimed_client(&server.url("/"));
    let client = builder.config(untimed().deflate(config)).connect();
    let is_open = client.is_ok();
    drop(client);
    assert_eq!(is_open, server.join().contains("client_max_window_bits"));
}

// attack: HC04, HC07
#[test]
fn heads_that_break_the_rules() {
    let answer = |text: String| move |_: &str| text;
    let fault = |fault: HeadError| format!("{:?}", ResponseError::Head(fault));
    let repeat = |line: &str, count| format!("HTTP/1.1 101 x\r\n{}", line.repeat(count));
    let cases = [
        (repeat("a: b\r\n", 101), fault(HeadError::TooManyHeaders)),
        (repeat(&format!("a: {}\r\n", "b".repeat(1000)), 20), fault(HeadError::TooLarge)),
        (
            format!("HTTP/1.1 101 {}\r\n\r\n", "x".repeat(20_000)),
            fault(HeadError::StartLineTooLong),
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n".into(), fault(HeadError::StartLine)),
        ("HTTP/1.0 101 x\r\n\r\n".into(), "HttpVersion".into()),
        ("HTTP/1.1 100 x\r\n\r\n".repeat(5), "TooManyInterimResponses".into()),
    ];
    for (text, expected) in cases {
        let shown = text.chars().take(20).collect::<String>();
        assert_eq!(failure(plain, answer(text)), expected, "{shown:?}");
    }
}

// attack: HC07
#[test]
fn what_a_101_says_of_its_content_and_in_how_many_lines_means_nothing() {
    for lines in [
        "Content-Length: 0\r\n",
        "Content-Length: 100\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X: a\r\n\tb\r\n c\r\n",
    ] {
        let client =
            connect(plain, move |request| format!("{}\u{9}\u{2}hi", switch(request, lines)));
        let mut client = client.unwrap_or_else(|error| panic!("{lines:?}: {error}"));
        // The frames begin behind the empty line: this one lacks FIN, which a Ping must not.
        let error = client.recv().unwrap_err();
        assert!(matches!(error, ClientError::Protocol(_)), "{lines:?}: {error:?}");
        let folded = client.response().unwrap().headers().get_str("X").map(str::to_owned);
        assert!(folded.is_none_or(|folded| folded == "a  \tb   c"), "{lines:?}");
    }
}

// attack: HC07
#[test]
fn interim_responses_are_skipped() {
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let client =
        connect(plain, move |request| format!("{early}{early}{}", switch(request, ""))).unwrap();
    assert_eq!(client.response().unwrap().status(), 101);
}

// attack: HC04
#[test]
fn a_head_without_end_is_cut_off() {
    let server = Scripted::new(|listener| {
        let mut stream = accept(listener);
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 101 x\r\n").unwrap();
        let line = format!("a: {}\r\n", "b".repeat(1000));
        (0..20_000).take_while(|_| stream.write_all(line.as_bytes()).is_ok()).count()
    });
    let error = refused(untimed_client(&server.url("/")));
    assert!(matches!(error, ClientError::Handshake(ResponseError::Head(_))), "{error:?}");
    assert!(server.join() < 20_000, "the client read 20 MB of head");
}

// attack: HC05
#[test]
fn a_rejection_is_told_whether_its_body_ends_or_not() {
    for head in ["", "Content-Length: 9\r\n", "Transfer-Encoding: chunked\r\n"] {
        let server = Scripted::new(move |listener| {
            let mut stream = accept(listener);
            read_head(&mut stream);
            let head = format!("HTTP/1.1 403 Forbidden\r\nX: y\r\n{head}\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            // It leaves the connection as it is for as long as the client does.
            read_rest(&mut stream)
        });
        let config = untimed().rejection_timeout(Duration::from_millis(1));
        let error = refused(untimed_client(&server.url("/")).config(config));
        let ClientError::Rejected(response) = &error else { panic!("{error:?}") };
        assert_eq!((response.status(), response.headers().get_str("x")), (403, Some("y")));
        assert!(server.join().is_empty());
    }
}

// RFC 8446 section 5.1
#[test]
fn a_peer_that_speaks_tls_is_known_by_its_first_byte() {
    for answer in ["\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{46}", "\u{16}\u{3}\u{3}\0\u{5}"] {
        assert_eq!(failure(plain, move |_| answer.to_owned()), "PeerSpeaksTls");
    }
}

fn within(timeout: Duration, server: &Scripted<impl Send + 'static>) -> ClientBuilder {
    untimed_client(&server.url("/")).config(untimed().handshake_timeout(timeout))
}

// attack: HC04
// req: W106
#[test]
fn a_server_that_never_answers_is_left_without_a_word() {
    let mut heard = longer_and_longer().map(|timeout| {
        let server = Scripted::new(|listener| read_rest(&mut accept(listener)));
        let error = refused(within(timeout, &server));
        assert!(matches!(error, ClientError::TimedOut(ClientTimeout::Handshake(_))), "{error:?}");
        server.join()
    });
    let heard = heard.find(|heard| !heard.is_empty()).expect("a request in time");
    let request = read_head(&mut &heard[..]);
    assert_eq!(heard.len(), request.len(), "nothing follows the request");
}

/// Writes this, and then a byte from time to time for as long as anybody listens.
fn drip(stream: &mut TcpStream, first: &str, byte: u8) {
    let _ = stream.write_all(first.as_bytes());
    while stream.write_all(&[byte]).is_ok() {
        // The attack's own pace.
        std::thread::sleep(Duration::from_millis(5));
    }
}

// attack: HC04
#[test]
fn a_head_that_trickles_in_does_not_put_off_the_deadline() {
    let server = Scripted::new(|listener| {
        drip(&mut accept(listener), "HTTP/1.1 101 x\r\nA: ", b'b');
    });
    let error = refused(within(Duration::from_millis(200), &server));
    assert!(matches!(error, ClientError::TimedOut(ClientTimeout::Handshake(_))), "{error:?}");
    server.join();
}

// attack: HC05
#[test]
fn a_refusal_carries_status_headers_and_some_of_its_body() {
    for (limit, status) in [(64 << 10, 200), (64 << 10, 401), (10, 500), (0, 503)] {
        let server = Scripted::new(move |listener| {
            let mut stream = accept(listener);
            read_head(&mut stream);
            let head = format!("HTTP/1.1 {status} No\r\nX-Why: because\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let block = [b'x'; 1 << 16];
            (0..1000).take_while(|_| stream.write_all(&block).is_ok()).count()
        });
        let config = untimed().max_rejection_body(limit);
        let error = refused(untimed_client(&server.url("/")).config(config));
        let ClientError::Rejected(response) = &error else { panic!("{error:?}") };
        assert_eq!((error.status(), response.reason_phrase()), (Some(status), "No"));
        assert_eq!(response.headers().get_str("x-why"), Some("because"));
        assert_eq!(response.body_bytes().len(), limit);
        assert!(server.join() < 1000, "the client read 64 MiB of body");
    }
}

// attack: HC05
#[test]
fn a_body_that_never_ends_does_not_hide_the_status() {
    let mut errors = longer_and_longer().map(|timeout| {
        let server = Scripted::new(|listener| {
            drip(&mut accept(listener), "HTTP/1.1 403 Forbidden\r\n\r\nwhy: ", b'x');
        });
        let error = refused(within(timeout, &server));
        server.join();
        error
    });
    let is_late =
        |error: &ClientError| matches!(error, ClientError::TimedOut(ClientTimeout::Handshake(_)));
    let error = errors.find(|error| !is_late(error)).expect("an answer in time");
    let ClientError::Rejected(response) = &error else { panic!("{error:?}") };
    assert_eq!(response.status(), 403);
    assert!(response.body_bytes().starts_with(b"why: "));
}

#[test]
fn a_server_that_hangs_up_is_lost() {
    for part in ["", "HTTP/1.1 1", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"] {
        let error = match connect_and_hang_up(part) {
            Err(error) => error,
            Ok(client) => panic!("{client:?}"),
        };
        assert!(matches!(error, ClientError::Lost(_)), "{part:?}: {error:?}");
        assert!(error.is_retryable());
    }
}

fn connect_and_hang_up(part: &'static str) -> Result<Client, ClientError> {
    let server = Scripted::new(move |listener| {
        let mut stream = accept(listener);
        read_head(&mut stream);
        stream.write_all(part.as_bytes()).unwrap();
    });
    let result = untimed_client(&server.url("/")).connect();
    server.join();
    result
}
