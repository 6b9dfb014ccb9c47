//! Who has connected: by the socket, by the PROXY protocol, and by the header fields of trusted proxies.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use framewire::handshake::{ForwardedFields, ProxyHeaderError, RequestError};
use framewire::{
    Attempt, Caller, Config, Decision, Handler, IncomingRequest, Message, OpeningError, Peer,
    ProxyProtocol, Response, Server, TrustedProxies,
};

use crate::client::{Client, REQUEST, TEXT, request_with};
use crate::house::{House, eventually};
use crate::untimed::{PATIENCE, longer_and_longer, untimed, untimed_server};

/// Tells who comes.
struct Porter {
    callers: Sender<Caller>,
    attempts: Sender<(OpeningError, Attempt)>,
}

impl Handler for Porter {
    type Session = ();

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        self.callers.send(request.caller().clone()).unwrap();
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        assert_eq!(peer.peer_addr().ok(), peer.caller().address());
        self.callers.send(peer.caller()).unwrap();
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }

    fn on_handshake_error(&mut self, error: &OpeningError, attempt: &Attempt) -> Option<Response> {
        self.attempts.send((error.clone(), attempt.clone())).unwrap();
        None
    }
}

struct Gate {
    house: House,
    callers: Receiver<Caller>,
    attempts: Receiver<(OpeningError, Attempt)>,
}

impl Gate {
    fn of(server: Server) -> Self {
        let ((send_caller, callers), (send_attempt, attempts)) = (channel(), channel());
        let porter = Porter { callers: send_caller, attempts: send_attempt };
        Self { house: House::of(server, porter), callers, attempts }
    }

    fn behind(proxies: TrustedProxies) -> Self {
        Self::of(untimed_server().config(untimed().trusted_proxies(proxies)))
    }

    /// The caller of a connection that has opened, which is the same before and after.
    fn caller(&self) -> Caller {
        let caller = self.callers.recv_timeout(PATIENCE).expect("a caller");
        assert_eq!(self.callers.recv_timeout(PATIENCE).expect("a caller"), caller);
        caller
    }

    fn attempt(&self) -> (OpeningError, Attempt) {
        self.attempts.recv_timeout(PATIENCE).expect("an attempt")
    }

    /// Opens a connection with these bytes in front of its request.
    fn open_behind(&self, header: impl AsRef<[u8]>) -> Client {
        let mut client = Client::connect(self.house.address);
        client.send_raw([header.as_ref(), REQUEST.as_bytes()].concat());
        opened(&mut client);
        client
    }

    /// Opens a connection with further lines in its request.
    fn open_with(&self, lines: &str) -> Client {
        let mut client = Client::connect(self.house.address);
        client.send_raw(request_with(lines));
        opened(&mut client);
        client
    }

    fn ask_with(&self, lines: &str) -> String {
        Client::ask(self.house.address, request_with(lines))
    }
}

fn opened(client: &mut Client) {
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.send_frame(TEXT, "hello");
    assert_eq!(client.read_text(), "hello");
}

fn proxies() -> TrustedProxies {
    TrustedProxies::new(["127.0.0.0/8", "10.0.0.0/8"]).unwrap()
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

const LINE: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";

/// The header of version 2 of the same, with something behind the addresses.
fn binary(command: u8) -> Vec<u8> {
    let addresses = b"\xcb\x00\x71\x07\xc0\x00\x02\x01\xdc\x04\x01\xbb";
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 19], addresses, b"\x04\x00\x04\0\0\0\0"]
        .concat()
}

fn untouched(server: Server) -> Server {
    server.config(untimed())
}

#[test]
fn a_caller_is_known_before_and_after_the_handshake() {
    let admin = Server::bind("127.0.0.1:0").unwrap().name("admin");
    let addresses = admin.local_addrs().unwrap();
    let gate = Gate::of(untimed_server().and(admin));
    for (index, (to, name)) in
        [(gate.house.address, None), (addresses[0], Some("admin"))].into_iter().enumerate()
    {
        let mut client = Client::connect(to);
        client.upgrade();
        let caller = gate.caller();
        let own = client.stream.local_addr().unwrap();
        assert_eq!((caller.address(), caller.remote_address()), (Some(own), Some(own)));
        assert_eq!((caller.ip(), caller.local_addr()), (Some(own.ip()), Some(to)));
        assert_eq!((caller.listener(), caller.listener_name()), (Some(index), name));
        assert!(caller.forwarded().is_none() && caller.proxy_header().is_none());
    }
}

