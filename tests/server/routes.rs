//! Several endpoints on one port.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use framewire::deflate::DeflateConfig;
use framewire::handshake::{ClientRequest, Url};
use framewire::{
    Audience, Config, Decision, Handler, IncomingRequest, InvalidConfig, Message, Outcome,
    PatternError, Peer, Pending, Response, RouteError, Routes, Server,
};

use crate::client::{Client, REQUEST, TEXT, request_with};
use crate::house::{House, eventually};
use crate::untimed::{PATIENCE, untimed, untimed_server};

/// Says where it is, and does what it is told.
struct Place(&'static str);

impl Handler for Place {
    type Session = String;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<String> {
        match request.parameter("room").as_deref() {
            Some("secret") => Decision::reject(Response::new(401).body("who are you?\n")),
            Some(room) => {
                let raw = request.raw_parameter("room").unwrap();
                Decision::accept(format!("{} {room} {raw}", self.0))
            }
            None => {
                let rest =
                    request.parameter("*").map_or_else(String::new, |rest| rest.into_owned());
                Decision::accept(format!("{} {rest}", self.0))
            }
        }
    }

    fn on_open(&mut self, peer: &mut Peer<'_, String>) {
        let hello = peer.session().clone();
        peer.send(hello);
    }

    fn on_message(&mut self, peer: &mut Peer<'_, String>, message: Message<'_>) {
        match message.as_text() {
            Some("all") => {
                peer.publish(Audience::route(peer.route()), format!("to all of {}", self.0));
            }
            Some("others") => {
                let others = Audience::route(peer.route()).except(peer.id());
                peer.publish(others, format!("to the others of {}", self.0));
            }
            Some("everywhere") => drop(peer.broadcast("to everybody")),
            Some("count") => {
                let (here, all) = (peer.peers().len(), peer.peers().connections());
                peer.send(format!("{here} of {all}"));
            }
            _ => {
                peer.send(message);
            }
        }
    }
}

fn routes(make: impl FnOnce() -> Routes<String> + Send + 'static) -> House {
    House::made_by(untimed_server(), make)
}

fn to(path: &str) -> String {
    REQUEST.replace("/chat", path)
}

/// Opens a WebSocket at this path, and gives the first thing that is said there.
fn open(house: &House, path: &str) -> (Client, String) {
    let mut client = Client::connect(house.address);
    client.send_raw(to(path));
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{path}: {head}");
    let hello = client.read_text();
    (client, hello)
}

// behaviour: c
#[test]
fn c7_a_route_is_chosen_before_the_101() {
    let house = routes(|| {
        Routes::new()
            .route("/", untimed(), Place("root"))
            .unwrap()
            .route("/chat/:room", untimed(), Place("room"))
            .unwrap()
            .route("/chat/lobby", untimed(), Place("lobby"))
            .unwrap()
            .route("/files/*", untimed(), Place("files"))
            .unwrap()
            .route("/files/:room/new", untimed(), Place("new"))
            .unwrap()
    });
    for (path, hello) in [
        ("/", "root "),
        ("/?room=1", "root "),
        ("/chat/lobby", "lobby "),
        ("/chat/l%6fbby", "lobby "),
        ("/chat/den?a=b", "room den den"),
        ("/chat/a%2Fb%20c", "room a/b c a%2Fb%20c"),
        ("/chat/caf%C3%A9", "room café caf%C3%A9"),
        ("/files/", "files "),
        ("/files/a/b", "files a/b"),
        ("/files/a/new", "new a a"),
        ("/files/a/new/", "files a/new/"),
        // The absolute form of a proxy.
        ("http://example.com/chat/den", "room den den"),
    ] {
        assert_eq!(open(&house, path).1, hello, "{path}");
    }
    for path in ["/chat", "/chat/", "/Chat/lobby", "/chat/a/b", "//", "/files", "/chat/../"] {
        let answer = Client::ask(house.address, to(path));
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}: {answer}");
    }
    let answer = Client::ask(house.address, to("/chat/secret"));
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwho are you?\n"), "{answer}");
    for path in ["/chat/%zz", "/chat/%", "/chat/%FF", "/chat/%C3"] {
        let answer = Client::ask(house.address, to(path));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(answer.ends_with("\r\n\r\ninvalid request target\n"), "{path}: {answer}");
    }
}

