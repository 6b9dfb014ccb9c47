//! Plain HTTP at the front door: what load balancers, health checks and programs ask, and how it is answered.

use std::sync::mpsc::{Receiver, channel};

use framewire::{
    Config, Decision, Handler, HttpAnswer, IncomingRequest, Message, OpeningError, Peer,
    PendingAnswer, Response, Routes,
};

use crate::client::{Client, REQUEST, request_with};
use crate::house::{House, Spy, eventually};
use crate::untimed::{PATIENCE, untimed, untimed_server};

/// A page at every path, named by it.
fn pages(config: Config) -> House {
    let (spy, _log) = Spy::echo();
    let spy = spy.answering(|request| {
        let status = if request.path() == "/nothing" { 204 } else { 200 };
        Response::new(status).body(format!("page {}\n", request.path()))
    });
    House::new(config, spy)
}

fn ask(house: &House, request: &str) -> String {
    Client::ask(house.address, request)
}

/// The head of the answer to a request that may be accepted.
fn head(house: &House, request: &str) -> String {
    let mut client = Client::connect(house.address);
    client.send_raw(request);
    client.read_head()
}

/// The status line's status, and the body.
fn parts(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (&head["HTTP/1.1 ".len()..][..3], body)
}

// attack: HS14
#[test]
fn http_1_0_is_answered() {
    let house = pages(untimed());
    // As nginx and haproxy ask by default.
    for request in
        ["GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"]
    {
        assert_eq!(parts(&ask(&house, request)), ("200", "page /\n"), "{request}");
    }
    // An upgrade is none there (RFC 9110 section 7.8).
    let old = REQUEST.replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(parts(&ask(&house, &old)), ("200", "page /chat\n"));
    // Where hosts are named, a request that has none asks for no other.
    let house = pages(untimed().hosts(["example.com"]));
    assert_eq!(parts(&ask(&house, "GET / HTTP/1.0\r\n\r\n")).0, "200");
    assert_eq!(parts(&ask(&house, "GET / HTTP/1.0\r\nHost: other\r\n\r\n")).0, "403");
    assert_eq!(parts(&ask(&house, "GET / HTTP/1.1\r\n\r\n")).0, "400");
}

