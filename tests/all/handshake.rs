//! The opening handshake of a server: RFC 6455 sections 4.2 to 4.4, 9.1, 10.2 and the HTTP rules
//! beneath.

use std::time::Duration;

use framewire::handshake::{HeadError, HeaderListError, RequestError, Response};
use framewire::wire::HeaderError;
use framewire::{
    Accept, Config, Connection, HandshakeError, Outcome, ProtocolError, Role, SendError, State,
};

use super::support::chunks::Random;
use super::support::frames::*;
use super::support::script::*;

/// A response as a client without any code of ours reads it: status, header lines, body.
pub(crate) fn read_response(output: &[u8]) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("an empty line");
    let head = std::str::from_utf8(&output[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap();
    let (code, reason) = status.split_once(' ').unwrap();
    assert!(!reason.is_empty());
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    (code.parse().unwrap(), lines.map(field).collect(), output[end + 4..].to_vec())
}

fn values<'h>(headers: &'h [(String, String)], name: &str) -> Vec<&'h str> {
    headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
}

/// The stream is refused with this error, at its last byte at the latest, and the answer fits.
fn refused(config: &Config, stream: &[u8], error: RequestError) {
    let status = error.status();
    let script = Script::server_from_start()
        .config(config.clone())
        .bytes(stream)
        .sees(Seen::HandshakeFailed(error.clone().into()));
    let transcript = script.run_without_output();
    assert_eq!((transcript.state, transcript.wants_shutdown), (State::Closing, true));
    assert_eq!(transcript.outcome, Outcome::HandshakeFailed(error.into()));
    let (code, headers, body) = read_response(&transcript.output);
    assert_eq!(code, status);
    assert!(values(&headers, "connection").contains(&"close"));
    assert_eq!(values(&headers, "content-length"), [body.len().to_string()]);
    assert_eq!(values(&headers, "allow"), if code == 405 { vec!["GET, HEAD"] } else { vec![] });
    let listed = values(&headers, "sec-websocket-version");
    assert_eq!(listed, if code == 426 { vec!["13, 8"] } else { vec![] });
    let upgrades = values(&headers, "upgrade");
    assert_eq!(upgrades, if code == 426 { vec!["websocket"] } else { vec![] });
    script.nothing_follows(&transcript);
}

/// [`request`] in which the line that starts with `name` is replaced by `lines`.
fn changed(name: &str, lines: &str) -> Vec<u8> {
    let whole = request("");
    let whole = whole.strip_suffix("\r\n").unwrap();
    let kept: String =
        whole.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect();
    format!("{kept}{lines}\r\n").into_bytes()
}

fn refuses(name: &str, lines: &str, error: RequestError) {
    refused(&Config::new(), &changed(name, lines), error);
}