#[test]
fn an_address_is_canonical_on_a_socket_of_both_families() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let gate = Gate::of(untouched(Server::bind("[::]:0").unwrap()));
    let mut client = Client::connect(([127, 0, 0, 1], gate.house.address.port()).into());
    client.upgrade();
    let caller = gate.caller();
    assert_eq!(caller.address(), Some(client.stream.local_addr().unwrap()));
    assert_eq!(caller.ip(), Some(IpAddr::from([127, 0, 0, 1])));
    assert_eq!(caller.local_addr(), Some(client.stream.peer_addr().unwrap()));
}

#[cfg(unix)]
#[test]
fn a_caller_over_a_unix_socket_has_its_path() {
    let directory = std::env::temp_dir().join(format!("framewire-caller-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let config = untimed().trusted_proxies(TrustedProxies::default().unix_sockets());
    let protocol = ProxyProtocol::optional::<&str>([]).unwrap();
    let server = Server::bind_unix(&path).unwrap().proxy_protocol(protocol).config(config);
    let gate = Gate::of(server);
    for (header, lines, expected) in [
        ("", "", None),
        ("", "X-Forwarded-For: 203.0.113.9\r\n", address("203.0.113.9:0")),
        (LINE, "", address("203.0.113.7:56324")),
        // The client of the proxy is no proxy of ours.
        (LINE, "X-Forwarded-For: 203.0.113.9\r\n", address("203.0.113.7:56324")),
        ("PROXY UNKNOWN\r\n", "X-Forwarded-For: 203.0.113.9\r\n", address("203.0.113.9:0")),
    ] {
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut client = Client::over(stream);
        client.send_raw(format!("{header}{}", request_with(lines)));
        assert!(client.read_head().starts_with("HTTP/1.1 101 "));
        let caller = gate.caller();
        assert_eq!(caller.unix_path(), Some(&*path));
        assert_eq!(
            (caller.address(), caller.remote_address()),
            (expected, None),
            "{header}{lines}"
        );
        assert_eq!(caller.local_addr(), None);
    }
    drop(gate);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_header_of_the_proxy_protocol_tells_the_caller() {
    let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
    let gate = Gate::of(untimed_server().proxy_protocol(protocol));
    for header in [LINE.as_bytes().to_vec(), binary(0x21)] {
        let client = gate.open_behind(&header);
        let caller = gate.caller();
        assert_eq!(caller.address(), address("203.0.113.7:56324"));
        assert_eq!(caller.remote_address(), Some(client.stream.local_addr().unwrap()));
        assert_eq!(caller.local_addr(), Some(gate.house.address));
        let header = caller.proxy_header().unwrap();
        assert_eq!(header.destination(), address("192.0.2.1:443"));
    }
    // Byte by byte, and in two parts of all sizes.
    let mut client = Client::connect(gate.house.address);
    for byte in [&binary(0x21)[..], REQUEST.as_bytes()].concat() {
        client.send_raw([byte]);
    }
    opened(&mut client);
    assert_eq!(gate.caller().address(), address("203.0.113.7:56324"));
    // The proxy's own connections.
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20)] {
        let client = gate.open_behind(&header);
        let caller = gate.caller();
        assert_eq!(caller.address(), Some(client.stream.local_addr().unwrap()));
        assert!(caller.proxy_header().unwrap().is_local());
    }
}

#[test]
fn what_is_no_header_of_the_proxy_protocol_is_ended() {
    let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
    let gate = Gate::of(untimed_server().proxy_protocol(protocol));
    for (bytes, expected) in [
        (REQUEST, ProxyHeaderError::Missing),
        ("\r\n\r\n\0\r\nQUIT\n\x11", ProxyHeaderError::Version(1)),
        ("PROXY TCP4 a b c d\r\n", ProxyHeaderError::Malformed("an address")),
    ] {
        let mut client = Client::connect(gate.house.address);
        client.send_raw(bytes);
        assert!(client.is_gone());
        let (error, attempt) = gate.attempt();
        assert!(matches!(error, OpeningError::ProxyHeader(error) if error == expected), "{bytes}");
        assert!(attempt.request().is_none());
    }
    // A header that does not end is waited for as long as a request is.
    drop(gate);
    for timeout in longer_and_longer().take(1) {
        let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
        let config = untimed().handshake_timeout(timeout);
        let gate = Gate::of(untimed_server().config(config).proxy_protocol(protocol));
        let mut client = Client::connect(gate.house.address);
        client.send_raw("PROXY TCP4");
        assert!(client.is_gone());
        assert!(matches!(gate.attempt().0, OpeningError::Handshake(RequestError::Timeout)));
    }
}

#[test]
fn a_client_that_leaves_within_its_header_is_lost() {
    let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
    let gate = Gate::of(untimed_server().proxy_protocol(protocol));
    let mut client = Client::connect(gate.house.address);
    client.send_raw("PROXY TCP4");
    drop(client);
    eventually("it is gone", || gate.house.handle.counters().connections == 0);
    // And the loop goes on.
    gate.open_behind(LINE);
}

#[test]
fn a_header_is_optional_where_that_is_said() {
    let protocol = ProxyProtocol::optional(["127.0.0.1"]).unwrap();
    let gate = Gate::of(untimed_server().proxy_protocol(protocol));
    let client = gate.open_behind("");
    assert_eq!(gate.caller().address(), Some(client.stream.local_addr().unwrap()));
    gate.open_behind(LINE);
    assert_eq!(gate.caller().address(), address("203.0.113.7:56324"));
    // What begins like a header of version 2, but is an empty line, is not lost.
    let client = gate.open_behind("\r\n\r\n");
    assert_eq!(gate.caller().address(), Some(client.stream.local_addr().unwrap()));
    let mut client = Client::connect(gate.house.address);
    for byte in REQUEST.bytes() {
        client.send_raw([byte]);
    }
    opened(&mut client);
}

#[test]
fn a_header_from_elsewhere_is_not_taken() {
    let protocol = ProxyProtocol::optional(["192.0.2.0/24"]).unwrap();
    let gate = Gate::of(untimed_server().proxy_protocol(protocol));
    gate.open_behind("");
    let answer = Client::ask(gate.house.address, format!("{LINE}{REQUEST}"));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("PROXY protocol"), "{answer}");
    assert!(matches!(gate.attempt().0, OpeningError::Handshake(RequestError::ProxyHeader)));
    let protocol = ProxyProtocol::required(["192.0.2.0/24"]).unwrap();
    let gate = Gate::of(untimed_server().proxy_protocol(protocol));
    let answer = Client::ask(gate.house.address, format!("{LINE}{REQUEST}"));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (error, _) = gate.attempt();
    assert!(matches!(error, OpeningError::ProxyHeader(ProxyHeaderError::NotAccepted)), "{error}");
}