// behaviour: c
#[test]
fn c4_plain_requests_have_routes_of_their_own() {
    let house = routes(|| {
        let mut asked = 0;
        Routes::new()
            .route("/talk", untimed(), Place("talk"))
            .unwrap()
            .route("/both", untimed(), Place("both"))
            .unwrap()
            .get("/data/:id", move |request| {
                asked += 1;
                let id = request.parameter("id").unwrap();
                Response::new(200).body(format!("{id} {:?} {asked}", request.query()))
            })
            .unwrap()
            .get("/data/last", |_| Response::new(200).body("the last"))
            .unwrap()
            .get("/both", |_| Response::new(200).body("a page"))
            .unwrap()
    });
    let get = |path: &str| {
        Client::ask(house.address, format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n"))
    };
    assert!(get("/data/7").ends_with("\r\n\r\n7 None 1"));
    assert!(get("/data/a%20b?x=y").ends_with("\r\n\r\na b Some(\"x=y\") 2"));
    assert!(get("/data/last").ends_with("\r\n\r\nthe last"));
    assert!(get("/both").ends_with("\r\n\r\na page"));
    assert_eq!(open(&house, "/both").1, "both ");
    // A WebSocket is there, but this is no request for one.
    assert!(get("/talk").starts_with("HTTP/1.1 426 "));
    assert!(get("/nothing").starts_with("HTTP/1.1 404 "));
    assert!(get("/data/%ff").starts_with("HTTP/1.1 400 "));
    // And here is a page, but no WebSocket.
    let answer = Client::ask(house.address, to("/data/7"));
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

// behaviour: c
#[test]
fn c6_a_broadcast_stays_in_its_route() {
    let (sender, ids) = channel();
    let house = routes(move || {
        let routes = Routes::new()
            .route("/a/:room", untimed(), Place("a"))
            .unwrap()
            .route("/b", untimed(), Place("b"))
            .unwrap();
        assert_eq!((routes.id("/a"), routes.id("/b/")), (None, None));
        sender.send((routes.id("/a/:room").unwrap(), routes.id("/b").unwrap())).unwrap();
        routes
    });
    let (a, b) = ids.recv_timeout(PATIENCE).unwrap();
    let mut in_a = [open(&house, "/a/1").0, open(&house, "/a/2").0];
    let mut in_b = [open(&house, "/b").0, open(&house, "/b").0];
    in_a[0].send_frame(TEXT, "all");
    in_a.iter_mut().for_each(|client| assert_eq!(client.read_text(), "to all of a"));
    in_b[1].send_frame(TEXT, "others");
    assert_eq!(in_b[0].read_text(), "to the others of b");
    in_b[1].send_frame(TEXT, "everywhere");
    in_a.iter_mut().chain(&mut in_b).for_each(|c| assert_eq!(c.read_text(), "to everybody"));
    in_a[1].send_frame(TEXT, "count");
    assert_eq!(in_a[1].read_text(), "2 of 4");
    house.handle.publish(Audience::route(b), "by handle to b");
    house.handle.publish(Audience::route(a), "by handle to a");
    house.handle.broadcast("by handle to all");
    for (clients, name) in [(&mut in_a, "a"), (&mut in_b, "b")] {
        for client in clients {
            assert_eq!(client.read_text(), format!("by handle to {name}"));
            assert_eq!(client.read_text(), "by handle to all");
        }
    }
}

#[test]
fn each_route_has_its_own_settings() {
    let house = House::made_by(untimed_server().config(untimed().subprotocols(["v0"])), || {
        Routes::new()
            .route("/plain", untimed(), Place("plain"))
            .unwrap()
            .route(
                "/own",
                untimed()
                    .subprotocols(["v2"])
                    .max_message_size(10)
                    .origins(["https://example.com"])
                    .deflate(DeflateConfig::default()),
                Place("own"),
            )
            .unwrap()
            .route(
                "/hurry",
                untimed().first_message_timeout(Duration::from_millis(50)),
                Place("hurry"),
            )
            .unwrap()
    });
    let offers = "Sec-WebSocket-Protocol: v0, v1, v2\r\nOrigin: https://example.com\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let ask = |path: &str| {
        let mut client = Client::connect(house.address);
        client.send_raw(request_with(offers).replace("/chat", path));
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (client, head)
    };
    let (mut client, head) = ask("/plain");
    assert!(!head.contains("Sec-WebSocket-Protocol") && !head.contains("Extensions"), "{head}");
    assert_eq!(client.read_text(), "plain ");
    client.send_frame(TEXT, "more than ten bytes");
    assert_eq!(client.read_text(), "more than ten bytes");
    let (mut client, head) = ask("/own");
    assert!(head.contains("\r\nSec-WebSocket-Protocol: v2\r\n"), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Extensions: permessage-deflate"), "{head}");
    assert_eq!(client.read_text(), "own ");
    client.send_frame(TEXT, "ten bytes!");
    assert_eq!(client.read_text(), "ten bytes!");
    client.send_frame(TEXT, "more than ten bytes");
    assert_eq!(client.read_close().0, 1009);
    let (mut client, _) = ask("/hurry");
    assert_eq!(client.read_text(), "hurry ");
    assert_eq!(client.read_close().0, 1008);
    // The route's origins count before anybody is asked.
    let stranger = request_with("Origin: https://evil.example\r\n").replace("/chat", "/own");
    let answer = Client::ask(house.address, stranger);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nthis origin is not allowed\n"), "{answer}");
}

/// Puts every decision off.
struct Later(Sender<Pending<String>>);

impl Handler for Later {
    type Session = String;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<String> {
        let pendings = self.0.clone();
        Decision::defer(move |pending| pendings.send(pending).unwrap())
    }

    fn on_message(&mut self, peer: &mut Peer<'_, String>, _message: Message<'_>) {
        let name = peer.session().clone();
        let said = format!("{name} {:?}", peer.subprotocol());
        peer.publish(Audience::route(peer.route()), said);
    }
}

#[test]
fn a_deferred_decision_keeps_its_route() {
    let (sender, pendings): (_, Receiver<Pending<String>>) = channel();
    let house = routes(move || {
        let config = untimed().subprotocols(["v1"]).max_message_size(10);
        let short = untimed().decision_timeout(Duration::from_millis(50));
        Routes::new()
            .route("/later/:name", config, Later(sender.clone()))
            .unwrap()
            .route("/short", short, Later(sender))
            .unwrap()
            .route("/now", untimed(), Place("now"))
            .unwrap()
    });
    let (mut other, _) = open(&house, "/now");
    let mut client = Client::connect(house.address);
    let request = request_with("Sec-WebSocket-Protocol: v1\r\n");
    client.send_raw(request.replace("/chat", "/later/ann"));
    let pending = pendings.recv_timeout(PATIENCE).unwrap();
    let name = pending.request().parameter("name").unwrap().into_owned();
    pending.accept(name);
    assert!(client.read_head().contains("\r\nSec-WebSocket-Protocol: v1\r\n"));
    client.send_frame(TEXT, "");
    assert_eq!(client.read_text(), "ann Some(\"v1\")");
    client.send_frame(TEXT, "more than ten bytes");
    assert_eq!(client.read_close().0, 1009);
    let answer = Client::ask(house.address, to("/short"));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(pendings);
    other.send_frame(TEXT, "nothing was broadcast here");
    assert_eq!(other.read_text(), "nothing was broadcast here");
}

#[test]
fn what_has_no_route_may_have_a_handler() {
    let house = routes(|| {
        Routes::new()
            .route("/talk", untimed(), Place("talk"))
            .unwrap()
            .otherwise(Place("elsewhere"))
    });
    let (mut here, _) = open(&house, "/talk");
    let (mut there, hello) = open(&house, "/any/where");
    assert_eq!(hello, "elsewhere ");
    there.send_frame(TEXT, "all");
    assert_eq!(there.read_text(), "to all of elsewhere");
    here.send_frame(TEXT, "only this");
    assert_eq!(here.read_text(), "only this");
    let plain = "GET /any HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(Client::ask(house.address, plain).starts_with("HTTP/1.1 426 "));
}

#[test]
fn routes_that_cannot_be_are_named() {
    let new = || {
        let routes = Routes::new().route("/a/:x", untimed(), Place("a")).unwrap();
        routes.get("/p", |_| Response::not_found()).unwrap()
    };
    let error = new().route("/a/:y", untimed(), Place("b")).unwrap_err();
    assert_eq!(error, RouteError::Ambiguous("/a/:y".into(), "/a/:x".into()));
    assert_eq!(error.to_string(), "the pattern \"/a/:y\" matches the same paths as \"/a/:x\"");
    let error = new().get("/p", |_| Response::not_found()).unwrap_err();
    assert_eq!(error, RouteError::Ambiguous("/p".into(), "/p".into()));
    let error = new().route("b", untimed(), Place("b")).unwrap_err();
    assert_eq!(error, RouteError::Pattern(PatternError::Slash("b".into())));
    let error = new().route("/b", Config::new().max_fragments(0), Place("b")).unwrap_err();
    assert_eq!(error, RouteError::Config("/b".into(), InvalidConfig::Fragments));
    assert_eq!(error.to_string(), "the settings of the route \"/b\" cannot work");
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), "max_fragments: 0 allows no message");
    // Paths that another pattern matches as well are no fault.
    assert!(new().route("/:x/a", untimed(), Place("b")).is_ok());
}