/// The stream is accepted; what the application gets to see of the request is for `look`.
fn accepted(
    config: &Config,
    stream: &[u8],
    look: impl Fn(&framewire::Request) + 'static,
) -> Vec<(String, String)> {
    let transcript = Script::server_from_start()
        .config(config.clone())
        .bytes(stream)
        .sees(Seen::Request("/chat".into()))
        .app(move |c| {
            look(c.request().unwrap());
            assert!(c.awaits_decision());
            c.accept(Accept::new()).unwrap();
        })
        .run_without_output();
    assert_eq!((transcript.state, transcript.wants_shutdown), (State::Open, false));
    let (code, headers, body) = read_response(&transcript.output);
    assert_eq!((code, body.len()), (101, 0));
    assert_eq!(values(&headers, "sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    headers
}

fn accepts(name: &str, lines: &str) -> Vec<(String, String)> {
    accepted(&Config::new(), &changed(name, lines), |_| ())
}

// req: W040, W041, W039, W038, W052, W053
// attack: HS29, HS02
#[test]
fn a_request_and_frames_in_one_stream() {
    let transcript = Script::server_from_start()
        .bytes(request("X: y\r\n"))
        .peer(text("one"))
        .peer(binary("two").more())
        .peer(ping("p"))
        .peer(continuation("three"))
        .peer(close(1000, ""))
        .sees(Seen::Request("/chat".into()))
        .app(|c| {
            c.accept(Accept::new()).unwrap();
            assert_eq!(c.accept(Accept::new()), Err(SendError::NothingToAnswer));
            c.send("hello").unwrap();
        })
        .sees(said("one"))
        .sees(Seen::Ping(b"p".to_vec()))
        .sees(Seen::Binary(b"twothree".to_vec()))
        .sees(Seen::Close(1000, "".into()))
        .run_without_output();
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let frames = [text("hello"), pong("p"), close(1000, "")];
    let frames: Vec<u8> = frames.iter().flat_map(|frame| frame.by(Role::Server)).collect();
    assert_eq!(transcript.output, [head.as_bytes(), &frames].concat());
    assert!(transcript.outcome.was_clean());
}

// req: W041, W058
// attack: HS32
#[test]
fn nothing_is_read_before_the_decision() {
    let mut server = Connection::server(&Config::new());
    let frames = text("early").by(Role::Client).repeat(5000);
    let mut stream = [request("").as_bytes(), &frames].concat();
    let mut input = &mut stream[..];
    assert!(matches!(server.receive(&mut input), Some(framewire::Event::Request(_))));
    for _ in 0..3 {
        assert_eq!(server.receive(&mut input), None);
        assert_eq!(input.len(), frames.len(), "nothing was taken");
        assert!(server.awaits_decision());
        assert_eq!((server.send("x"), server.buffered_amount()), (Err(SendError::Connecting), 0));
    }
    server.accept(Accept::new()).unwrap();
    assert!(!server.awaits_decision());
    let mut received = 0;
    while let Some(event) = server.receive(&mut input) {
        assert_eq!(event, framewire::Event::Message("early".into()));
        received += 1;
    }
    assert_eq!((received, input.len()), (5000, 0));
}

// req: W029, W025, W033, W050, W043, W031, H001
// attack: HS17, HS13
#[test]
fn lawful_requests_are_accepted() {
    accepts("Connection", "Connection: keep-alive, Upgrade\r\n");
    accepts("Connection", "connection: keep-alive\r\nCONNECTION:\tupgrade \r\n");
    accepts("Upgrade", "upgrade: WebSocket\r\n");
    accepts("Upgrade", "Upgrade: h2c, websocket\r\n");
    accepts("Host", "hOST: example.com:8080\r\n");
    accepts("Host", "Host: [::1]:80\r\n");
    accepts("Sec-WebSocket-Version", "sec-websocket-version: 8\r\n");
    accepts("-", "Content-Length: 0\r\n");
    accepts("-", "X-Unknown: \x7e!\r\nCookie: a=b; c=d\r\nX-Unknown: again\r\n");
    let early = [b"\r\n\r\n", &changed("-", "")[..]].concat();
    accepted(&Config::new(), &early, |_| ());
    // Bytes above ASCII come through as they are.
    let mut odd = changed("-", "Cookie: ?\r\nOrigin: ?\r\n");
    for byte in &mut odd {
        if *byte == b'?' {
            *byte = 0xff;
        }
    }
    accepted(&Config::new(), &odd, |request| {
        assert_eq!(request.headers().get("cookie"), Some(&b"\xff"[..]));
        assert_eq!(request.origin(), Some(&b"\xff"[..]));
        assert_eq!(request.headers().get_str("cookie"), None);
    });
}

// req: W026, W028, H004
// attack: HS09
#[test]
fn a_host_is_needed_once() {
    refuses("Host", "", RequestError::MissingHeader("Host"));
    refuses("-", "Host: example.com\r\n", RequestError::RepeatedHeader("Host"));
    for host in ["", "a b", "a/b", "a,b c", "u@h", ":80", "h:x", "h:99999", "[::1", "a\\b"] {
        let line = format!("Host: {host}\r\n");
        refuses("Host", &line, RequestError::InvalidHeader("Host"));
    }
}

// req: W026, H002, H005, H006, H007, W112
// attack: HS10, HS11, HS12, HS08
#[test]
fn heads_that_are_not_http_are_refused_at_the_byte_that_shows_it() {
    use HeadError::*;
    let value = |byte| HeaderValueByte { name: "X".into(), byte };
    let start = "GET /chat HTTP/1.1\r\n";
    let cases: Vec<(Vec<u8>, HeadError)> = vec![
        (b"GET /chat HTTP/1.1\n".to_vec(), BareLineFeed),
        (b"GET /chat HTTP/1.1\rX".to_vec(), BareCarriageReturn),
        (b"\n".to_vec(), BareLineFeed),
        (b"\r\n\r\n\r\n\r\n\r\n".to_vec(), EmptyLines),
        (b"GET /\0".to_vec(), StartLineByte(0)),
        (b"GET /\x80".to_vec(), StartLineByte(0x80)),
        (format!("{start} Host: h").into_bytes()[..start.len() + 1].to_vec(), LeadingWhitespace),
        (format!("{start}X: a\r\n\t").into_bytes(), ObsoleteFolding),
        (format!("{start}X: a\r\n ").into_bytes(), ObsoleteFolding),
        (format!("{start}X ").into_bytes(), HeaderNameWhitespace),
        (format!("{start}:").into_bytes(), EmptyHeaderName),
        (format!("{start}X\r").into_bytes(), MissingColon),
        (format!("{start}X: a\n").into_bytes(), BareLineFeed),
        (format!("{start}X: a\rb").into_bytes(), BareCarriageReturn),
        (format!("{start}X: \0").into_bytes(), value(0)),
        (format!("{start}X: \x1b").into_bytes(), value(0x1b)),
        (format!("{start}X: \x7f").into_bytes(), value(0x7f)),
        ([start.as_bytes(), b"X\x80"].concat(), HeaderNameByte(0x80)),
        ([start.as_bytes(), b"\xff"].concat(), HeaderNameByte(0xff)),
        ([start.as_bytes(), b"\x01"].concat(), HeaderNameByte(1)),
        (format!("{start}X(: a").into_bytes()[..start.len() + 2].to_vec(), HeaderNameByte(b'(')),
    ];
    for (stream, fault) in cases {
        refused(&Config::new(), &stream, RequestError::Head(fault));
    }
}

// req: W026, W027
// attack: HS08
#[test]
fn other_protocols_are_recognised() {
    refused(&Config::new(), b"\x16", RequestError::TlsHello);
    refused(&Config::new(), b"PRI * HTTP/2.0\r\n", RequestError::Http2Preface);
    let mut random = Random::new(8);
    for _ in 0..200 {
        let mut server = Connection::server(&Config::new());
        let noise = random.bytes(65_536);
        let seen = feed(&mut server, &noise);
        let [Seen::HandshakeFailed(HandshakeError::Request(error))] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert!(matches!(error.status(), 400 | 414), "{error}");
        assert!(server.buffered_amount() < 1000 && server.state() == State::Closing);
    }
}

// req: W027, W009, H011
// attack: HS14, HS15, HS34
#[test]
fn request_lines() {
    use RequestError::{HttpVersionNotSupported, InvalidTarget, MethodNotAllowed};
    for method in ["POST", "PUT", "OPTIONS", "get", "GETS"] {
        refused(&Config::new(), request("").replace("GET", method).as_bytes(), MethodNotAllowed);
    }
    let tunnel = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n";
    refused(&Config::new(), tunnel, MethodNotAllowed);
    // Of the methods that are served anyway, each is listed once.
    let config = Config::new().http_methods(["GET", "HEAD", "GET"]);
    refused(&config, request("").replace("GET", "POST").as_bytes(), MethodNotAllowed);
    for (right, wrong) in
        [("GET", "HEAD"), ("HTTP/1.1", "HTTP/1.0"), ("Upgrade: websocket", "Upgrade: h2c")]
    {
        // An upgrade is none of these: a plain request is.
        Script::server_from_start()
            .bytes(request("").replace(right, wrong))
            .sees(Seen::Http("/chat".into()))
            .run_without_output();
    }
    for version in ["HTTP/1.1x", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/11"] {
        let line = format!("GET /chat {version}\r\n");
        refused(&Config::new(), line.as_bytes(), HttpVersionNotSupported);
    }
    refused(&Config::new(), b"GET /chat\r\n", HttpVersionNotSupported);
    for target in
        ["*", "example.com:80", "ftp://h/", "http:///a", "/a b", "/a#b", "chat", "http://u@h/", ""]
    {
        let line = format!("GET {target} HTTP/1.1\r\n");
        refused(&Config::new(), line.as_bytes(), InvalidTarget);
    }
    for (target, path) in
        [("//x/%00", "//x/%00"), ("http://other/a?b", "/a"), ("WSS://[::1]:9", "/"), ("/?", "/")]
    {
        let stream = request("").replace("/chat", target);
        Script::server_from_start()
            .bytes(stream)
            .sees(Seen::Request(path.into()))
            .run_without_output();
    }
}

// req: H003, H008
// attack: HS01, HS03, HS04
#[test]
fn heads_have_limits_that_hold_to_the_byte() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - 14));
    let rest = request("").split_once("\r\n").unwrap().1.to_owned();
    let fits = line(8192) + &rest;
    let path = format!("/{}", "a".repeat(8192 - 14));
    Script::server_from_start().bytes(fits).sees(Seen::Request(path)).run_without_output();
    let too_long = RequestError::Head(HeadError::StartLineTooLong);
    assert_eq!(too_long.status(), 414);
    refused(&Config::new(), &line(8193).as_bytes()[..8193], too_long);

    // Five are of the handshake.
    let short = "aa:b\r\n";
    let headers = |count: usize| changed("-", &short.repeat(count - 5));
    accepted(&Config::new(), &headers(100), |request| assert_eq!(request.headers().len(), 100));
    let too_many = RequestError::Head(HeadError::TooManyHeaders);
    assert_eq!(too_many.status(), 431);
    let stream = headers(101);
    let at = stream.len() - 2 - short.len() + 1;
    refused(&Config::new(), &stream[..at], too_many.clone());
    let first = format!("GET /chat HTTP/1.1\r\n{}", short.repeat(2000));
    let mut server = Connection::server(&Config::new());
    assert_eq!(feed(&mut server, first.as_bytes()), [Seen::HandshakeFailed(too_many.into())]);

    let padded = |length: usize| {
        let bare = changed("-", "X: \r\n").len();
        changed("-", &format!("X: {}\r\n", "x".repeat(length - bare)))
    };
    accepted(&Config::new(), &padded(16_384), |_| ());
    let too_large = RequestError::Head(HeadError::TooLarge);
    assert_eq!(too_large.status(), 431);
    refused(&Config::new(), &padded(16_385), too_large.clone());
    let small = Config::new().max_head_size(300).max_headers(6).max_request_line(20);
    accepted(&small, &padded(300), |_| ());
    refused(&small, &padded(301), too_large);
}

