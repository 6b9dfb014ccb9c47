//! Who is let in, and what is told of those who are not.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use framewire::handshake::{Cookie, RequestError, SameSite};
use framewire::{
    Accept, Attempt, Config, Decision, Handler, IncomingRequest, Message, OpeningError, Peer,
    Pending, Response, Routes, Server,
};

use crate::client::{Client, REQUEST, TEXT, request_with};
use crate::house::{House, Spy, eventually};
use crate::untimed::{PATIENCE, untimed, untimed_server};

fn status_of(config: &Config, request: &str) -> u16 {
    let (spy, log) = Spy::echo();
    let house = House::new(config.clone(), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(request);
    let head = client.read_head();
    let status = head[9..12].parse().unwrap();
    drop(client);
    house.stop(log);
    status
}

#[test]
fn pages_of_the_same_origin_pass() {
    let from = |origin: &str| request_with(&format!("Origin: {origin}\r\n"));
    let config = untimed().same_origin();
    assert_eq!(status_of(&config, &from("https://example.com")), 101);
    assert_eq!(status_of(&config, &from("http://EXAMPLE.com")), 101);
    assert_eq!(status_of(&config, &from("http://example.com:8080")), 403);
    assert_eq!(status_of(&config, &from("https://evil.example")), 403);
    assert_eq!(status_of(&config, &from("null")), 403);
    assert_eq!(status_of(&config, REQUEST), 101);
    let either = config.origins(["https://partner.example"]);
    assert_eq!(status_of(&either, &from("https://partner.example")), 101);
    assert_eq!(status_of(&either, &from("https://example.com")), 101);
    assert_eq!(status_of(&either, &from("https://evil.example")), 403);
    assert_eq!(status_of(&untimed(), &from("https://evil.example")), 101);
    // Version 8 has a name of its own for it.
    let draft = request_with("Sec-WebSocket-Origin: https://evil.example\r\n");
    let draft = draft.replace("Version: 13", "Version: 8");
    assert_eq!(status_of(&untimed().same_origin(), &draft), 403);
}

// behaviour: b4
// attack: HS36
#[test]
fn b4_only_hosts_on_the_list_pass() {
    let asked = |host: &str| REQUEST.replace("example.com", host);
    let vite = untimed().local_hosts().hosts(["dev.example", ".test.example"]);
    for (host, local, listed) in [
        ("localhost:5173", true, true),
        ("app.localhost", true, true),
        ("127.0.0.1:80", true, true),
        ("[::1]:80", true, true),
        ("dev.example", false, true),
        ("DEV.example:81", false, true),
        ("www.dev.example", false, false),
        ("test.example", false, true),
        ("a.b.test.example", false, true),
        ("evil.example", false, false),
        ("localhost.evil.example", false, false),
    ] {
        let status = |passes| if passes { 101 } else { 403 };
        let only_local = untimed().local_hosts();
        assert_eq!(status_of(&only_local, &asked(host)), status(local), "{host}");
        assert_eq!(status_of(&vite, &asked(host)), status(listed), "{host}");
    }
    assert_eq!(status_of(&untimed().hosts(["dev.example"]), &asked("localhost")), 403);
    // A page must not be read either.
    let page = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(status_of(&vite, page), 403);
    assert_eq!(status_of(&vite, &page.replace("evil.example", "localhost")), 426);
    // The absolute form counts, as RFC 9112 has it.
    let absolute = REQUEST.replace("/chat", "http://evil.example/chat");
    assert_eq!(status_of(&vite, &absolute.replace("Host: example.com", "Host: localhost")), 403);
}

#[test]
fn cookies_are_set_and_read() {
    let (spy, log) = Spy::new(|_, _| {});
    let spy = spy.deciding(|request| {
        let cookie = Cookie::new("session", "31d4d96e").unwrap().http_only();
        let cookie = cookie.same_site(SameSite::Lax);
        match request.cookie("name") {
            Some(name) => {
                let name = Cookie::new("seen", name).unwrap();
                Decision::accept_with(Accept::new().cookie(&cookie).cookie(&name), 0)
            }
            None => Decision::reject(Response::new(401).cookie(&cookie)),
        }
    });
    let house = House::new(untimed(), spy);
    let mut client = Client::connect(house.address);
    client.send_raw(request_with("Cookie: a=b; name=ann\r\n"));
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let set = "\r\nSet-Cookie: session=31d4d96e; HttpOnly; SameSite=Lax\r\n";
    assert!(head.contains(set) && head.contains("\r\nSet-Cookie: seen=ann\r\n"), "{head}");
    let answer = Client::ask(house.address, REQUEST);
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains(set), "{answer}");
    drop(client);
    house.stop(log);
}

