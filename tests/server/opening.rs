//! Requests over real sockets, and the answers to them.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use framewire::{Accept, Config, Decision, Response, Server};

use crate::client::{Client, REQUEST, TEXT, frame, request_with};
use crate::house::{Call, House, Spy, eventually};
use crate::untimed::{untimed, untimed_server};

// behaviour: a4
#[test]
fn what_on_open_sends_stands_right_behind_the_answer() {
    let (spy, log) = Spy::new(|peer, call| {
        if let Call::Open(id) = call {
            assert_eq!(peer.request().unwrap().path(), "/chat");
            assert!(peer.peers().ids().contains(id));
            assert_eq!((peer.peers().connections(), peer.is_paused()), (1, false));
            peer.send("first");
            peer.send("second");
        } else {
            assert_eq!(peer.request(), None);
            peer.send("seen");
        }
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST);
    let head = client.read_head();
    assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert_eq!(client.read_text(), "first");
    assert_eq!(client.read_text(), "second");
    client.send_frame(TEXT, "for a look at the request");
    assert_eq!(client.read_text(), "seen");
    drop(client);
    assert_eq!(house.stop(log).len(), 3);
}

#[test]
fn requests_are_kept_where_wanted() {
    let (spy, log) = Spy::new(|peer, call| {
        if let Call::Message(..) = call {
            let request = peer.request().unwrap().clone();
            peer.send(request.target());
        }
    });
    let server = untimed_server().keep_requests(true);
    let house = House::of(server, spy);
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST.replace("/chat", "/chat?room=1"));
    client.read_head();
    client.send_frame(TEXT, "");
    assert_eq!(client.read_text(), "/chat?room=1");
    drop(client);
    house.stop(log);
}

#[test]
fn an_upgrade_is_accepted_with_a_subprotocol_and_headers() {
    let (spy, log) = Spy::new(|peer, call| {
        if let Call::Open(_) = call {
            assert_eq!(peer.subprotocol(), Some("v1"));
        }
    });
    let spy = spy.deciding(|request| {
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["v2", "v1"]);
        let accept = Accept::new().subprotocol("v1").header("Set-Cookie", "seen=1").unwrap();
        Decision::accept_with(accept, 0)
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(request_with("Sec-WebSocket-Protocol: v2, v1\r\n"));
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Protocol: v1\r\n"), "{head}");
    assert!(head.contains("\r\nSet-Cookie: seen=1\r\n"), "{head}");
    drop(client);
    assert_eq!(house.stop(log).len(), 2);
}

// behaviour: a3
#[test]
fn an_upgrade_is_rejected_with_a_status_headers_and_a_body() {
    let (spy, log) = Spy::new(|_, _| {});
    let spy = spy.deciding(|_| {
        let response = Response::new(401).header("WWW-Authenticate", "Basic").unwrap();
        Decision::reject(response.body("who are you?\n"))
    });
    let house = House::new(untimed(), spy);
    let answer = Client::ask(house.address, REQUEST);
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.contains("\r\nWWW-Authenticate: Basic\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwho are you?\n"), "{answer}");
    assert_eq!(house.stop(log), []);
}

#[test]
fn a_subprotocol_that_was_not_offered_is_the_servers_fault() {
    let (spy, log) = Spy::new(|_, _| {});
    let spy = spy.deciding(|_| Decision::accept_with(Accept::new().subprotocol("v9"), 0));
    let house = House::new(untimed(), spy);
    let answer = Client::ask(house.address, REQUEST);
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_eq!(house.stop(log), []);
}