// req: W026, W029, W030
// attack: HS18, HS19
#[test]
fn fields_of_the_handshake_are_matched_whole() {
    use RequestError::{InvalidHeader, MissingHeader, RepeatedHeader};
    for value in ["notupgrade", "upgradex", "up grade", "", "keep-alive"] {
        let line = format!("Connection: {value}\r\n");
        refuses("Connection", &line, InvalidHeader("Connection"));
    }
    refuses("Connection", "", MissingHeader("Connection"));
    for value in ["websocketx", "xwebsocket", "web socket", "h2c", ""] {
        // What asks for no WebSocket is a plain request.
        Script::server_from_start()
            .bytes(changed("Upgrade", &format!("Upgrade: {value}\r\n")))
            .sees(Seen::Http("/chat".into()))
            .run_without_output();
    }
    let long = "A".repeat(8192);
    for key in [
        "",
        "AAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAA-_==",
        "AAAAAAAAAAA AAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAA=",
        &long,
    ] {
        let line = format!("Sec-WebSocket-Key: {key}\r\n");
        refuses("Sec-WebSocket-Key", &line, InvalidHeader("Sec-WebSocket-Key"));
    }
    refuses("Sec-WebSocket-Key", "", MissingHeader("Sec-WebSocket-Key"));
    let twice = format!("Sec-WebSocket-Key: {KEY}\r\n");
    refuses("-", &twice, RepeatedHeader("Sec-WebSocket-Key"));
}