#[test]
fn without_configuration_the_proxy_protocol_is_named() {
    let gate = Gate::of(untimed_server());
    for header in [LINE.as_bytes().to_vec(), binary(0x21)] {
        let answer = Client::ask(gate.house.address, [&header[..], REQUEST.as_bytes()].concat());
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("PROXY protocol"),
            "{answer}"
        );
        assert!(matches!(gate.attempt().0, OpeningError::Handshake(RequestError::ProxyHeader)));
    }
}

#[test]
fn a_trusted_proxy_tells_the_caller() {
    let gate = Gate::behind(proxies());
    for (lines, expected) in [
        ("X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7:0"),
        ("X-Forwarded-For: 1.1.1.1, 203.0.113.7\r\nX-Forwarded-For: 10.0.0.1\r\n", "203.0.113.7:0"),
        ("Forwarded: for=\"[2001:db8::7]:80\";proto=https, for=10.0.0.1\r\n", "[2001:db8::7]:80"),
    ] {
        gate.open_with(lines);
        let caller = gate.caller();
        assert_eq!(caller.address(), address(expected), "{lines}");
        assert!(caller.remote_address().unwrap().ip().is_loopback());
        assert!(caller.forwarded().is_some());
    }
    let client = gate.open_with("");
    assert_eq!(gate.caller().address(), Some(client.stream.local_addr().unwrap()));
    gate.open_with("X-Forwarded-For: unknown\r\n");
    assert_eq!(gate.caller().address(), None);
    for lines in [
        "X-Forwarded-For: garbage\r\n",
        "Forwarded: for=\"\r\n",
        "X-Forwarded-For: 203.0.113.7\r\nForwarded: for=203.0.113.8\r\n",
    ] {
        assert!(gate.ask_with(lines).starts_with("HTTP/1.1 400 "), "{lines}");
    }
}

