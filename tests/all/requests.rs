//! What a server does with requests beyond the plain opening: answers later or instead, of somebody else's 101, through
//! proxies, and for the hosts that it serves.

use std::time::Duration;

use framewire::handshake::{
    BodyReader, ForwardedFields, HeadLimits, Request, RequestError, RequestParts, RequestReader,
    ResponseReader, TrustedProxies,
};
use framewire::{
    Accept, CloseCode, Config, Connection, Fragments, HandshakeError, Message, MessageKind,
    Outcome, Response, SendError, State, Upgraded,
};

use super::support::frames::*;
use super::support::script::*;

const PAGE: &str = "GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n";

fn output(connection: &mut Connection) -> String {
    String::from_utf8(drain(connection)).unwrap()
}

/// The next event alone: a plain request is answered at the call after it.
fn next(connection: &mut Connection, bytes: &[u8]) -> Option<Seen> {
    let mut recorder = Recorder::default();
    let mut bytes = bytes.to_vec();
    recorder.record(connection.receive(&mut &mut bytes[..])?);
    recorder.seen.pop()
}

/// A response that came from elsewhere, with a status that no answer has.
fn with_status(status: u16) -> Response {
    let head = format!("HTTP/1.1 {status} Odd\r\n\r\n");
    let mut reader = ResponseReader::new(HeadLimits::default(), 0);
    let (response, _) = reader.read(head.as_bytes()).unwrap().unwrap();
    assert_eq!(response.status(), status);
    response
}

fn parts(lines: &[(&str, &str)]) -> RequestParts {
    lines.iter().fold(RequestParts::new("GET", "/chat").unwrap(), |parts, (name, value)| {
        parts.header(name, value).unwrap()
    })
}