// req: W031, W036, W043, W044, W045, H011
// attack: HS20
#[test]
fn versions() {
    use RequestError::{InvalidHeader, MissingHeader, RepeatedHeader, UnsupportedVersion};
    let name = "Sec-WebSocket-Version";
    for version in [0, 7, 9, 14, 255] {
        refuses(name, &format!("{name}: {version}\r\n"), UnsupportedVersion(version));
    }
    for version in ["013", "256", "13, 8", "-1", "+13", "1 3", "", "x", "13.0", "0x0d"] {
        refuses(name, &format!("{name}: {version}\r\n"), InvalidHeader(name));
    }
    refuses(name, "", MissingHeader(name));
    refuses("-", &format!("{name}: 13\r\n"), RepeatedHeader(name));
    refuses("-", &format!("{name}: 8\r\n"), RepeatedHeader(name));
}

fn bad_list(name: &'static str, error: HeaderListError) -> RequestError {
    RequestError::InvalidList { name, error }
}

// req: W016, W026, W038, W047, W050
// attack: HS21, HS22, HS26
#[test]
fn subprotocols_are_one_list() {
    let name = "Sec-WebSocket-Protocol";
    let unexpected = |index| bad_list(name, HeaderListError::UnexpectedCharacter { index });
    for (value, index) in [("a b", 2), ("a@", 1), ("a, b c", 5), (",a;", 2)] {
        refuses("-", &format!("{name}: {value}\r\n"), unexpected(index));
    }
    let end = || bad_list(name, HeaderListError::UnexpectedEnd);
    for value in ["", ",", " , ,"] {
        refuses("-", &format!("{name}: {value}\r\n"), end());
    }
    let twice = || bad_list(name, HeaderListError::Duplicated { name: "a".into() });
    refuses("-", &format!("{name}: a, b, a\r\n"), twice());
    refuses("-", &format!("{name}: a\r\n{name}: b\r\n{name}: a\r\n"), twice());
    let spaces = format!("{name}: b{}x\r\n", " ".repeat(15_000));
    refuses("-", &spaces, unexpected(15_001));
    let many: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
    let lines = format!("{name}: {}\r\n", many.join(","));
    accepted(&Config::new(), &changed("-", &lines), |request| {
        assert_eq!(request.subprotocols().count(), 3000);
    });

    let config = Config::new().subprotocols(["z", "c", "b"]);
    let lines = format!("{name}: ,a,, b\r\n{name}:\r\n{name}: c,\r\n");
    let headers = accepted(&config, &changed("-", &lines), |request| {
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["a", "b", "c"]);
    });
    // The server's own preference.
    assert_eq!(values(&headers, "sec-websocket-protocol"), ["c"]);
    for (config, lines) in [
        (Config::new().subprotocols(["x", "B"]), lines.as_str()),
        (Config::new(), lines.as_str()),
        (config, ""),
    ] {
        let headers = accepted(&config, &changed("-", lines), |_| ());
        assert_eq!(values(&headers, "sec-websocket-protocol"), Vec::<&str>::new());
    }
}