#[test]
fn a_header_field_of_somebody_else_means_nothing() {
    for proxies in [None, Some(TrustedProxies::new(["192.0.2.1"]).unwrap())] {
        let config = untimed().same_origin();
        let config = match proxies {
            Some(proxies) => config.trusted_proxies(proxies),
            None => config,
        };
        let gate = Gate::of(untimed_server().config(config));
        let lines = "X-Forwarded-For: 203.0.113.7\r\nForwarded: for=\"\r\n";
        let client = gate.open_with(lines);
        let caller = gate.caller();
        assert_eq!(caller.address(), Some(client.stream.local_addr().unwrap()));
        assert!(caller.forwarded().is_none());
        let lines = "X-Forwarded-Host: chat.example\r\nOrigin: https://chat.example\r\n";
        assert!(gate.ask_with(lines).starts_with("HTTP/1.1 403 "));
    }
}

#[test]
fn origins_and_hosts_are_those_that_the_proxy_was_asked_for() {
    let config = |proxies| untimed().trusted_proxies(proxies).same_origin();
    let gate = Gate::of(untimed_server().config(config(proxies())));
    let origin = "Origin: https://chat.example\r\n";
    for (lines, passes) in [
        ("X-Forwarded-Host: chat.example\r\n", true),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Proto: https\r\n", true),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Proto: wss\r\n", true),
        ("X-Forwarded-Host: chat.example:443\r\n", true),
        ("Forwarded: host=chat.example;proto=https\r\n", true),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Proto: http\r\n", false),
        ("X-Forwarded-Host: chat.example:8443\r\n", false),
        ("X-Forwarded-Host: other.example\r\n", false),
        ("Forwarded: host=other.example\r\n", false),
        ("", false),
    ] {
        let lines = format!("{lines}{origin}");
        if passes {
            gate.open_with(&lines);
        } else {
            assert!(gate.ask_with(&lines).starts_with("HTTP/1.1 403 "), "{lines}");
        }
    }
    let config = untimed().trusted_proxies(proxies()).hosts(["chat.example"]);
    let gate = Gate::of(untimed_server().config(config));
    gate.open_with("X-Forwarded-Host: chat.example\r\n");
    assert!(gate.ask_with("X-Forwarded-Host: other.example\r\n").starts_with("HTTP/1.1 403 "));
}

#[test]
fn fields_that_the_proxy_does_not_write_can_be_left_out() {
    let gate = Gate::behind(proxies().fields(ForwardedFields::XForwarded));
    gate.open_with("X-Forwarded-For: 203.0.113.7\r\nForwarded: for=10.0.0.1\r\n");
    assert_eq!(gate.caller().address(), address("203.0.113.7:0"));
    let gate = Gate::behind(proxies().fields(ForwardedFields::Forwarded));
    gate.open_with("X-Forwarded-For: 203.0.113.7\r\nForwarded: for=203.0.113.8\r\n");
    assert_eq!(gate.caller().address(), address("203.0.113.8:0"));
}

/// A proxy of HTTP behind a balancer of TCP.
#[test]
fn who_comes_by_the_proxy_protocol_may_be_a_trusted_proxy() {
    let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
    let config = untimed().trusted_proxies(proxies());
    let gate = Gate::of(untimed_server().config(config).proxy_protocol(protocol));
    for (source, expected) in [("10.0.0.1", "203.0.113.9:0"), ("203.0.113.7", "203.0.113.7:1")] {
        let mut client = Client::connect(gate.house.address);
        let request = request_with("X-Forwarded-For: 203.0.113.9\r\n");
        client.send_raw(format!("PROXY TCP4 {source} 192.0.2.1 1 2\r\n{request}"));
        opened(&mut client);
        assert_eq!(gate.caller().address(), address(expected));
    }
}