/// Dials the address that it is told.
struct Dialler;

impl Handler for Dialler {
    type Session = String;

    fn on_upgrade(&mut self, _request: &IncomingRequest) -> Decision<String> {
        Decision::accept("server".to_owned())
    }

    fn on_message(&mut self, peer: &mut Peer<'_, String>, message: Message<'_>) {
        let text = message.as_text().unwrap();
        if let Ok(address) = text.parse() {
            let url = Url::parse(&format!("ws://{text}/other")).unwrap();
            let request = ClientRequest::new(&url);
            peer.peers().connect(address, request, &untimed(), "client".to_owned()).unwrap();
        } else {
            let said = format!("{} heard {text}", peer.session());
            peer.publish(Audience::route(peer.route()).except(peer.id()), said);
        }
    }
}

#[test]
fn a_connection_that_a_route_dials_is_of_that_route() {
    let house = routes(|| {
        Routes::new()
            .route("/dial", untimed(), Dialler)
            .unwrap()
            .route("/other", untimed(), Place("other"))
            .unwrap()
    });
    let mut client = Client::connect(house.address);
    client.send_raw(to("/dial"));
    client.read_head();
    client.send_frame(TEXT, house.address.to_string());
    assert_eq!(client.read_text(), "client heard other ");
}

#[test]
fn what_is_dialled_without_a_route_is_closed() {
    let far = routes(|| Routes::new().route("/", untimed(), Place("far")).unwrap());
    let near = Routes::new().route("/", untimed(), Place("near")).unwrap();
    let mut event_loop = Server::unbound().config(untimed()).into_event_loop(near).unwrap();
    let request = ClientRequest::new(&Url::parse(&format!("ws://{}/", far.address)).unwrap());
    event_loop.peers().connect(far.address, request, &untimed(), String::new()).unwrap();
    eventually("gone", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        event_loop.connections() == 0
    });
}