// req: W042, W049, W050, W026
// attack: HS23, HS25, HS26
#[test]
fn extensions_keep_their_grammar() {
    let name = "Sec-WebSocket-Extensions";
    let unexpected = |index| bad_list(name, HeaderListError::UnexpectedCharacter { index });
    for (value, index) in [("a;;b", 2), ("a; ,b", 3), ("a; b=\"c d\"", 7), ("a; b=\"\"", 6)] {
        refuses("-", &format!("{name}: {value}\r\n"), unexpected(index));
    }
    let end = || bad_list(name, HeaderListError::UnexpectedEnd);
    for value in ["", ",", "a;", "a; b=", "a; b=\"c"] {
        refuses("-", &format!("{name}: {value}\r\n"), end());
    }
    let unclosed = format!("{name}: a; b=\"{}\r\n", "\\c".repeat(7500));
    refuses("-", &unclosed, end());
    let lines = format!("{name}: a; b = \"1\\0\"\r\n{name}: c,, d ; e ,\r\n");
    accepted(&Config::new(), &changed("-", &lines), |request| {
        let extensions = request.extensions();
        let names: Vec<_> = extensions.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a", "c", "d"]);
        assert_eq!(extensions[0].parameters, [("b".to_owned(), Some("10".to_owned()))]);
    });
}

// req: W039, W052, W053, D004, D007
// attack: HS24
#[test]
fn unknown_extensions_are_passed_over() {
    let offers = "Sec-WebSocket-Extensions: __proto__; constructor, toString; hasOwnProperty=1, \
                  x-webkit-deflate-frame, permessage-bzip2\r\n";
    let config = Config::new();
    #[cfg(feature = "deflate")]
    let config = config.deflate(framewire::deflate::DeflateConfig::new());
    let headers = accepted(&config, &changed("-", offers), |request| {
        assert_eq!(request.extensions().len(), 4);
    });
    assert_eq!(values(&headers, "sec-websocket-extensions"), Vec::<&str>::new());
}

// req: H009, H010
// attack: HS27, HS28
#[test]
fn an_upgrade_has_no_body() {
    let body = RequestError::Body;
    for value in ["10", "-1", "+5", "5,5", "0x5", "18446744073709551616", "", "00", "0, 0"] {
        let mut stream = changed("-", &format!("Content-Length: {value}\r\n"));
        refused(&Config::new(), &stream, body("Content-Length"));
        // What would be the body is neither frames nor a request.
        stream.extend(text("smuggled").by(Role::Client));
        stream.extend(request("").as_bytes());
        refused(&Config::new(), &stream, body("Content-Length"));
    }
    refuses("-", "Content-Length: 0\r\nContent-Length: 5\r\n", body("Content-Length"));
    for value in ["chunked", "identity", "gzip, chunked", ""] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        refuses("-", &lines, body("Transfer-Encoding"));
        let lines = format!("Content-Length: 0\r\n{lines}");
        refuses("-", &lines, body("Transfer-Encoding"));
    }
}