// attack: HS15
#[test]
fn head_is_answered_without_content() {
    let house = pages(untimed());
    let got = ask(&house, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = ask(&house, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(parts(&head), ("200", ""));
    assert!(head.contains("\r\nContent-Length: 8\r\n"), "{head}");
    assert_eq!(got.replace("page /a\n", ""), head);
    assert_eq!(parts(&ask(&house, "HEAD / HTTP/1.0\r\n\r\n")), ("200", ""));
    assert_eq!(parts(&ask(&house, "HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n")), ("204", ""));
    // One that is refused neither.
    let none = House::new(untimed(), Spy::echo().0);
    assert_eq!(parts(&ask(&none, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")), ("426", ""));
    for (request, status) in [
        ("HEAD / HTTP/1.1\r\n\r\n", "400"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n", "400"),
        ("HEAD /#a HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("HEAD / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "400"),
    ] {
        assert_eq!(parts(&ask(&none, request)), (status, ""), "{request}");
    }
    // An upgrade is a GET.
    let head = REQUEST.replace("GET", "HEAD");
    assert_eq!(parts(&ask(&none, &head)), ("426", ""));
}

// attack: HS15, HS16
#[test]
fn an_upgrade_to_something_else_is_ignored() {
    let house = pages(untimed());
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade:\r\n",
        "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
        "Upgrade: websocketx, xwebsocket\r\nConnection: Upgrade\r\n",
        "Upgrade: web socket\r\n",
    ] {
        let request = format!("GET /data HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(parts(&ask(&house, &request)), ("200", "page /data\n"), "{lines}");
    }
    // Among others, it is asked for.
    let both = REQUEST.replace("Upgrade: websocket", "Upgrade: h2c, websocket");
    assert!(head(&house, &both).starts_with("HTTP/1.1 101 "));
}

// req: H011
#[test]
fn other_methods_are_told_which_there_are() {
    let house = pages(untimed());
    for (method, target) in [
        ("POST", "/"),
        ("OPTIONS", "/"),
        ("OPTIONS", "*"),
        ("DELETE", "/"),
        ("get", "/"),
        ("BREW", "/"),
        ("CONNECT", "example.com:443"),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = ask(&house, &request);
        assert_eq!(parts(&answer).0, "405", "{answer}");
        assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
    }
    // A body that follows is taken, or the client could not read the answer.
    let body =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n{}", "x".repeat(3000));
    assert_eq!(parts(&ask(&house, &body)).0, "405");
}

// attack: HS22, HS25
#[test]
fn lists_have_null_elements_and_white_space() {
    let (spy, _log) = Spy::echo();
    let spy = spy.deciding(|request| {
        let names: Vec<_> = request.subprotocols().map(str::to_owned).collect();
        Decision::accept_with(framewire::Accept::new().subprotocol(names.last().unwrap()), 0)
    });
    let house = House::new(untimed(), spy);
    for list in ["a,", ",a", "b,,a", " , b ,\t, a , "] {
        let request = request_with(&format!("Sec-WebSocket-Protocol: {list}\r\n"));
        let answer = head(&house, &request);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{list}: {answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: a\r\n"), "{list}: {answer}");
    }
    for list in [
        "permessage-deflate; client_max_window_bits = 10",
        "permessage-deflate ;client_max_window_bits\t=\t10,",
        ", ,x;y = \"z\"",
    ] {
        let lines = format!("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: {list}\r\n");
        let answer = head(&house, &request_with(&lines));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{list}: {answer}");
    }
    // A list of nothing is none (`1#` of RFC 6455 section 4.3).
    for lines in [
        "Sec-WebSocket-Protocol:\r\n",
        "Sec-WebSocket-Protocol: , ,\r\n",
        "Sec-WebSocket-Extensions: ,\r\n",
        "Sec-WebSocket-Extensions: a;\r\n",
        "Sec-WebSocket-Extensions: a;;b\r\n",
        "Sec-WebSocket-Protocol: a b\r\n",
    ] {
        assert_eq!(parts(&ask(&house, &request_with(lines))).0, "400", "{lines}");
    }
}

// attack: HS36
#[test]
fn an_absolute_name_is_the_same_name() {
    let named = |host: &str, origin: &str| {
        REQUEST
            .replace("example.com", host)
            .replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"))
    };
    let house = House::new(untimed().local_hosts().same_origin(), Spy::echo().0);
    for (host, origin) in [
        ("localhost.", "http://localhost."),
        ("localhost.:80", "http://localhost"),
        ("foo.localhost.", "http://foo.localhost."),
        ("foo.localhost", "http://foo.localhost."),
    ] {
        let answer = head(&house, &named(host, origin));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{host}: {answer}");
    }
    for (host, origin) in [
        ("localhost..", "http://localhost.."),
        ("notlocalhost.", "http://notlocalhost."),
        ("localhost.", "http://localhost.evil."),
    ] {
        assert_eq!(parts(&ask(&house, &named(host, origin))).0, "403", "{host}");
    }
    let house = House::new(untimed().hosts(["example.com", ".test"]), Spy::echo().0);
    for host in ["example.com.", "a.test.", "EXAMPLE.com."] {
        let answer = head(&house, &named(host, "http://x"));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{host}: {answer}");
    }
}

/// Passes on why an opening failed.
struct Doorkeeper(std::sync::mpsc::Sender<OpeningError>);

impl Handler for Doorkeeper {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_handshake_error(
        &mut self,
        error: &OpeningError,
        _: &framewire::Attempt,
    ) -> Option<Response> {
        self.0.send(error.clone()).unwrap();
        None
    }
}

// attack: HS07
#[test]
fn who_connects_and_says_nothing_is_not_told_of() {
    let (sender, told) = channel();
    let house = House::new(untimed(), Doorkeeper(sender));
    // A health check of a load balancer.
    for _ in 0..3 {
        let client = Client::connect(house.address);
        client.half_close();
        assert!({ client }.is_gone());
    }
    let mut client = Client::connect(house.address);
    client.send_raw("G");
    drop(client);
    assert!(matches!(told.recv_timeout(PATIENCE).unwrap(), OpeningError::Lost));
    drop(house);
    assert!(told.try_recv().is_err());
}

// attack: FL05
#[test]
fn a_full_server_still_answers_health_checks() {
    let (sender, told) = channel();
    let house = House::of(untimed_server().max_connections(1), Doorkeeper(sender));
    let open = Client::open(house.address);
    for _ in 0..3 {
        for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n"] {
            assert_eq!(parts(&ask(&house, request)).0, "426");
        }
        assert_eq!(parts(&ask(&house, REQUEST)).0, "503");
        assert!(matches!(told.recv_timeout(PATIENCE).unwrap(), OpeningError::TooManyConnections));
    }
    drop(open);
    eventually("there is room again", || {
        let mut client = Client::connect(house.address);
        client.send_raw(REQUEST);
        client.read_head().starts_with("HTTP/1.1 101 ")
    });
}

/// Answers when it is told to.
struct Slow(std::sync::mpsc::Sender<PendingAnswer>);

impl Handler for Slow {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
        if request.path() == "/now" {
            return HttpAnswer::defer(|pending| pending.respond(Response::text("now\n")));
        }
        let sender = self.0.clone();
        HttpAnswer::defer(move |pending| sender.send(pending).unwrap())
    }

    fn on_handshake_error(
        &mut self,
        error: &OpeningError,
        _: &framewire::Attempt,
    ) -> Option<Response> {
        panic!("a plain request is no failed opening: {error}");
    }
}

fn slow(config: Config) -> (House, Receiver<PendingAnswer>) {
    let (sender, pending) = channel();
    (House::new(config, Slow(sender)), pending)
}

fn asking(house: &House, request: &str) -> Client {
    let mut client = Client::connect(house.address);
    client.send_raw(request);
    client
}

fn answer_of(mut client: Client) -> String {
    String::from_utf8(client.read_to_end()).unwrap()
}

const PLAIN: &str = "GET /later HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn another_thread_answers_a_plain_request() {
    let (house, pending) = slow(untimed());
    assert_eq!(parts(&ask(&house, &PLAIN.replace("later", "now"))), ("200", "now\n"));
    // What is sent meanwhile belongs to nobody.
    let client = asking(&house, &[PLAIN, PLAIN].concat());
    let head = asking(&house, &PLAIN.replace("GET", "HEAD"));
    for _ in 0..2 {
        let one = pending.recv_timeout(PATIENCE).unwrap();
        assert_eq!((one.request().path(), one.is_over()), ("/later", false));
        std::thread::spawn(move || one.respond(Response::json("[1]"))).join().unwrap();
    }
    assert_eq!(parts(&answer_of(client)), ("200", "[1]"));
    let head = answer_of(head);
    assert_eq!(parts(&head), ("200", ""));
    assert!(head.contains("\r\nContent-Length: 3\r\n"), "{head}");
    drop(house);
    assert!(pending.try_recv().is_err());
}

#[test]
fn a_plain_request_that_nobody_answers() {
    let (house, pending) = slow(untimed().decision_timeout(std::time::Duration::from_millis(50)));
    let one = asking(&house, PLAIN);
    let late = pending.recv_timeout(PATIENCE).unwrap();
    assert_eq!(parts(&answer_of(one)).0, "503");
    assert!(late.is_over());
    late.respond(Response::text("too late"));

    let (house, pending) = slow(untimed());
    let one = asking(&house, PLAIN);
    drop(pending.recv_timeout(PATIENCE).unwrap());
    assert_eq!(parts(&answer_of(one)).0, "500");
    // The client leaves.
    let one = asking(&house, PLAIN);
    let late = pending.recv_timeout(PATIENCE).unwrap();
    drop(one);
    eventually("it is forgotten", || late.is_over());
    late.respond(Response::text("nobody"));
    // The server ends.
    let one = asking(&house, PLAIN);
    let late = pending.recv_timeout(PATIENCE).unwrap();
    house.handle.shutdown(1001, "", PATIENCE).unwrap();
    assert_eq!(parts(&answer_of(one)).0, "503");
    assert!(late.is_over());
}

#[test]
fn a_deferred_page_knows_its_route() {
    let (sender, pending) = channel::<PendingAnswer>();
    let house = House::made_by(untimed_server(), move || {
        Routes::<()>::new()
            .get("/user/:name", move |_| {
                let sender = sender.clone();
                HttpAnswer::defer(move |pending| sender.send(pending).unwrap())
            })
            .unwrap()
    });
    let client = asking(&house, "GET /user/J%C3%BCrgen?a=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let one = pending.recv_timeout(PATIENCE).unwrap();
    assert_eq!(one.request().parameter("name").as_deref(), Some("Jürgen"));
    assert_eq!(one.request().query_parameter("a").as_deref(), Some("1"));
    one.respond(Response::redirect("/"));
    assert!(answer_of(client).contains("\r\nLocation: /\r\n"));
}

/// Says what was sent to it.
fn listener(config: Config) -> House {
    let spy = Spy::echo().0.answering(|request| {
        let body = String::from_utf8_lossy(request.body());
        Response::text(format!("{} {} {body}", request.method(), request.path()))
    });
    House::new(config, spy)
}

// attack: HS28
#[test]
fn a_body_is_read_where_it_is_asked_for() {
    let house = listener(untimed().http_methods(["POST", "OPTIONS"]).max_request_body(10));
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (method, fields, body, status, said) in [
        ("POST /a", "Content-Length: 5\r\n", "hello", "200", "POST /a hello"),
        ("POST /a", "Content-Length: 5\r\n", "hello, and more", "200", "POST /a hello"),
        ("POST /a", chunked, "2;x\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n", "200", "POST /a hello"),
        ("POST /a", "", "", "200", "POST /a "),
        ("OPTIONS *", "", "", "200", "OPTIONS * "),
        ("GET /a", "", "", "200", "GET /a "),
        ("POST /a", "Content-Length: 11\r\n", "", "413", "the body is too large\n"),
        ("POST /a", chunked, "b\r\n", "413", "the body is too large\n"),
        ("POST /a", "Transfer-Encoding: gzip, chunked\r\n", "", "501", ""),
        ("POST /a", chunked, "x\r\n", "400", ""),
        ("POST /a", "Content-Length: 5\r\nContent-Length: 5\r\n", "", "400", ""),
        ("POST /a", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "", "400", ""),
        ("POST /a", "Content-Length: +5\r\n", "", "400", ""),
        ("GET /a", "Content-Length: 5\r\n", "hello", "400", ""),
        ("PUT /a", "Content-Length: 5\r\n", "hello", "405", ""),
    ] {
        let request = format!("{method} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        let answer = ask(&house, &request);
        let (got, text) = parts(&answer);
        assert_eq!(got, status, "{request}\n{answer}");
        assert!(said.is_empty() || text == said, "{request}\n{answer}");
        if status == "405" {
            assert!(answer.contains("\r\nAllow: GET, HEAD, POST, OPTIONS\r\n"), "{answer}");
        }
    }
    for (fields, status) in
        [("", "411"), ("Content-Length: 2\r\n", "200"), ("Transfer-Encoding: chunked\r\n", "400")]
    {
        let request = format!("POST /a HTTP/1.0\r\n{fields}\r\nhi");
        assert_eq!(parts(&ask(&house, &request)).0, status, "{request}");
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let house = listener(untimed().http_methods(["POST"]).max_request_body(10));
    let request =
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut client = asking(&house, request);
    assert_eq!(client.read_head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send_raw("hello");
    assert_eq!(parts(&answer_of(client)), ("200", "POST /a hello"));
    // Who would be refused is not.
    let answer = ask(&house, &request.replace("Length: 5", "Length: 50"));
    assert_eq!(parts(&answer).0, "413");
    let answer = ask(&house, &request.replace("POST", "PUT"));
    assert_eq!(parts(&answer).0, "405");
}

#[test]
fn pages_of_other_methods_have_routes() {
    let server = untimed_server().config(untimed().http_methods(["POST", "DELETE"]));
    let house = House::made_by(server, || {
        let routes = Routes::<()>::new().get("/a", |_| Response::text("got")).unwrap();
        routes.page("POST", "/a", |request| Response::text(request.body())).unwrap()
    });
    let of = |method: &str, path: &str| {
        let fields = "Host: a\r\nContent-Length: 0\r\n";
        ask(&house, &format!("{method} {path} HTTP/1.1\r\n{fields}\r\n"))
    };
    assert_eq!(parts(&of("GET", "/a")), ("200", "got"));
    assert_eq!(parts(&of("HEAD", "/a")), ("200", ""));
    assert_eq!(parts(&of("POST", "/a")), ("200", ""));
    let answer = of("DELETE", "/a");
    assert_eq!(parts(&answer).0, "405");
    assert!(answer.contains("\r\nAllow: GET, HEAD, POST\r\n"), "{answer}");
    assert_eq!(parts(&of("DELETE", "/b")).0, "404");
}

#[test]
fn answers_have_a_date() {
    let house = pages(untimed());
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "nonsense\r\n"] {
        let answer = ask(&house, request);
        let dates: Vec<_> = answer.lines().filter(|line| line.starts_with("Date: ")).collect();
        assert!(matches!(dates[..], [one] if one.ends_with(" GMT") && one.len() == 35), "{answer}");
    }
    assert!(!head(&house, REQUEST).contains("Date"));
    let full = untimed_server().max_connections(0).spare_connections(0);
    let full = House::of(full, Spy::echo().0);
    assert!(ask(&full, "").contains("\r\nDate: "));
}