#[test]
fn routes_are_not_nested() {
    let house = routes(|| {
        let inner = Routes::new().route("/*", untimed(), Place("inner")).unwrap();
        Routes::new().route("/outer/*", untimed(), inner).unwrap()
    });
    let answer = Client::ask(house.address, to("/outer/x"));
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    let plain = Client::ask(house.address, "GET /outer/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(plain.starts_with("HTTP/1.1 500 "), "{plain}");
    let house = routes(|| {
        let inner = Routes::new().route("/*", untimed(), Place("inner")).unwrap();
        Routes::new().otherwise(inner)
    });
    let answer = Client::ask(house.address, to("/x"));
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
}

/// Says what it knows of its request, when it opens and later.
struct Knows;

impl Handler for Knows {
    type Session = ();

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
        assert_eq!(*request, request.clone(), "a request is equal to its own clone");
        Decision::accept(())
    }

    fn on_open(&mut self, peer: &mut Peer<'_>) {
        self.tell(peer);
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, _message: Message<'_>) {
        self.tell(peer);
    }
}

impl Knows {
    fn tell(&self, peer: &mut Peer<'_>) {
        let request = peer.request().unwrap();
        let said = format!("{:?} {:?}", request.parameter("room"), request.query());
        peer.send(said);
    }
}