// attack: FL05
#[test]
fn more_connections_from_one_address_than_allowed_are_answered_429() {
    let (spy, log) = Spy::echo();
    let server = untimed_server().max_connections_per_ip(2);
    let house = House::of(server, spy);
    let mut clients: Vec<_> = (0..2).map(|_| Client::open(house.address)).collect();
    for _ in 0..20 {
        let answer = Client::ask(house.address, "");
        assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    }
    // What is counted is gone with its connection.
    for _ in 0..10 {
        let mut gone = clients.pop().unwrap();
        gone.send_close(1000, "");
        gone.read_close();
        gone.read_eof();
        drop(gone);
        eventually("a new one is let in", || {
            let mut client = Client::connect(house.address);
            let _ = std::io::Write::write_all(&mut client.stream, REQUEST.as_bytes());
            let is_in = client.read_head().starts_with("HTTP/1.1 101 ");
            if is_in {
                clients.push(client);
            }
            is_in
        });
    }
    for client in &mut clients {
        client.send_frame(TEXT, "still here");
        assert_eq!(client.read_text(), "still here");
    }
    drop(clients);
    house.stop(log);
}

#[cfg(unix)]
#[test]
fn unix_domain_sockets_have_no_address_to_count() {
    use std::os::unix::net::UnixStream;
    let (spy, log) = Spy::echo();
    let house = House::of(Server::unbound().config(untimed()).max_connections_per_ip(0), spy);
    for _ in 0..3 {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        house.handle.adopt(far, REQUEST, "").unwrap();
        assert!(Client::over(near).read_head().starts_with("HTTP/1.1 101 "));
    }
    house.stop(log);
}

/// Tells of all who are not let in, and answers some of them in its own words.
struct Doorkeeper {
    refusals: Sender<(OpeningError, Option<SocketAddr>)>,
    pending: Sender<Pending<()>>,
}

impl Handler for Doorkeeper {
    type Session = ();

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        match request.path() {
            "/no" => Decision::reject(Response::forbidden()),
            "/odd" => Decision::accept_with(Accept::new().subprotocol("not offered"), ()),
            "/later" => {
                let pending = self.pending.clone();
                Decision::defer(move |one| pending.send(one).unwrap())
            }
            _ => Decision::accept(()),
        }
    }

    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        let _ = self.refusals.send((error.clone(), attempt.caller().address()));
        let own = |status| Some(Response::new(status).body(format!("in our words: {error}\n")));
        match error {
            OpeningError::Handshake(RequestError::PathNotServed) => own(410),
            OpeningError::Handshake(RequestError::DecisionTimeout) => own(504),
            OpeningError::Rejected(response) if response.status() == 403 => own(401),
            OpeningError::TooManyConnections => own(500),
            // As good as 101: no final answer.
            _ => None,
        }
    }

    fn on_message(&mut self, _peer: &mut Peer<'_>, _message: Message<'_>) {}
}

type Refusals = Receiver<(OpeningError, Option<SocketAddr>)>;

fn doorkeeper() -> (Doorkeeper, Refusals, Receiver<Pending<()>>) {
    let ((refusals, told), (pending, doors)) = (channel(), channel());
    (Doorkeeper { refusals, pending }, told, doors)
}

fn next(told: &Refusals) -> OpeningError {
    let (error, address) = told.recv_timeout(PATIENCE).expect("a refusal");
    assert!(address.is_none_or(|address| address.ip().is_loopback()));
    error
}

// behaviour: a2, a3
#[test]
fn a3_every_opening_that_fails_is_told_of_once() {
    let (handler, told, doors) = doorkeeper();
    let house = House::new(untimed().path("/chat"), handler);
    // A request at fault, answered as usual.
    let answer = Client::ask(house.address, REQUEST.replace("GET", "POST"));
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let error = next(&told);
    assert!(matches!(error, OpeningError::Handshake(RequestError::MethodNotAllowed)), "{error}");
    // One that is refused by the settings, answered in other words.
    let answer = Client::ask(house.address, REQUEST.replace("/chat", "/other"));
    assert!(answer.starts_with("HTTP/1.1 410 Gone\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nin our words: nothing is served at this path\n"), "{answer}");
    let error = next(&told);
    assert!(matches!(error, OpeningError::Handshake(RequestError::PathNotServed)), "{error}");
    // One that goes away, and one whose plain request is answered, which is no failure.
    let mut hasty = Client::connect(house.address);
    hasty.send_raw("GET");
    drop(hasty);
    assert!(matches!(next(&told), OpeningError::Lost));
    let plain = "GET /chat HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(Client::ask(house.address, plain).starts_with("HTTP/1.1 426 "));
    // And one that is let in.
    drop(Client::open(house.address));
    drop((house, doors));
    assert!(told.try_recv().is_err());
}