/// A request for an upgrade, as another HTTP server has read it.
fn upgrade(lines: &[(&str, &str)]) -> Request {
    let common = [
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    parts(&[&common[..], lines].concat()).read(HeadLimits::default()).unwrap()
}

// req: W038, W040
#[test]
fn a_connection_that_another_server_has_opened_begins_with_its_request() {
    let config = Config::new().subprotocols(["chat.v1"]);
    let request = upgrade(&[("Sec-WebSocket-Protocol", "chat.v2, chat.v1")]);
    let accept = Accept::new().header("X-Kept", "yes").unwrap();
    let (upgraded, headers) = Upgraded::accept(request.clone(), accept, &config).unwrap();
    assert_eq!(headers.get_str("Sec-WebSocket-Protocol"), Some("chat.v1"));
    assert_eq!(headers.get_str("X-Kept"), Some("yes"));
    assert!(headers.get_str("Sec-WebSocket-Accept").is_some());
    assert_eq!(upgraded.request().path(), "/chat");

    let mut connection = Connection::upgraded(upgraded, &config);
    // It cannot be answered before it was told of.
    assert_eq!(connection.accept(Accept::new()), Err(SendError::NothingToAnswer));
    assert!(connection.request().is_none());
    assert_eq!(feed(&mut connection, b""), [Seen::Request("/chat".into())]);
    assert!(connection.awaits_decision() && connection.request().is_some());
    assert_eq!(feed(&mut connection, b""), []);
    connection.accept(Accept::new()).unwrap();
    assert_eq!((connection.state(), connection.subprotocol()), (State::Open, Some("chat.v1")));
    assert_eq!(output(&mut connection), "");
    assert_eq!(feed(&mut connection, &text("hello").by(framewire::Role::Client)), [said("hello")]);

    // By the words of the other server alone.
    let named = Upgraded::new(request.clone()).subprotocol("chat.v2");
    #[cfg(feature = "deflate")]
    let named = named.deflate(framewire::deflate::DeflateParams::default());
    let mut connection = Connection::upgraded(named, &Config::new());
    assert_eq!(feed(&mut connection, b""), [Seen::Request("/chat".into())]);
    connection.accept(Accept::new()).unwrap();
    assert_eq!(connection.subprotocol(), Some("chat.v2"));
    #[cfg(feature = "deflate")]
    assert!(connection.deflate().is_some());

    // What is no upgrade, what was not offered.
    let page = parts(&[("Host", "example.com")]).read(HeadLimits::default()).unwrap();
    let error = Upgraded::accept(page, Accept::new(), &config).unwrap_err();
    assert_eq!(error, SendError::NothingToAnswer);
    let error = Upgraded::accept(request, Accept::new().subprotocol("x"), &config).unwrap_err();
    assert_eq!(error, SendError::SubprotocolNotOffered("x".into()));
}

#[cfg(feature = "deflate")]
#[test]
fn another_server_may_agree_on_compression() {
    let config = Config::new().deflate(framewire::deflate::DeflateConfig::new().threshold(0));
    let request = upgrade(&[("Sec-WebSocket-Extensions", "permessage-deflate")]);
    let (upgraded, headers) = Upgraded::accept(request, Accept::new(), &config).unwrap();
    assert_eq!(headers.get_str("Sec-WebSocket-Extensions"), Some("permessage-deflate"));
    let mut connection = Connection::upgraded(upgraded, &config);
    feed(&mut connection, b"");
    connection.accept(Accept::new()).unwrap();
    connection.send("Hello").unwrap();
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(drain_frames(&mut connection), [text(hello).rsv1()]);
}

#[test]
fn a_connection_that_another_server_has_opened_is_rejected_by_a_close() {
    for (response, code) in [
        (Response::new(403), 1008),
        (Response::new(500), 1011),
        (Response::new(503), 1013),
        // A reason that is too long for a Close is left out.
        (Response::new(404), 1008),
    ] {
        let status = response.status();
        let mut connection = Connection::upgraded(Upgraded::new(upgrade(&[])), &Config::new());
        feed(&mut connection, b"");
        let reason = format!("{status} {}", response.reason_phrase());
        connection.reject(response).unwrap();
        assert_eq!(drain_frames(&mut connection), [close(code, &reason)]);
        assert!(connection.wants_shutdown());
        let outcome = connection.receive_eof();
        assert!(matches!(&outcome, Outcome::Rejected(response) if response.status() == status));
    }
}

#[test]
fn a_plain_request_is_answered_at_once_or_later() {
    let mut server = Connection::server(&Config::new());
    assert_eq!(server.respond_later(), Err(SendError::NothingToAnswer));
    assert_eq!(server.respond(Response::new(200)), Err(SendError::NothingToAnswer));
    assert_eq!(next(&mut server, PAGE.as_bytes()), Some(Seen::Http("/page".into())));
    assert_eq!(server.request().map(|request| request.path()), Some("/page"));
    server.respond_later().unwrap();
    assert_eq!(feed(&mut server, b"more"), []);
    for status in [101, 999] {
        assert_eq!(server.respond(with_status(status)), Err(SendError::Status(status)));
    }
    server.set_date(Some(framewire::handshake::HttpDate::since_1970(Duration::from_secs(0))));
    server.respond(Response::text("at last\n")).unwrap();
    let answer = output(&mut server);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("at last\n"), "{answer}");
    assert!(answer.contains("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{answer}");
    assert_eq!(server.respond_later(), Err(SendError::NothingToAnswer));
    assert!(server.request().is_none() && !server.ended_in_silence());

    let mut server = Connection::server(&Config::new());
    server.receive_eof();
    assert!(server.ended_in_silence());
}

#[test]
fn who_promises_an_answer_and_gives_none_answers_503() {
    let mut server = Connection::server(&Config::new().decision_timeout(Duration::from_secs(5)));
    assert_eq!(next(&mut server, PAGE.as_bytes()), Some(Seen::Http("/page".into())));
    server.respond_later().unwrap();
    for now in [0, 4, 5] {
        assert_eq!(server.buffered_amount(), 0, "until {now}");
        assert_eq!(server.handle_timeout(Duration::from_secs(now)), None);
    }
    assert!(output(&mut server).starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_body_is_asked_for_and_comes_with_its_request() {
    let config = Config::new().http_methods(["POST"]).max_request_body(5);
    let head =
        "POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut server = Connection::server(&config);
    assert_eq!(feed(&mut server, head.as_bytes()), []);
    assert_eq!(output(&mut server), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(feed(&mut server, b"he"), []);
    assert_eq!(next(&mut server, b"llo"), Some(Seen::Http("/form".into())));
    assert_eq!(server.request().unwrap().body(), b"hello");

    // Chunks that break their grammar fail, also after the server has asked for them.
    let head = "POST /form HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    let mut server = Connection::server(&config);
    assert_eq!(feed(&mut server, head.as_bytes()), []);
    output(&mut server);
    let seen = feed(&mut server, b"x");
    assert!(matches!(seen[..], [Seen::HandshakeFailed(HandshakeError::Request(_))]), "{seen:?}");
    assert!(server.take_partial_request().unwrap().request().is_some());
    // What was asked for has left, and the answer has not.
    server.answer_instead(&Response::new(422).body("no")).unwrap();
    assert!(output(&mut server).starts_with("HTTP/1.1 422 "));
}

#[test]
fn a_request_at_fault_is_answered_by_what_the_application_has_for_it() {
    let fault = "GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n";
    let mut server = Connection::server(&Config::new());
    assert_eq!(server.answer_instead(&Response::new(400)), Err(SendError::NothingToAnswer));
    assert_eq!(feed(&mut server, fault.as_bytes()).len(), 1);
    assert_eq!(server.answer_instead(&with_status(101)), Err(SendError::Status(101)));
    server.answer_instead(&Response::bad_request("see the manual")).unwrap();
    server.consume_output(1);
    // Part of it has left.
    assert_eq!(server.answer_instead(&Response::new(404)), Err(SendError::NothingToAnswer));
    let answer = output(&mut server);
    assert!(answer.starts_with("TTP/1.1 400 ") && answer.ends_with("see the manual"), "{answer}");
    assert_eq!(server.answer_instead(&Response::new(404)), Err(SendError::NothingToAnswer));

    // An answer of the application's own is no fault.
    let mut server = Connection::server(&Config::new());
    next(&mut server, PAGE.as_bytes());
    server.respond(Response::new(200)).unwrap();
    assert_eq!(server.answer_instead(&Response::new(404)), Err(SendError::NothingToAnswer));
}

#[test]
fn a_server_is_asked_by_its_own_names_only() {
    let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let config = Config::new().hosts(["example.com", ".test.example"]).local_hosts();
    for (host, passes) in [
        ("example.com", true),
        ("EXAMPLE.com:81", true),
        ("a.test.example", true),
        ("test.example.", true),
        ("localhost:8080", true),
        ("a.localhost", true),
        ("127.0.0.1", true),
        ("[::1]:80", true),
        ("www.example.com", false),
        ("evil.example", false),
    ] {
        let mut server = Connection::server(&config);
        let seen = feed(&mut server, request(host).as_bytes());
        let rejected = Seen::HandshakeFailed(RequestError::HostRejected.into());
        let expected = if passes { Seen::Http("/".into()) } else { rejected };
        assert_eq!(seen, [expected], "{host}");
        let parts = RequestParts::new("GET", "/").unwrap().header("Host", host).unwrap();
        let read = parts.read(HeadLimits::default()).unwrap();
        let expected = if passes { Ok(()) } else { Err(RequestError::HostRejected) };
        assert_eq!((config.check(&read), config.check_host(&read)), (expected.clone(), expected));
    }
    // A request of HTTP/1.0 may name none.
    let mut server = Connection::server(&config);
    assert_eq!(feed(&mut server, b"GET / HTTP/1.0\r\n\r\n"), [Seen::Http("/".into())]);
}

/// What a server tells of a request that comes by a trusted proxy.
fn forwarded(fields: ForwardedFields, config: Config, lines: &str) -> (Vec<Seen>, Connection) {
    let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap().fields(fields);
    let mut server = Connection::server(&config.trusted_proxies(proxies));
    server.trust_proxy();
    let seen = feed(&mut server, request(lines).as_bytes());
    (seen, server)
}

// req: W035
#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let any = ForwardedFields::Any;
    let lines = "X-Forwarded-For: 192.0.2.1, 10.0.0.9\r\nX-Forwarded-Host: shop.example\r\n\
                 X-Forwarded-Proto: https\r\n";
    let (seen, server) = forwarded(any, Config::new(), lines);
    assert_eq!(seen, [Seen::Request("/chat".into())]);
    let told = server.request().unwrap();
    assert_eq!(told.host(), "shop.example");
    let forwarded_to = told.forwarded().unwrap();
    assert_eq!(forwarded_to.address(), Some("192.0.2.1:0".parse().unwrap()));
    assert_eq!(forwarded_to.scheme(), Some("https"));

    // A client that the proxy does not name has no address; a proxy that says nothing of it neither.
    for (lines, known) in [("Forwarded: for=_hidden\r\n", true), ("", false)] {
        let (_, server) = forwarded(any, Config::new(), lines);
        let told = server.request().unwrap().forwarded();
        assert_eq!(told.is_some(), known);
        assert_eq!(told.and_then(|told| told.address()), None);
    }
    let (_, server) = forwarded(any, Config::new(), "Forwarded: for=\"[2001:db8::1]:81\"\r\n");
    let address = server.request().unwrap().forwarded().unwrap().address();
    assert_eq!(address, Some("[2001:db8::1]:81".parse().unwrap()));
    // Without an address there is nobody to tell of.
    let (_, server) = forwarded(any, Config::new(), "X-Forwarded-Proto: https\r\n");
    assert_eq!(server.request().unwrap().forwarded().unwrap().address(), None);

    // What cannot be read fails, and names the field.
    for (lines, name) in [
        ("X-Forwarded-For: nobody\r\n", "X-Forwarded-For"),
        ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: a b\r\n", "X-Forwarded-Host"),
        ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: \u{e9}\r\n", "X-Forwarded-Host"),
        ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: a b\r\n", "X-Forwarded-Proto"),
        ("Forwarded: for=192.0.2.1 host=a\r\n", "Forwarded"),
        ("Forwarded: for=\"[::1\"\r\n", "Forwarded"),
        ("Forwarded: for=\"[::1]x\"\r\n", "Forwarded"),
        ("Forwarded: for=\"[::1]:x\"\r\n", "Forwarded"),
        ("Forwarded: for=_a!\r\n", "Forwarded"),
        ("Forwarded: for=\u{e9}\r\n", "Forwarded"),
        ("Forwarded: for=\"a\\\r\n", "Forwarded"),
    ] {
        let (seen, mut server) = forwarded(any, Config::new(), lines);
        let error = RequestError::InvalidHeader(name);
        assert_eq!(seen, [Seen::HandshakeFailed(error.into())], "{lines}");
        assert!(output(&mut server).starts_with("HTTP/1.1 400 "));
    }

    // Pages of the host that the client meant, by the scheme that it used.
    for (origin, scheme, passes) in [
        ("https://shop.example", "https", true),
        ("https://shop.example", "wss", true),
        ("http://shop.example", "https", false),
        ("http://shop.example", "http", true),
        ("http://shop.example", "ws", true),
        ("app://shop.example", "app", true),
        ("http://shop.example", "app", false),
        ("null", "https", false),
        ("https://shop.example:x", "https", false),
        ("https://[::1", "https", false),
        ("https://[::1]x", "https", false),
    ] {
        let lines = format!(
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: shop.example\r\n\
             X-Forwarded-Proto: {scheme}\r\nOrigin: {origin}\r\n"
        );
        let (seen, _) = forwarded(any, Config::new().same_origin(), &lines);
        let passed = seen == [Seen::Request("/chat".into())];
        assert_eq!(passed, passes, "{origin} by {scheme}: {seen:?}");
    }
}

#[test]
fn a_connection_that_another_server_has_opened_knows_its_client_too() {
    let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
    let config = Config::new().trusted_proxies(proxies);
    for (field, known) in [("192.0.2.1", true), ("nonsense", false)] {
        let request = upgrade(&[("X-Forwarded-For", field)]);
        let mut connection = Connection::upgraded(Upgraded::new(request), &config);
        connection.trust_proxy();
        feed(&mut connection, b"");
        let client = connection.request().unwrap().forwarded().unwrap().address();
        assert_eq!(client.is_some(), known, "{field}");
        // Too late: it was told.
        connection.trust_proxy();
        connection.accept(Accept::new()).unwrap();
        connection.trust_proxy();
    }
    // Nobody is trusted, whoever comes.
    let mut connection = Connection::server(&Config::new());
    connection.trust_proxy();
    let seen = feed(&mut connection, request("X-Forwarded-For: 192.0.2.1\r\n").as_bytes());
    assert_eq!(seen, [Seen::Request("/chat".into())]);
    assert!(connection.request().unwrap().forwarded().is_none());
}

// req: W038
#[test]
fn an_acceptance_may_bring_settings_and_cookies() {
    let cookie = framewire::handshake::Cookie::new("a", "1").unwrap();
    let mut server = Connection::server(&Config::new().any_subprotocol());
    feed(&mut server, request("Sec-WebSocket-Protocol: x, y\r\n").as_bytes());
    let config = Config::new().any_subprotocol().max_message_size(3).max_buffered_amount(10);
    server.accept(Accept::new().config(config).cookie(&cookie)).unwrap();
    let answer = output(&mut server);
    assert!(answer.contains("Sec-WebSocket-Protocol: x\r\n"), "{answer}");
    assert!(answer.contains("Set-Cookie: a=1\r\n"), "{answer}");
    let _ = server.config();

    // Pieces from now on, and no more waits than that.
    server.set_fragments(Fragments::Always);
    server.set_fragments(Fragments::Always);
    let seen = feed(&mut server, &text("abc").by(framewire::Role::Client));
    assert_eq!(seen, [Seen::Pieces(MessageKind::Text, b"abc".to_vec())]);
    server.send("twenty bytes of text").unwrap();
    for message in [Message::from("more"), Message::from(b"more")] {
        assert_eq!(server.send(message), Err(SendError::Full));
    }
    let piece = framewire::Fragment::more(MessageKind::Text, &b"more"[..]);
    assert_eq!(server.send_fragment(piece), Err(SendError::Full));
    assert_eq!(server.close(CloseCode::NORMAL, "bye"), Ok(()));
}

struct Dry;

impl framewire::Entropy for Dry {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), framewire::EntropyError> {
        Err(framewire::EntropyError::default())
    }
}

// req: W079
#[test]
fn a_client_that_has_no_entropy_for_its_close_ends_without_one() {
    let config = Config::new().ping_interval(None).max_lifetime(Duration::from_secs(5));
    let mut client = Connection::adopted_client(&config, Dry);
    client.handle_timeout(Duration::from_secs(0));
    assert_eq!(client.handle_timeout(Duration::from_secs(60)), None);
    assert_eq!(client.state(), State::Closed);
    let outcome = client.outcome().unwrap();
    assert!(outcome.cause().is_some_and(|cause| cause.is::<SendError>()), "{outcome}");
}

#[test]
fn a_post_of_http_1_0_says_how_long_it_is() {
    let config = Config::new().http_methods(["POST"]);
    for (lines, expected) in [
        ("", Seen::HandshakeFailed(RequestError::LengthRequired.into())),
        ("Content-Length: 0\r\n", Seen::Http("/".into())),
    ] {
        let mut server = Connection::server(&config);
        let head = format!("POST / HTTP/1.0\r\n{lines}\r\n");
        assert_eq!(feed(&mut server, head.as_bytes()), [expected], "{lines}");
    }
}

#[test]
fn a_reader_that_failed_stays_failed() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (request, _) =
        RequestReader::new(HeadLimits::default()).read(head.as_bytes()).unwrap().unwrap();
    let mut body = BodyReader::new(request, 100).unwrap();
    let error = body.read(b"x").unwrap_err();
    assert_eq!(body.read(b"0\r\n\r\n"), Err(error));

    let mut reader = ResponseReader::new(HeadLimits::default(), 100);
    let error = reader.read(b"HTTP/1.1 ok\r\n\r\n").unwrap_err();
    assert_eq!(reader.read(b"HTTP/1.1 200 OK\r\n\r\n"), Err(error.clone()));
    assert_eq!(reader.read_eof(), Err(error));
}

#[test]
fn a_chunk_whose_extension_breaks_off_ends_the_body() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, body) in [("3;a=b\r\nabc\r\n0\r\n", "abc"), ("3;a\nabc", "")] {
        let mut reader = ResponseReader::new(HeadLimits::default(), 100);
        let stream = [head, chunks].concat();
        let (response, _) = reader.read(stream.as_bytes()).unwrap().expect("it has ended");
        assert_eq!(response.body_bytes(), body.as_bytes(), "{chunks:?}");
    }
}