#[test]
fn parameters_stay_with_a_kept_request() {
    let server = untimed_server().keep_requests(true);
    let house =
        House::made_by(server, || Routes::new().route("/chat/:room", untimed(), Knows).unwrap());
    let mut client = Client::connect(house.address);
    client.send_raw(to("/chat/a%20b?c"));
    client.read_head();
    assert_eq!(client.read_text(), "Some(\"a b\") Some(\"c\")");
    client.send_frame(TEXT, "");
    assert_eq!(client.read_text(), "Some(\"a b\") Some(\"c\")");
}

/// Tells of every close.
struct Closes(Sender<(String, Outcome)>);

impl Handler for Closes {
    type Session = String;

    fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<String> {
        Decision::accept(request.pattern().unwrap().to_string())
    }

    fn on_message(&mut self, _peer: &mut Peer<'_, String>, _message: Message<'_>) {}

    fn on_close(&mut self, peer: &mut Peer<'_, String>, outcome: &Outcome) {
        self.0.send((peer.session().clone(), outcome.clone())).unwrap();
    }
}

#[test]
fn a_close_is_told_to_the_handler_of_the_route() {
    let (sender, closes) = channel();
    let house = routes(move || {
        let routes = Routes::new().route("/a/:b", untimed(), Closes(sender)).unwrap();
        routes.route("/", untimed(), Place("root")).unwrap()
    });
    let mut client = Client::connect(house.address);
    client.send_raw(to("/a/x"));
    client.read_head();
    client.send_close(4000, "bye");
    assert_eq!(client.read_close(), (4000, "bye".to_owned()));
    drop(client);
    let (pattern, outcome) = closes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(pattern, "/a/:b");
    assert!(outcome.was_clean() && outcome.reason() == "bye");
}

/// Each call goes to the handler of the route, and to no other.
#[test]
fn everything_that_a_connection_does_is_told_to_its_route() {
    use framewire::{Bytes, Fragment, Fragments};

    struct Teller(&'static str, Sender<String>);

    impl Teller {
        fn tell(&self, what: &str) {
            self.1.send(format!("{} {what}", self.0)).unwrap();
        }
    }

    impl Handler for Teller {
        type Session = String;

        fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<String> {
            Decision::default()
        }

        fn on_open(&mut self, peer: &mut Peer<'_, String>) {
            peer.set_fragments(Fragments::Always);
        }

        fn on_message(&mut self, _: &mut Peer<'_, String>, _: Message<'_>) {
            self.tell("a message");
        }

        fn on_fragment(&mut self, peer: &mut Peer<'_, String>, fragment: Fragment<'_>) {
            self.tell(std::str::from_utf8(&fragment.payload).unwrap());
            if fragment.last {
                // More than may wait.
                (0..3).for_each(|_| drop(peer.send(vec![0; 3000])));
            }
        }

        fn on_dropped(&mut self, _: &mut Peer<'_, String>, messages: u64) {
            self.tell(&format!("{messages} dropped"));
        }

        fn on_ping(&mut self, peer: &mut Peer<'_, String>, payload: Bytes<'_>) {
            self.tell(&format!("Ping {}", payload.len()));
            peer.ping(b"back");
        }

        fn on_pong(&mut self, _: &mut Peer<'_, String>, payload: Bytes<'_>) {
            self.tell(&format!("Pong {}", payload.len()));
        }
    }

    let (log, calls) = channel();
    let other = log.clone();
    let config = untimed().output_high_water(1000).output_low_water(500).max_buffered_amount(2000);
    let house = routes(move || {
        let one = Routes::new().route("/one", config.clone(), Teller("one", log)).unwrap();
        one.route("/two", config, Teller("two", other)).unwrap()
    });
    for place in ["one", "two"] {
        let mut client = Client::connect(house.address);
        client.send_raw(to(&format!("/{place}")));
        assert!(client.read_head().starts_with("HTTP/1.1 101 "));
        client.send_raw(crate::client::frame_with(0x01, "a piece"));
        client.send_raw(crate::client::frame_with(0x89, "1234"));
        client.send_raw(crate::client::frame_with(0x8a, "123456"));
        client.send_raw(crate::client::frame_with(0x80, "the last"));
        for expected in ["a piece", "Ping 4", "Pong 6", "the last", "2 dropped"] {
            assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), format!("{place} {expected}"));
        }
    }
}