#[test]
fn what_takes_too_long_is_told_of() {
    let short = Duration::from_millis(60);
    let (handler, told, _doors) = doorkeeper();
    let house = House::new(untimed().handshake_timeout(short), handler);
    assert!(Client::connect(house.address).is_gone());
    let error = next(&told);
    assert!(matches!(error, OpeningError::Handshake(RequestError::Timeout)), "{error}");
    let (handler, told, doors) = doorkeeper();
    let house = House::new(untimed().decision_timeout(short), handler);
    let answer = Client::ask(house.address, REQUEST.replace("/chat", "/later"));
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let error = next(&told);
    assert!(matches!(error, OpeningError::Handshake(RequestError::DecisionTimeout)), "{error}");
    drop(doors.recv_timeout(PATIENCE).unwrap());
    drop(house);
    assert!(told.try_recv().is_err());
}

#[test]
fn what_the_handler_refuses_is_told_of_too() {
    let (handler, told, doors) = doorkeeper();
    let house = House::new(untimed(), handler);
    let ask = |path: &str| Client::ask(house.address, REQUEST.replace("/chat", path));
    let answer = ask("/no");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(matches!(next(&told), OpeningError::Rejected(r) if r.status() == 403));
    let answer = ask("/odd");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(matches!(next(&told), OpeningError::Rejected(r) if r.status() == 500));
    // It was decided by somebody else.
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST.replace("/chat", "/later"));
    doors.recv_timeout(PATIENCE).unwrap().reject(Response::new(402));
    assert!(client.read_head().starts_with("HTTP/1.1 402 "));
    assert!(matches!(next(&told), OpeningError::Rejected(r) if r.status() == 402));
    // Or the client did not wait.
    let mut client = Client::connect(house.address);
    client.send_raw(REQUEST.replace("/chat", "/later"));
    let pending = doors.recv_timeout(PATIENCE).unwrap();
    drop(client);
    assert!(matches!(next(&told), OpeningError::Lost));
    drop(pending);
    drop(house);
    assert!(told.try_recv().is_err());
}

#[test]
fn who_finds_no_room_is_told_of() {
    let (handler, told, _doors) = doorkeeper();
    let server = untimed_server().max_connections(2);
    let house = House::of(server.max_connections_per_ip(1), handler);
    let first = Client::open(house.address);
    let answer = Client::ask(house.address, "");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(matches!(next(&told), OpeningError::TooManyFromAddress));
    drop(first);
    let (handler, told, _doors) = doorkeeper();
    let house = House::of(untimed_server().max_connections(0).spare_connections(0), handler);
    let answer = Client::ask(house.address, "");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nin our words: too many connections\n"), "{answer}");
    assert!(matches!(next(&told), OpeningError::TooManyConnections));
}

// behaviour: a3
#[test]
fn a3_11_a_server_that_shuts_down_answers_503() {
    let (handler, told, _doors) = doorkeeper();
    let mut house = House::new(untimed(), handler);
    let open = Client::open(house.address);
    let mut late = Client::connect(house.address);
    late.send_raw(&REQUEST[..20]);
    // The connection is there once something comes behind it.
    let mut behind = Client::connect(house.address);
    behind.send_raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    behind.read_head();
    house.handle.shutdown(1001, "", PATIENCE).unwrap();
    let mut open = open;
    assert_eq!(open.read_close().0, 1001);
    late.send_raw(&REQUEST[20..]);
    assert!(late.read_head().starts_with("HTTP/1.1 503 "));
    assert!(matches!(next(&told), OpeningError::ShuttingDown));
    open.send_close(1001, "");
    drop((open, late, behind));
    house.join();
}

#[test]
fn routes_ask_the_handler_of_the_rest() {
    let (handler, told, _doors) = doorkeeper();
    let server = untimed_server();
    let house = House::made_by(server, move || {
        let (inner, ..) = doorkeeper();
        let config = untimed().local_hosts();
        Routes::new().route("/no", config, inner).unwrap().otherwise(handler)
    });
    let local = REQUEST.replace("example.com", "localhost");
    let answer = Client::ask(house.address, local.replace("/chat", "/no"));
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(matches!(next(&told), OpeningError::Rejected(r) if r.status() == 403));
    let answer = Client::ask(house.address, REQUEST.replace("/chat", "/no"));
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(matches!(next(&told), OpeningError::Rejected(r) if r.status() == 403));
    let page = "GET /no HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let answer = Client::ask(house.address, page);
    assert!(answer.ends_with("\r\n\r\nthis host is not served here\n"), "{answer}");
}
