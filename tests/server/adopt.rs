//! Connections that somebody else has accepted.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;

use framewire::deflate::DeflateConfig;
use framewire::handshake::{HeadLimits, Request, RequestParts};
use framewire::{Accept, Config, Decision, Outcome, Pending, Response, Server, Upgraded};

use crate::client::{Client, Engine, REQUEST, TEXT, frame, request_with};
use crate::house::{Call, House, Log, Spy, eventually};
use crate::untimed::{PATIENCE, untimed};

/// A loop that listens nowhere, and somebody else's listener.
fn house(config: Config, spy: Spy) -> (House, TcpListener, SocketAddr) {
    let house = House::of(Server::unbound().config(config), spy);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (house, listener, address)
}

/// Both ends of a connection.
fn pair(listener: &TcpListener, address: SocketAddr) -> (Client, TcpStream) {
    let client = Client::connect(address);
    (client, listener.accept().unwrap().0)
}

fn parts(path: &str) -> RequestParts {
    let mut parts = RequestParts::new("GET", path).unwrap();
    for line in request_with("Sec-WebSocket-Protocol: v2, v1\r\n").lines().skip(1) {
        if let Some((name, value)) = line.split_once(": ") {
            parts = parts.header(name, value).unwrap();
        }
    }
    parts
}

fn request(path: &str) -> Request {
    parts(path).read(HeadLimits::default()).unwrap()
}

fn say_the_path() -> (Spy, Log) {
    Spy::new(|peer, call| match call {
        Call::Open(_) => {
            let path = peer.request().unwrap().path().to_owned();
            assert!(peer.peer_addr().is_ok());
            peer.send(path);
        }
        call => crate::house::echo(peer, call),
    })
}

#[test]
fn a2_7_handle_upgrade_keeps_what_came_with_the_head() {
    let (spy, log) = say_the_path();
    let (house, listener, address) = house(untimed(), spy);
    let all = [REQUEST.as_bytes(), &frame(TEXT, "first"), &frame(TEXT, "second")].concat();
    let head = REQUEST.len();
    for read in [0, 1, 50, head - 1, head, head + 1, head + 11, all.len()] {
        let (mut client, stream) = pair(&listener, address);
        let (read, unread) = all.split_at(read);
        let (head, leftover) = read.split_at(read.len().min(head));
        house.handle.adopt(stream, head, leftover).unwrap();
        client.send_raw(unread);
        assert!(client.read_head().starts_with("HTTP/1.1 101 "));
        for text in ["/chat", "first", "second"] {
            assert_eq!(client.read_text(), text);
        }
    }
    assert_eq!(house.stop(log).len(), 8 * 4);
}

#[test]
fn an_adopted_request_is_judged_like_any_other() {
    let (spy, log) = Spy::echo();
    let spy = spy.deciding(|request| match request.path() {
        "/chat" => Decision::accept(0),
        _ => Decision::reject(Response::new(401).body("who are you?\n")),
    });
    let config = untimed().origins(["https://example.com"]).max_head_size(1024);
    let (house, listener, address) = house(config, spy);
    for (head, status) in [
        (REQUEST.replace("GET", "POST"), 405),
        (REQUEST.replace("Version: 13", "Version: 7"), 426),
        (request_with("Origin: https://evil.example\r\n"), 403),
        (request_with(&format!("X: {}\r\n", "x".repeat(1024))), 431),
        (REQUEST.replace("/chat", "/other"), 401),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let (mut client, stream) = pair(&listener, address);
        house.handle.adopt(stream, &head, frame(TEXT, "never seen")).unwrap();
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}\n{answer}");
    }
    // So is one that was parsed elsewhere.
    for (parts, status) in [
        (parts("/chat").http_version(1, 0), 426),
        (parts("/chat").http_version(2, 0), 505),
        (parts("/chat").header("Host", "twice").unwrap(), 400),
        (parts("/chat").header("Origin", "https://evil.example").unwrap(), 403),
        (parts("/chat").header("Content-Length", "5").unwrap(), 400),
        (parts("/other"), 401),
    ] {
        let (mut client, stream) = pair(&listener, address);
        house.handle.adopt_request(stream, &parts, "").unwrap();
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{parts:?}\n{answer}");
    }
    assert_eq!(house.stop(log), []);
}