#[test]
fn clients_behind_a_trusted_proxy_are_counted_each_by_itself() {
    let config = untimed().trusted_proxies(proxies());
    let gate = Gate::of(untimed_server().config(config).max_connections_per_ip(1));
    let first = gate.open_with("X-Forwarded-For: 203.0.113.7\r\n");
    let _second = gate.open_with("X-Forwarded-For: 203.0.113.8\r\n");
    let answer = gate.ask_with("X-Forwarded-For: 203.0.113.7\r\n");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    let (error, attempt) = gate.attempt();
    assert!(matches!(error, OpeningError::TooManyFromAddress), "{error}");
    assert_eq!(attempt.caller().address(), address("203.0.113.7:0"));
    let plain = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    assert!(Client::ask(gate.house.address, plain).starts_with("HTTP/1.1 429 "));
    drop(first);
    eventually("there is room again", || {
        Client::ask(gate.house.address, plain).starts_with("HTTP/1.1 426 ")
    });
}

#[test]
fn clients_behind_the_proxy_protocol_are_counted_each_by_itself() {
    let protocol = ProxyProtocol::optional(["127.0.0.1"]).unwrap();
    let gate = Gate::of(untimed_server().proxy_protocol(protocol).max_connections_per_ip(1));
    let first = gate.open_behind(LINE);
    let _second = gate.open_behind(LINE.replace("113.7", "113.8"));
    let _third = gate.open_behind("");
    for (header, from) in [(LINE, address("203.0.113.7:56324")), ("", None)] {
        let answer = Client::ask(gate.house.address, format!("{header}{REQUEST}"));
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        let (error, attempt) = gate.attempt();
        assert!(matches!(error, OpeningError::TooManyFromAddress), "{error}");
        assert!(from.is_none() || attempt.caller().address() == from);
    }
    eventually("they are gone", || gate.house.handle.counters().connections == 3);
    let counters = gate.house.handle.counters();
    assert_eq!((counters.refused, counters.handshakes.lost), (2, 0));
    drop(first);
    eventually("there is room again", || {
        let plain = format!("{LINE}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        Client::ask(gate.house.address, plain).starts_with("HTTP/1.1 426 ")
    });
}

#[test]
fn an_attempt_has_what_was_read_of_the_request() {
    let config =
        Config::clone(&untimed()).path("/chat").handshake_timeout(Duration::from_millis(1));
    let gate = Gate::of(untimed_server().config(untimed().path("/chat")));
    let answer = Client::ask(gate.house.address, REQUEST.replace("/chat", "/other?a"));
    assert!(answer.starts_with("HTTP/1.1 404 "));
    let (_, attempt) = gate.attempt();
    assert_eq!(attempt.request().unwrap().target(), "/other?a");
    assert!(attempt.head().is_empty() && attempt.caller().ip().is_some());
    assert!(
        Client::ask(gate.house.address, "GET /chat HTTP/1.1\r\nHost: a b\r\n\r\n")
            .starts_with("HTTP/1.1 400 ")
    );
    let (_, attempt) = gate.attempt();
    assert!(attempt.request().is_none());
    assert_eq!(attempt.head(), b"GET /chat HTTP/1.1\r\nHost: a b\r\n\r\n");
    // One that leaves, and one that is late, in the middle of it.
    let mut client = Client::connect(gate.house.address);
    client.send_raw("GET /chat HT");
    drop(client);
    let (error, attempt) = gate.attempt();
    assert!(matches!(error, OpeningError::Lost), "{error}");
    assert_eq!(attempt.head(), b"GET /chat HT");
    let gate = Gate::of(untimed_server().config(config));
    let mut client = Client::connect(gate.house.address);
    assert!(client.is_gone());
    let (error, _) = gate.attempt();
    assert!(matches!(error, OpeningError::Handshake(RequestError::Timeout)), "{error}");
}

#[test]
fn plain_and_deferred_requests_have_their_caller() {
    struct Later(Sender<Caller>);

    impl Handler for Later {
        type Session = ();

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            let sender = self.0.clone();
            Decision::defer(move |pending| {
                std::thread::spawn(move || {
                    sender.send(pending.request().caller().clone()).unwrap();
                    pending.reject(Response::forbidden());
                });
            })
        }

        fn on_http(&mut self, request: &IncomingRequest) -> framewire::HttpAnswer {
            self.0.send(request.caller().clone()).unwrap();
            Response::not_found().into()
        }

        fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}
    }

    let (sender, callers) = channel();
    let server = untimed_server().config(untimed().trusted_proxies(proxies()));
    let house = House::made_by(server, move || {
        framewire::Routes::new().route("/chat", untimed(), Later(sender)).unwrap()
    });
    let lines = "X-Forwarded-For: 203.0.113.7\r\n";
    let plain = format!("GET /chat HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    assert!(Client::ask(house.address, request_with(lines)).starts_with("HTTP/1.1 403 "));
    assert!(Client::ask(house.address, plain).starts_with("HTTP/1.1 404 "));
    for _ in 0..2 {
        let caller = callers.recv_timeout(PATIENCE).unwrap();
        assert_eq!(caller.address(), address("203.0.113.7:0"));
    }
}