/// A message for many goes its way although a Pong is held back until the peer has read more.
// req: W069
#[test]
fn a_prepared_message_is_sent_while_a_pong_waits() {
    let mut server = Connection::adopted_server(&Config::new().output_high_water(1));
    server.send("first").unwrap();
    let seen = feed(&mut server, &ping("p").by(framewire::Role::Client));
    assert_eq!(seen, [Seen::Ping(b"p".to_vec())]);
    server.send_prepared(&framewire::Prepared::new("second")).unwrap();
    assert_eq!(drain_frames(&mut server), [text("first"), text("second")]);
    assert_eq!(drain_frames(&mut server), [pong("p")]);
}

#[cfg(feature = "deflate")]
mod waiting {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use framewire::deflate::DeflateConfig;
    use framewire::{Entropy, EntropyError};

    use super::super::support::chunks::Random;
    use super::*;

    /// Entropy until it is said to be none.
    struct Until(Arc<AtomicBool>, Random);

    impl Entropy for Until {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            if self.0.load(Ordering::Relaxed) {
                return Err(EntropyError::default());
            }
            self.1.fill(bytes);
            Ok(())
        }
    }

    // req: W079
    #[test]
    fn a_client_that_has_no_entropy_for_what_waits_is_lost() {
        let config = Config::new().deflate(DeflateConfig::new().threshold(0));
        let dry = Arc::new(AtomicBool::new(false));
        let entropy = Until(Arc::clone(&dry), Random::new(3));
        let mut client = open_client(&config, Some("permessage-deflate"), entropy);
        client.as_parts_mut().1.set_codec_budget(1);
        client.send(Random::new(4).text(1 << 20)).unwrap();
        dry.store(true, Ordering::Relaxed);
        client.as_parts_mut().1.set_codec_budget(None);
        assert_eq!(client.handle_timeout(Duration::ZERO), None);
        assert_eq!(client.buffered_amount(), 0);
        assert!(client.wants_shutdown());
        let outcome = client.receive_eof();
        assert!(outcome.cause().is_some_and(|cause| cause.is::<SendError>()), "{outcome}");
    }

    // req: W069
    #[test]
    fn what_waits_is_not_compressed_before_the_output_has_room() {
        let config = Config::new()
            .deflate(DeflateConfig::new().threshold(0))
            .output_high_water(1)
            .ping_interval(Duration::from_secs(10))
            .pong_timeout(None);
        let mut server = open(framewire::Role::Server, &config, Some("permessage-deflate"));
        let message = Random::new(4).text(1 << 20);
        server.as_parts_mut().1.set_codec_budget(1);
        server.send(&message).unwrap();
        server.as_parts_mut().1.set_codec_budget(None);
        assert_eq!(server.handle_timeout(Duration::from_secs(1)), None);
        let first = server.output().flatten().count();
        assert!(first > 0 && server.buffered_amount() > first, "some is left");
        // A Ping is due, and goes out; the rest of the message still waits.
        assert_eq!(server.handle_timeout(Duration::from_secs(60)), None);
        let second = server.output().flatten().count();
        assert!((first..first + 200).contains(&second), "{first} {second}");
        let mut sent = drain(&mut server);
        for second in 61.. {
            server.handle_timeout(Duration::from_secs(second));
            let more = drain(&mut server);
            if more.is_empty() {
                break;
            }
            sent.extend(more);
        }
        let frames = sent_by(framewire::Role::Server, &sent);
        let parts = frames.iter().filter(|frame| frame.opcode != PING);
        let wire: Vec<u8> = parts.flat_map(|frame| frame.payload.clone()).collect();
        let mut inflate = super::super::support::strict_inflate::StrictInflate::new(1 << 15);
        assert!(inflate.message(&wire).as_deref() == Ok(message.as_bytes()));
    }
}