// attack: HS16
// behaviour: a2
#[test]
fn plain_requests_are_answered_by_426_or_by_the_handler() {
    const PLAIN: &str = "GET /index.html HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let (spy, log) = Spy::new(|_, _| {});
    let house = House::new(untimed(), spy);
    let answer = Client::ask(house.address, PLAIN);
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("\r\nSec-WebSocket-Version: 13, 8\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert_eq!(house.stop(log), []);

    let (spy, log) = Spy::new(|_, _| {});
    let page = vec![b'x'; 3 << 20];
    let body = page.clone();
    let spy = spy.answering(move |request| {
        assert_eq!(request.path(), "/index.html");
        Response::new(200).body(body.clone())
    });
    let house = House::new(untimed(), spy);
    let answer = Client::ask(house.address, PLAIN);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(answer.as_bytes().ends_with(&page));
    // A client that ends its direction behind the request gets its answer too.
    let mut client = Client::connect(house.address);
    client.send_raw(PLAIN);
    client.half_close();
    assert!(client.read_to_end().ends_with(&page));
    assert_eq!(house.stop(log), []);
}

// req: W106, W114, W117
// attack: HS04, HS14, HS15
#[test]
fn a_request_that_cannot_be_served_is_answered_and_the_connection_ends() {
    let (spy, log) = Spy::new(|_, _| {});
    let config = untimed()
        .path("/chat")
        .origins(["https://example.com"])
        .max_head_size(2048)
        .max_request_line(256);
    let house = House::new(config, spy);
    let long = "x".repeat(3000);
    for (request, status) in [
        (REQUEST.replace("GET", "POST"), 405),
        (REQUEST.replace("HTTP/1.1", "HTTP/2.0"), 505),
        (REQUEST.replace("/chat", &format!("/{long}")), 414),
        (request_with(&format!("X: {long}\r\n")), 431),
        (REQUEST.replace("Host: example.com\r\n", ""), 400),
        (REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (REQUEST.replace("Version: 13", "Version: 12"), 426),
        (REQUEST.replace("/chat", "/other"), 404),
        (request_with("Origin: https://evil.example\r\n"), 403),
        ("\x16\x03\x01\x02\x00\x01\x00\x01".to_owned(), 400),
    ] {
        let answer = Client::ask(house.address, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    let mut client = Client::connect(house.address);
    client.send_raw(request_with("Origin: https://example.com\r\n"));
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    drop(client);
    assert_eq!(house.stop(log).len(), 2);
}

// attack: HS30, HS31
#[test]
fn what_follows_a_refused_request_is_never_processed() {
    let decisions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&decisions);
    let (spy, log) = Spy::new(|_, _| {});
    let spy = spy.deciding(move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.path(), "/first");
        Decision::reject(Response::forbidden())
    });
    let house = House::new(untimed(), spy);
    let first = REQUEST.replace("/chat", "/first");
    let bytes = [first.as_bytes(), REQUEST.as_bytes(), &frame(TEXT, "smuggled")].concat();
    for split in [bytes.len(), first.len(), first.len() + 10] {
        let mut client = Client::connect(house.address);
        client.send_raw(&bytes[..split]);
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        let _ = client.stream.write_all(&bytes[split..]);
        assert_eq!(client.read_to_end(), b"forbidden\n");
    }
    assert_eq!(decisions.load(Ordering::SeqCst), 3);
    assert_eq!(house.stop(log), []);
}

// attack: HS07
#[test]
fn a_connection_that_ends_before_or_inside_its_request_is_forgotten() {
    let (spy, log) = Spy::new(|_, _| {});
    let mut event_loop = untimed_server().into_event_loop(spy).unwrap();
    let address = event_loop.local_addr().unwrap();
    for length in [0, 1, 20, REQUEST.len() - 1] {
        let mut client = Client::connect(address);
        client.send_raw(&REQUEST[..length]);
        eventually("accepted", || {
            event_loop.run_once(Some(std::time::Duration::from_millis(1))).unwrap();
            event_loop.connections() == 1
        });
        drop(client);
        eventually("forgotten", || {
            event_loop.run_once(Some(std::time::Duration::from_millis(1))).unwrap();
            event_loop.connections() == 0
        });
    }
    // A bad request whose answer the client throws away: that ends in a reset.
    let mut client = Client::connect(address);
    client.send_raw("nonsense\r\n\r\n");
    eventually("the answer has come", || {
        event_loop.run_once(Some(std::time::Duration::from_millis(1))).unwrap();
        client.stream.set_nonblocking(true).unwrap();
        client.stream.peek(&mut [0]).is_ok()
    });
    drop(client);
    eventually("forgotten", || {
        event_loop.run_once(Some(std::time::Duration::from_millis(1))).unwrap();
        event_loop.connections() == 0
    });
    drop((event_loop, log));
}

// attack: FL05
#[test]
fn more_connections_than_allowed_are_answered_503() {
    let (spy, log) = Spy::echo();
    let server = untimed_server().max_connections(3).spare_connections(0);
    let house = House::of(server, spy);
    let mut clients: Vec<_> = (0..3).map(|_| Client::open(house.address)).collect();
    for _ in 0..50 {
        let answer = Client::ask(house.address, "");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    for client in &mut clients {
        client.send_frame(TEXT, "still here");
        assert_eq!(client.read_text(), "still here");
    }
    let mut gone = clients.pop().unwrap();
    gone.send_close(1000, "");
    gone.read_close();
    gone.read_eof();
    drop(gone);
    // There is room again once the server has seen the end of the third.
    eventually("a new one is let in", || {
        let mut client = Client::connect(house.address);
        let _ = client.stream.write_all(REQUEST.as_bytes());
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
    drop(clients);
    house.stop(log);
}

// attack: AP03
#[test]
fn a_configuration_that_cannot_work_is_refused() {
    for config in [
        Config::new().max_head_size(0),
        Config::new().max_fragments(0),
        Config::new().output_low_water(usize::MAX),
        Config::new().path("no slash"),
        Config::new().subprotocols(["not a token"]),
    ] {
        let server = untimed_server().config(config);
        let error = server.on_message(|_, _| {}).into_event_loop().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
        assert!(error.get_ref().unwrap().is::<framewire::InvalidConfig>());
    }
}

#[test]
fn several_listeners_are_served_by_one_loop() {
    let (spy, log) = Spy::echo();
    let made = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = made.local_addr().unwrap();
    let third = untimed_server();
    let third_address = third.local_addr().unwrap();
    let server = untimed_server().and(Server::from_listener(made).unwrap()).and(third);
    let house = House::of(server, spy);
    let mut clients: Vec<_> =
        [house.address, second, third_address].into_iter().map(Client::open).collect();
    for client in &mut clients {
        client.send_frame(TEXT, "hello");
        assert_eq!(client.read_text(), "hello");
    }
    drop(clients);
    assert_eq!(house.stop(log).len(), 9);
}

#[cfg(unix)]
#[test]
fn unix_domain_sockets_are_served() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let directory = std::env::temp_dir().join(format!("framewire-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (one, two) = (directory.join("one"), directory.join("two"));
    let (spy, log) = Spy::new(|peer, call| {
        assert_eq!(peer.peer_addr().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
        crate::house::echo(peer, call);
    });
    let listener = UnixListener::bind(&two).unwrap();
    let server =
        Server::bind_unix(&one).unwrap().and(Server::from_unix_listener(listener).unwrap());
    assert_eq!(server.local_addr().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    let house = House::of(server, spy);
    for path in [&one, &two] {
        let mut client = Client::over(UnixStream::connect(path).unwrap());
        client.upgrade();
        for length in [0, 5, 70_000, 3 << 20] {
            let payload = vec![b'u'; length];
            let mut twin = Client::over(client.stream.try_clone().unwrap());
            let bytes = frame(TEXT, &payload);
            let writer = std::thread::spawn(move || twin.send_raw(bytes));
            assert!(client.read_message(TEXT) == payload);
            writer.join().unwrap();
        }
        client.send_close(1000, "bye");
        assert_eq!(client.read_close(), (1000, "bye".to_owned()));
        client.read_eof();
    }
    house.stop(log);
    std::fs::remove_dir_all(&directory).unwrap();
}