/// What is kept of a request that opens no connection, after its failure and still after the end.
#[test]
fn what_was_read_of_a_request_is_kept_until_it_is_taken() {
    let config = || Config::new().http_methods(["POST"]).max_request_body(10);
    let kept = |stream: &[u8], end: &dyn Fn(&mut Connection)| {
        let mut connection = Connection::server(&config());
        connection.handle_timeout(Duration::ZERO);
        let mut bytes = stream.to_vec();
        let mut input = &mut bytes[..];
        while connection.receive(&mut input).is_some() {}
        end(&mut connection);
        let read = connection.take_partial_request().expect("what was read");
        assert!(connection.take_partial_request().is_none());
        let target = read.request().map(|request| request.target().to_owned());
        target.unwrap_or_else(|| String::from_utf8(read.head().to_vec()).unwrap())
    };
    let chunked = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let with = |lines: &str| format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes();
    let malformed = b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec();
    let nothing = |_: &mut Connection| ();
    let end = |c: &mut Connection| drop(c.receive_eof());
    let timeout = |c: &mut Connection| {
        for second in 1..60 {
            while c.handle_timeout(Duration::from_secs(second)).is_some() {}
        }
        let late = HandshakeError::Request(RequestError::Timeout);
        assert_eq!(c.outcome(), Some(&Outcome::HandshakeFailed(late)));
    };
    for (stream, expected) in [
        (malformed.clone(), std::str::from_utf8(&malformed).unwrap()),
        (b"PUT /a HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), "/a"),
        ([chunked.as_bytes(), b"x\r\n"].concat(), "/a"),
        ([chunked.as_bytes(), b"b\r\n"].concat(), "/a"),
        (with("Content-Length: 11\r\n"), "/a"),
    ] {
        assert_eq!(kept(&stream, &nothing), expected, "{}", stream.escape_ascii());
        assert_eq!(kept(&stream, &end), expected, "{}", stream.escape_ascii());
    }
    for stream in [with("Content-Length: 5\r\n"), [chunked.as_bytes(), b"5\r\nab"].concat()] {
        assert_eq!(kept(&stream, &end), "/a");
        assert_eq!(kept(&stream, &timeout), "/a");
    }
}

// req: H012, W026
// attack: HS30, HS31
#[test]
fn after_a_refusal_the_connection_serves_nothing_more() {
    let second = request("");
    let config = Config::new().path("/other");
    for (stream, config, error) in [
        (changed("-", ""), &config, RequestError::PathNotServed),
        (
            changed("Sec-WebSocket-Version", "Sec-WebSocket-Version: 99\r\n"),
            &Config::new(),
            RequestError::UnsupportedVersion(99),
        ),
        (
            changed("-", "Origin: https://evil.example\r\n"),
            &Config::new().origins(["https://good.example"]),
            RequestError::OriginRejected,
        ),
    ] {
        let pipelined = [&stream, second.as_bytes(), second.as_bytes()].concat();
        refused(config, &pipelined, error);
    }
    // The same where the application refuses.
    let transcript = Script::server_from_start()
        .bytes(request(""))
        .bytes(request(""))
        .sees(Seen::Request("/chat".into()))
        .app(|c| {
            assert_eq!(c.reject(Response::new(101)), Ok(()));
            assert_eq!(c.reject(Response::forbidden()), Err(SendError::NothingToAnswer));
            assert_eq!(c.accept(Accept::new()), Err(SendError::NothingToAnswer));
        })
        .run_without_output();
    // A status that is no final answer was made one by the constructor.
    assert_eq!(read_response(&transcript.output).0, 500);
    assert!(transcript.wants_shutdown);
    assert!(matches!(transcript.outcome, Outcome::Rejected(_)));
}

// req: W037, W035, W114, W032
// attack: HS35
#[test]
fn paths_and_origins_are_compared_exactly() {
    let config = Config::new().path("/chat");
    accepted(&config, &changed("-", ""), |_| ());
    accepted(
        &config,
        &String::from_utf8(changed("-", "")).unwrap().replace("/chat", "/chat?a").into_bytes(),
        |_| (),
    );
    for target in ["/Chat", "/chat/", "/chat/..", "/", "//chat", "/ch%61t", "/chatx"] {
        let stream = request("").replace("/chat", target);
        refused(&config, stream.as_bytes(), RequestError::PathNotServed);
    }

    let config = Config::new().origins(["https://good.example", "http://a:81"]);
    for origin in ["https://good.example", "HTTPS://Good.Example", "http://a:81"] {
        accepted(&config, &changed("-", &format!("Origin: {origin}\r\n")), |_| ());
    }
    // No origin: not a browser.
    accepted(&config, &changed("-", ""), |request| assert_eq!(request.origin(), None));
    for origin in [
        "null",
        "",
        "http://good.example",
        "https://good.example.evil",
        "https://xgood.example",
        "https://goodxexample",
        "https://good.example:8443",
        "https://good.example/",
        "https://good.example https://evil.example",
        "http://a:b",
        "http://a",
    ] {
        let stream = changed("-", &format!("Origin: {origin}\r\n"));
        refused(&config, &stream, RequestError::OriginRejected);
    }
    let twice = changed("-", "Origin: https://good.example\r\nOrigin: https://good.example\r\n");
    refused(&config, &twice, RequestError::OriginRejected);
    // Version 8 has a header of its own. Where both are there, both have to pass.
    let draft = |own: &str, common: &str| {
        let lines = format!(
            "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Origin: {own}\r\nOrigin: {common}\r\n"
        );
        changed("Sec-WebSocket-Version", &lines)
    };
    let (good, evil) = ("https://good.example", "https://evil.example");
    let same = Config::new().same_origin();
    accepted(&config, &draft(good, good), |_| ());
    accepted(&config, &draft(good, "http://a:81"), |_| ());
    accepted(&same, &draft("http://example.com", "https://example.com"), |_| ());
    let both = config.clone().same_origin();
    accepted(&both, &draft("http://example.com", good), |_| ());
    for stream in [draft(evil, good), draft(good, evil), draft(evil, evil), draft(good, "")] {
        refused(&config, &stream, RequestError::OriginRejected);
        refused(&same, &stream, RequestError::OriginRejected);
        refused(&both, &stream, RequestError::OriginRejected);
    }
    for stream in [draft("http://example.com", evil), draft(evil, "http://example.com")] {
        refused(&same, &stream, RequestError::OriginRejected);
    }
    let twice = draft(good, "https://good.example\r\nOrigin: https://good.example");
    refused(&config, &twice, RequestError::OriginRejected);
}

// req: W113
#[test]
fn a_good_origin_makes_no_input_trusted() {
    let config = Config::new().origins(["https://good.example"]).max_message_size(10);
    for (frame, error) in [
        (text("x").masked(false), ProtocolError::Header(HeaderError::Unmasked)),
        (text(b"\xff"), ProtocolError::InvalidUtf8),
        (binary([0; 11]), ProtocolError::MessageTooBig(10)),
    ] {
        Script::server_from_start()
            .config(config.clone())
            .bytes(changed("-", "Origin: https://good.example\r\n"))
            .sees(Seen::Request("/chat".into()))
            .app(|c| c.accept(Accept::new()).unwrap())
            .peer(frame)
            .sees(Seen::Failed(error))
            .run_without_output();
    }
}

// req: W026, H011, H012
// attack: HS16
#[test]
fn a_plain_request_is_for_the_application_or_426() {
    let plain = "GET /page?a HTTP/1.1\r\nHost: h\r\n\r\n";
    let script = Script::server_from_start().bytes(plain).sees(Seen::Http("/page".into()));
    let transcript = script.run_without_output();
    let (status, headers, _) = read_response(&transcript.output);
    assert_eq!(status, 426);
    assert_eq!(values(&headers, "upgrade"), ["websocket"]);
    assert_eq!(values(&headers, "sec-websocket-version"), ["13, 8"]);
    assert_eq!(values(&headers, "connection"), ["close", "upgrade"]);
    assert!(transcript.wants_shutdown);
    script.nothing_follows(&transcript);

    let script =
        Script::server_from_start().bytes(plain).sees(Seen::Http("/page".into())).app(|c| {
            assert!(!c.awaits_decision());
            assert_eq!(c.accept(Accept::new()), Err(SendError::NothingToAnswer));
            let answer = Response::new(200).header("Content-Type", "text/html").unwrap();
            c.respond(answer.body("<p>")).unwrap();
            assert_eq!(c.respond(Response::new(200)), Err(SendError::NothingToAnswer));
        });
    let transcript = script.run_without_output();
    let (status, headers, body) = read_response(&transcript.output);
    assert_eq!((status, &body[..]), (200, &b"<p>"[..]));
    assert_eq!(values(&headers, "content-type"), ["text/html"]);
    assert_eq!(values(&headers, "connection"), ["close"]);
    script.nothing_follows(&transcript);
}

// req: W038, W039, H007
// attack: HS33
#[test]
fn the_application_cannot_forge_an_answer() {
    let new = || {
        let mut server = Connection::server(&Config::new().subprotocols(["a\r\nX: y"]));
        let lines = "Sec-WebSocket-Protocol: a, b\r\n";
        assert_eq!(feed(&mut server, request(lines).as_bytes()).len(), 1);
        server
    };
    let mut server = new();
    for name in ["c", "", "A", "a\r\nX: y", "a, b", "a b"] {
        let error = SendError::SubprotocolNotOffered(name.into());
        assert_eq!(server.accept(Accept::new().subprotocol(name)), Err(error));
        assert_eq!((server.buffered_amount(), server.state()), (0, State::Connecting));
    }
    for (name, value) in [
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X", "a\0"),
        ("X\r\nY", "a"),
        ("", "a"),
        ("X Y", "a"),
        ("Sec-WebSocket-Accept", "forged"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("Upgrade", "h2c"),
        ("Connection", "close"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
    ] {
        assert!(Accept::new().header(name, value).is_err(), "{name:?}: {value:?}");
    }
    for bad in ["a\r\nb", "a\nb", "\0", "\x1b[31m"] {
        assert!(Response::new(200).reason(bad).is_err());
        assert!(Response::new(200).header("X", bad).is_err());
    }
    let accept = Accept::new().subprotocol("b").header("Set-Cookie", "a=1").unwrap();
    server.accept(accept).unwrap();
    let (_, headers, _) = read_response(&drain(&mut server));
    assert_eq!(values(&headers, "sec-websocket-protocol"), ["b"]);
    assert_eq!(values(&headers, "set-cookie"), ["a=1"]);
    assert_eq!(server.subprotocol(), Some("b"));
    // Without a choice of its own the application gets none that was not offered.
    let mut server = new();
    server.accept(Accept::new()).unwrap();
    let (_, headers, _) = read_response(&drain(&mut server));
    assert_eq!(values(&headers, "sec-websocket-protocol"), Vec::<&str>::new());
    let mut server = new();
    server.accept(Accept::new().no_subprotocol()).unwrap();
    assert_eq!(server.subprotocol(), None);
}

// req: W038
#[test]
fn the_application_may_want_no_subprotocol_although_one_is_configured() {
    let subprotocol_of = |accept| {
        let mut server = Connection::server(&Config::new().subprotocols(["a"]));
        feed(&mut server, request("Sec-WebSocket-Protocol: a\r\n").as_bytes());
        server.accept(accept).unwrap();
        server.subprotocol().map(str::to_owned)
    };
    assert_eq!(subprotocol_of(Accept::new()).as_deref(), Some("a"));
    assert_eq!(subprotocol_of(Accept::new().no_subprotocol()), None);
}

// attack: HS37
#[test]
fn what_the_peer_wrote_is_escaped_where_it_is_shown() {
    let evil = "\x1b[31m";
    let streams: Vec<Vec<u8>> = vec![
        format!("GET /{evil} HTTP/1.1\r\n").into_bytes(),
        format!("{evil} / HTTP/1.1\r\n").into_bytes(),
        changed("-", &format!("X: {evil}\r\n")),
        changed("-", &format!("{evil}: x\r\n")),
        changed("Host", &format!("Host: {evil}\r\n")),
        changed("-", "Sec-WebSocket-Protocol: a, a\r\n"),
        changed("-", "Sec-WebSocket-Protocol: <b>\r\n"),
        changed("-", "Sec-WebSocket-Extensions: \u{9b}31m\r\n"),
    ];
    for stream in streams {
        let mut server = Connection::server(&Config::new());
        let seen = feed(&mut server, &stream);
        let [Seen::HandshakeFailed(error)] = &seen[..] else { panic!("{seen:?}") };
        let (_, _, body) = read_response(&drain(&mut server));
        let body = String::from_utf8(body).unwrap();
        let shown = format!("{error} {error:?} {:?} {}", server.receive_eof(), body.trim_end());
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
    // A cookie may hold bytes above ASCII; shown, they are escaped.
    let mut odd = changed("-", "Cookie: ?\r\n");
    let at = odd.iter().position(|byte| *byte == b'?').unwrap();
    odd[at] = 0x9b;
    let mut server = Connection::server(&Config::new());
    assert_eq!(feed(&mut server, &odd).len(), 1);
    let shown = format!("{:?}", server.request().unwrap());
    assert!(shown.is_ascii() && shown.contains("x9b"));
}

// req: W106, W098
#[test]
fn a_handshake_that_is_dropped_leaves_nothing() {
    for cut in [0, 1, 50] {
        let mut server = Connection::server(&Config::new());
        assert_eq!(feed(&mut server, &request("").as_bytes()[..cut]), vec![]);
        let lost = Outcome::Lost { sent: None, received: None, cause: None };
        assert_eq!(server.abort(), lost);
        assert_eq!((server.buffered_amount(), server.state()), (0, State::Closed));
        assert_eq!(server.receive_eof(), lost);

        let mut server = Connection::server(&Config::new());
        feed(&mut server, &request("").as_bytes()[..cut]);
        let outcome = server.abort_with("a reset");
        assert_eq!(outcome.cause().unwrap().to_string(), "a reset");
        assert_eq!((server.buffered_amount(), server.state()), (0, State::Closed));
    }
    // The peer leaves while the application decides.
    let mut server = Connection::server(&Config::new());
    feed(&mut server, request("").as_bytes());
    server.receive_eof();
    assert_eq!(server.accept(Accept::new()), Err(SendError::NothingToAnswer));
    assert_eq!(drain(&mut server), b"");
}

/// A transport that takes a byte now and then.
// attack: HS38
#[test]
fn the_switch_goes_out_whole_before_any_frame() {
    let mut connection = Connection::server(&Config::new());
    feed(&mut connection, request("").as_bytes());
    connection.accept(Accept::new()).unwrap();
    connection.send("first").unwrap();
    let mut sent = Vec::new();
    while connection.buffered_amount() > 0 {
        let byte = connection.output().next().unwrap()[0];
        sent.push(byte);
        connection.consume_output(1);
        // What is sent meanwhile stands behind it.
        if sent.len() == 10 {
            connection.send("second").unwrap();
        }
    }
    let (status, _, frames) = read_response(&sent);
    assert_eq!(status, 101);
    assert_eq!(frames, b"\x81\x05first\x81\x06second");
}