#[test]
fn a_request_that_was_parsed_elsewhere_is_upgraded() {
    let (spy, log) = say_the_path();
    let (house, listener, address) = house(untimed().subprotocols(["v1"]), spy);
    let (mut client, stream) = pair(&listener, address);
    let leftover = frame(TEXT, "with the head");
    house.handle.adopt_request(stream, &parts("/room?a=b"), leftover).unwrap();
    let head = client.read_head();
    assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Protocol: v1\r\n"), "{head}");
    assert_eq!(client.read_text(), "/room");
    assert_eq!(client.read_text(), "with the head");
    drop(client);
    house.stop(log);
}

#[test]
fn a_loop_adopts_by_itself() {
    let (spy, mut log) = Spy::echo();
    let server = Server::unbound().config(untimed()).max_connections(1);
    let mut event_loop = server.into_event_loop(spy).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut client, stream) = pair(&listener, address);
    let id = event_loop.adopt(stream, "", "").unwrap();
    client.send_raw(REQUEST);
    eventually("open", || {
        event_loop.run_once(Some(std::time::Duration::from_millis(1))).unwrap();
        event_loop.peer(id).is_some()
    });
    assert_eq!(log.next_open(), id);
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    // Another one finds no room, however it comes.
    let (mut late, stream) = pair(&listener, address);
    late.send_raw(REQUEST);
    let error = event_loop.adopt(stream, "", "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::QuotaExceeded);
    assert!(late.read_to_end().starts_with(b"HTTP/1.1 503 "));
    // A loop that is gone says so.
    let handle = event_loop.handle();
    drop(event_loop);
    let (mut late, stream) = pair(&listener, address);
    let error = handle.adopt(stream, REQUEST, "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    assert!(late.is_gone());
}

#[test]
fn what_another_server_has_upgraded_is_served() {
    let (spy, log) = Spy::new(|peer, call| {
        if let Call::Open(_) = call {
            assert_eq!(peer.request().unwrap().path(), "/chat");
            assert_eq!((peer.subprotocol(), peer.deflate()), (Some("v2"), None));
            peer.send("hello");
        }
        crate::house::echo(peer, call);
    });
    let config = untimed().subprotocols(["v1"]);
    let (house, listener, address) = house(config.clone(), spy);
    for leftover in [frame(TEXT, "behind the head"), Vec::new()] {
        let (mut client, mut stream) = pair(&listener, address);
        let accept = Accept::new().subprotocol("v2").header("X-Other", "yes").unwrap();
        let (upgraded, headers) = Upgraded::accept(request("/chat"), accept, &config).unwrap();
        let names: Vec<_> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let expected =
            ["upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol", "x-other"];
        assert_eq!(names, expected);
        stream.write_all(b"HTTP/1.1 101 From Elsewhere\r\n\r\n").unwrap();
        house.handle.adopt_upgraded(stream, upgraded, &leftover).unwrap();
        // The loop adds no answer of its own.
        assert_eq!(client.read_head(), "HTTP/1.1 101 From Elsewhere\r\n\r\n");
        assert_eq!(client.read_text(), "hello");
        if !leftover.is_empty() {
            assert_eq!(client.read_text(), "behind the head");
        }
        client.send_frame(TEXT, "and more");
        assert_eq!(client.read_text(), "and more");
    }
    house.stop(log);
    let error = Upgraded::accept(request("/"), Accept::new().subprotocol("v3"), &config);
    assert!(error.is_err());
}

#[test]
fn compression_that_was_agreed_on_elsewhere_is_spoken() {
    let (spy, log) = Spy::echo();
    let config = untimed().deflate(DeflateConfig::default());
    let (house, listener, address) = house(config.clone(), spy);
    let (server_config, handle) = (config.clone(), house.handle.clone());
    let thread = std::thread::spawn(move || {
        use std::io::Read;
        let mut stream = listener.accept().unwrap().0;
        let mut reader = framewire::handshake::RequestReader::new(HeadLimits::default());
        let request = loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            if let Some((request, _)) = reader.read(&byte).unwrap() {
                break request;
            }
        };
        let (upgraded, headers) = Upgraded::accept(request, Accept::new(), &server_config).unwrap();
        let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
        for (name, value) in headers.iter() {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        stream.write_all(&head).unwrap();
        handle.adopt_upgraded(stream, upgraded, "").unwrap();
    });
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut engine = Engine::open(stream, &config);
    thread.join().unwrap();
    assert!(engine.connection.deflate().is_some());
    for text in ["squeeze ".repeat(1000), "short".to_owned()] {
        engine.send(&*text);
        let message = engine.read_messages(1).remove(0);
        assert_eq!(message.as_text(), Some(&*text));
    }
    assert!(engine.close(1000, "").was_clean());
    house.stop(log);
}

#[test]
fn a_handler_may_still_reject_what_another_server_has_upgraded() {
    let (pendings, doors) = channel::<Pending<u64>>();
    let (spy, mut log) = Spy::echo();
    let spy = spy.deciding(move |request| match request.path() {
        "/busy" => Decision::reject(Response::service_unavailable()),
        "/broken" => Decision::reject(Response::new(500).reason("x".repeat(200)).unwrap()),
        "/later" => {
            let pendings = pendings.clone();
            Decision::defer(move |pending| pendings.send(pending).unwrap())
        }
        _ => Decision::reject(Response::forbidden()),
    });
    let (house, listener, address) = house(untimed(), spy);
    for (path, close) in [
        ("/", (1008, "403 Forbidden")),
        ("/busy", (1013, "503 Service Unavailable")),
        ("/broken", (1011, "")),
    ] {
        let (mut client, stream) = pair(&listener, address);
        let upgraded = Upgraded::new(request(path));
        house.handle.adopt_upgraded(stream, upgraded, frame(TEXT, "never seen")).unwrap();
        let (code, reason) = close;
        assert_eq!(client.read_close(), (code, reason.to_owned()));
        client.read_eof();
    }
    let (mut client, stream) = pair(&listener, address);
    let upgraded = Upgraded::new(request("/later"));
    house.handle.adopt_upgraded(stream, upgraded, frame(TEXT, "kept")).unwrap();
    doors.recv_timeout(PATIENCE).unwrap().accept(0);
    assert_eq!(client.read_text(), "kept");
    log.next_open();
    drop(client);
    assert_eq!(log.wait_for_close(), Outcome::Lost { sent: None, received: None, cause: None });
    house.stop(log);
}

#[test]
fn an_adopted_client_that_is_gone_is_forgotten() {
    let (spy, mut log) = Spy::echo();
    let (house, listener, address) = house(untimed(), spy);
    let (client, stream) = pair(&listener, address);
    client.stream.shutdown(Shutdown::Both).unwrap();
    drop(client);
    house.handle.adopt(stream, REQUEST, frame(TEXT, "last words")).unwrap();
    log.next_open();
    assert!(
        matches!(log.next(), Call::Message(_, message) if message.as_text() == Some("last words"))
    );
    log.wait_for_close();
    house.stop(log);
}

#[cfg(unix)]
#[test]
fn unix_domain_sockets_are_adopted() {
    use std::os::unix::net::UnixStream;
    let (spy, log) = Spy::echo();
    let house = House::of(Server::unbound().config(untimed()), spy);
    let (near, far) = UnixStream::pair().unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    house.handle.adopt(far, REQUEST, frame(TEXT, "hello")).unwrap();
    let mut client = Client::over(near);
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.read_text(), "hello");
    drop(client);
    house.stop(log);
}