#[test]
fn a_connection_that_another_has_upgraded_has_its_caller() {
    use framewire::Upgraded;
    use framewire::handshake::{HeadLimits, RequestParts};
    let (sender, callers) = channel();
    let (attempts, _attempts) = channel();
    let server = Server::unbound().config(untimed().trusted_proxies(proxies()));
    let house = House::of(server, Porter { callers: sender, attempts });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (field, expected) in [("203.0.113.7", address("203.0.113.7:0")), ("garbage", None)] {
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let request = RequestParts::new("GET", "/").unwrap();
        let request = request.header("Host", "a").unwrap();
        let request = request.header("X-Forwarded-For", field).unwrap();
        let request = request.header("Upgrade", "websocket").unwrap();
        let request = request.header("Connection", "Upgrade").unwrap();
        let request = request.header("Sec-WebSocket-Version", "13").unwrap();
        let request = request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        let upgraded = Upgraded::new(request.read(HeadLimits::default()).unwrap());
        house.handle.adopt_upgraded(stream, upgraded, "").unwrap();
        for _ in 0..2 {
            let caller = callers.recv_timeout(PATIENCE).unwrap();
            assert_eq!((caller.address(), caller.listener()), (expected, None));
            assert_eq!(caller.remote_address(), Some(client.local_addr().unwrap()));
        }
    }
}

#[test]
fn what_the_handler_rejects_has_its_request() {
    struct No(Sender<Attempt>);

    impl Handler for No {
        type Session = ();

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
            Decision::reject(Response::forbidden())
        }

        fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

        fn on_handshake_error(&mut self, _: &OpeningError, attempt: &Attempt) -> Option<Response> {
            self.0.send(attempt.clone()).unwrap();
            None
        }
    }

    let (sender, attempts) = channel();
    let house = House::of(untimed_server(), No(sender));
    assert!(Client::ask(house.address, REQUEST).starts_with("HTTP/1.1 403 "));
    let attempt = attempts.recv_timeout(PATIENCE).unwrap();
    assert_eq!(attempt.request().unwrap().path(), "/chat");
}

/// Where several loops serve one port, the one that serves knows what the one that accepts did.
#[test]
fn the_listener_is_known_in_every_loop() {
    let protocol = ProxyProtocol::required(["127.0.0.1"]).unwrap();
    let server = untimed_server()
        .and(Server::bind("127.0.0.1:0").unwrap().name("inner").proxy_protocol(protocol));
    let to = server.local_addrs().unwrap()[1];
    let loops = server.threads(2).unwrap();
    let handle = loops.handle();
    let (sender, callers) = channel();
    let (attempts, _attempts) = channel();
    let thread = std::thread::spawn(move || {
        loops.run(move |_| Porter { callers: sender.clone(), attempts: attempts.clone() }).unwrap();
    });
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(to);
        client.send_raw(format!("{LINE}{REQUEST}"));
        opened(&mut client);
        clients.push(client);
        for _ in 0..2 {
            let caller = callers.recv_timeout(PATIENCE).unwrap();
            assert_eq!((caller.listener(), caller.listener_name()), (Some(1), Some("inner")));
            assert_eq!(caller.address(), address("203.0.113.7:56324"));
        }
    }
    handle.shutdown(1001, "", Duration::ZERO).unwrap();
    thread.join().unwrap();
}
