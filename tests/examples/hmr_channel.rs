//! Vite's channel, row by row of what it does.

use std::sync::Arc;

use framewire::{Client, ClientError, CloseCode, Message, Outcome, Response};
use serde_json::{Value, json};

#[cfg(unix)]
use crate::house::run;
use crate::house::{PATIENCE, Program, body, connect, next, refused, text, untimed_client};

/// The server, and the token that its page knows.
struct Hmr {
    program: Program,
    token: String,
}

impl Hmr {
    fn start(arguments: &[&str]) -> Self {
        let program = Program::start_with("hmr_channel", arguments);
        let (status, _, page) = program.get("/", &[]);
        assert_eq!(status, 200);
        let token = page.split("name=\"hmr-token\" content=\"").nth(1).expect("a token");
        let token = token.split('"').next().unwrap().to_owned();
        Self { program, token }
    }

    /// A client that has said nothing yet and heard nothing.
    fn client(&self) -> Client {
        connect(&self.program.ws("/"), &["vite-hmr"])
    }

    /// One that has heard that it is connected, and how many there are then.
    fn connected(&mut self) -> Client {
        let mut client = self.client();
        assert_eq!(payload(&mut client), json!({ "type": "connected" }));
        assert_eq!(payload(&mut client)["event"], "demo:clients");
        assert!(self.program.line().ends_with(" connected"));
        client
    }

    /// A page of this origin with this query.
    fn page(&self, query: &str) -> Result<Client, ClientError> {
        let builder = Client::builder(&self.program.ws(&format!("/{query}")))?;
        builder.subprotocols(["vite-hmr"])?.origin("http://elsewhere.example")?.connect()
    }

    /// What is answered to who asks for this host.
    fn status_for(&self, host: &str, subprotocol: &str) -> u16 {
        let field = format!("Host: {host}");
        upgrade(&self.program, "/", &[&field, &format!("Sec-WebSocket-Protocol: {subprotocol}")])
    }

    /// Hands it a payload, and what it says about that.
    fn pass(&mut self, payload: &Value) -> String {
        self.program.tell(&payload.to_string());
        self.program.line()
    }
}

fn payload(client: &mut Client) -> Value {
    serde_json::from_str(&text(client)).expect("a payload in JSON")
}

fn say(client: &mut Client, event: &str, data: Value) {
    client.send(json!({ "type": "custom", "event": event, "data": data }).to_string()).unwrap();
}

/// The status of an upgrade with exactly these fields, besides what all have. The connection is then gone.
fn upgrade(program: &Program, target: &str, fields: &[&str]) -> u16 {
    use std::io::{Read, Write};
    let mut request = format!("GET {target} HTTP/1.1\r\n");
    for field in fields.iter().chain(&[
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]) {
        request += &format!("{field}\r\n");
    }
    let mut stream = std::net::TcpStream::connect(program.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all((request + "\r\n").as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    std::str::from_utf8(&start[9..]).unwrap().parse().expect("a status")
}

fn refusal(program: &Program, target: &str, subprotocols: &[&str]) -> Arc<Response> {
    let builder = untimed_client(&program.ws(target));
    refused(builder.subprotocols(subprotocols.iter().copied()).unwrap())
}

#[test]
fn b1_without_ws_there_is_no_channel() {
    let mut server = Hmr::start(&["--no-ws"]);
    assert_eq!(refusal(&server.program, "/", &["vite-hmr"]).status(), 404);
    assert_eq!(refusal(&server.program, "/", &["vite-ping"]).status(), 404);
    for kind in ["error", "full-reload", "custom"] {
        assert_eq!(server.pass(&json!({ "type": kind })), "not sent");
    }
    // The rest of the server is as ever.
    let mut other = connect(&server.program.ws("/echo"), &[]);
    other.send("still there?").unwrap();
    assert_eq!(text(&mut other), "still there?");
}

#[test]
fn the_token_may_be_chosen() {
    let token = "a<b&c\"d";
    let server = Hmr::start(&["--token", token]);
    assert_eq!(server.token, "a&lt;b&amp;c&quot;d");
    assert!(server.page("?token=a%3Cb%26c%22d").is_ok());
    match server.page("?token=a") {
        Err(ClientError::Rejected(response)) => assert_eq!(response.status(), 400),
        other => panic!("{other:?}"),
    }
}

#[cfg(unix)]
#[test]
fn a_certificate_needs_its_key_and_tls() {
    for (arguments, complaint) in [
        (&["--cert", "none.pem"][..], "--cert and --key go together"),
        (&["--cert", "none.pem", "--key", "none.pem"], "--features tls"),
    ] {
        let output = run("hmr_channel", &[&["127.0.0.1:0"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(complaint), "{said}");
    }
}

#[test]
fn b2_plain_requests_of_a_server_of_its_own_are_answered_426() {
    let program = Program::start_with("hmr_channel", &["--standalone"]);
    for target in ["/", "/page.js", "/other?x"] {
        let (status, head, body) = program.get(target, &[]);
        assert_eq!((status, body.as_str()), (426, "Upgrade Required"));
        assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 16\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Type: text/plain"), "{head}");
    }
}

#[test]
fn b3_other_upgrades_are_left_to_others() {
    let server = Hmr::start(&["--path", "/base/hmr"]);
    // Another path is another's, whatever the subprotocol.
    let mut echo = untimed_client(&server.program.ws("/echo")).connect().unwrap();
    echo.set_read_timeout(Some(PATIENCE));
    for said in [Message::text(r#"{"type":"ping"}"#), Message::binary(&b"bytes"[..])] {
        echo.send(said.borrowed()).unwrap();
        assert_eq!(next(&mut echo), said);
    }
    assert_eq!(refusal(&server.program, "/", &["vite-hmr"]).status(), 404);
    assert_eq!(refusal(&server.program, "/base/hmr/", &["vite-hmr"]).status(), 404);
    // So is another subprotocol at the same path, and one that only holds the right one.
    for others in [&["vite-hmr", "x"][..], &["x", "vite-hmr"], &["VITE-HMR"], &["graphql-ws"], &[]]
    {
        assert_eq!(refusal(&server.program, "/base/hmr", others).status(), 404, "{others:?}");
    }
    let mut own = connect(&server.program.ws("/base/hmr?token=x"), &["vite-hmr"]);
    assert_eq!(own.subprotocol(), Some("vite-hmr"));
    assert_eq!(text(&mut own), r#"{"type":"connected"}"#);
}

#[test]
fn b3_a_server_of_its_own_takes_every_upgrade() {
    let program = Program::start_with("hmr_channel", &["--standalone"]);
    for (target, subprotocols) in [("/", &["vite-hmr"][..]), ("/any/path", &["x", "y"]), ("/", &[])]
    {
        let mut client = connect(&program.ws(target), subprotocols);
        assert_eq!(client.subprotocol(), subprotocols.first().copied());
        assert_eq!(text(&mut client), r#"{"type":"connected"}"#);
    }
    assert_eq!(
        upgrade(&program, "/", &["Host: localhost", "Sec-WebSocket-Protocol: vite-ping"]),
        101
    );
    // Pings are not answered before the server of the pages is there.
    let program = Program::start_with("hmr_channel", &["--standalone", "--not-yet"]);
    assert_eq!(refusal(&program, "/", &["vite-ping"]).status(), 503);
    assert_eq!(text(&mut connect(&program.ws("/"), &["vite-hmr"])), r#"{"type":"connected"}"#);
}

#[test]
fn b4_the_gate_asks_for_the_host() {
    let server = Hmr::start(&["--host", "dev.example", "--host", ".test.example"]);
    for (host, status) in [
        ("localhost", 101),
        ("localhost:5173", 101),
        ("a.localhost", 101),
        ("127.0.0.1", 101),
        ("[::1]:80", 101),
        ("dev.example:80", 101),
        ("a.dev.example", 400),
        ("test.example", 101),
        ("a.test.example", 101),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
    ] {
        assert_eq!(server.status_for(host, "vite-hmr"), status, "{host}");
        // Somebody who only asks whether we are there learns no more than that.
        assert_eq!(server.status_for(host, "vite-ping"), 101, "{host}");
        // Who may not use the channel may not read the token from the page.
        let (page, _, text) = server.program.get("/", &[&format!("Host: {host}")]);
        assert_eq!(page, if status == 101 { 200 } else { 403 }, "{host}");
        assert_eq!(text.contains(&server.token), status == 101, "{host}");
    }
    let any = Hmr::start(&["--any-host"]);
    assert_eq!(any.status_for("evil.example", "vite-hmr"), 101);
}

#[test]
fn b4_the_gate_asks_pages_for_the_token() {
    let server = Hmr::start(&[]);
    let other = Hmr::start(&[]);
    let wrong = [
        String::new(),
        "?token=".to_owned(),
        format!("?token={}", other.token),
        format!("?token={}0", server.token),
        format!("?token={}", &server.token[1..]),
        format!("?Token={}", server.token),
        format!("?a={}", server.token),
    ];
    for query in &wrong {
        match server.page(query) {
            Err(ClientError::Rejected(response)) => {
                assert_eq!((response.status(), body(&response)), (400, "Bad Request"), "{query}");
            }
            other => panic!("{query}: {other:?}"),
        }
    }
    for query in [format!("?token={}", server.token), format!("?t=1&token={}&x", server.token)] {
        let mut client = server.page(&query).unwrap();
        client.set_read_timeout(Some(PATIENCE));
        assert_eq!(text(&mut client), r#"{"type":"connected"}"#);
    }
    // What is no browser has no origin, and needs none.
    assert_eq!(text(&mut server.client()), r#"{"type":"connected"}"#);
}

#[test]
fn b5_a_ping_is_closed_at_once_and_is_no_client() {
    let mut server = Hmr::start(&[]);
    let mut ping = connect(&server.program.ws("/"), &["vite-ping"]);
    assert_eq!(ping.subprotocol(), Some("vite-ping"));
    assert_eq!(ping.recv().unwrap(), None);
    let outcome = ping.outcome().unwrap();
    assert!(matches!(outcome, Outcome::Clean { .. }), "{outcome:?}");
    assert_eq!((outcome.code(), outcome.reason()), (CloseCode::NORMAL, ""));
    // Nobody is there, so this is held; and the first line about clients is about the next one.
    assert_eq!(server.pass(&json!({ "type": "full-reload" })), "held for the first client");
    let mut client = server.client();
    assert!(server.program.line().ends_with(" connected"));
    assert_eq!(payload(&mut client)["type"], "connected");
}

#[test]
fn b6_connected_is_sent_first_and_what_was_held_next() {
    let mut server = Hmr::start(&[]);
    let error = json!({ "type": "error", "err": { "message": "no such file", "stack": "" } });
    assert_eq!(server.pass(&error), "held for the first client");
    let mut first = server.client();
    assert_eq!(payload(&mut first), json!({ "type": "connected" }));
    assert_eq!(payload(&mut first), error);
    // The listeners of the connection were called before both; what they sent to all comes behind.
    let clients =
        |count| json!({ "type": "custom", "event": "demo:clients", "data": { "count": count } });
    assert_eq!(payload(&mut first), clients(1));
    // Only the first one gets what was held.
    let mut second = server.client();
    assert_eq!(payload(&mut second), json!({ "type": "connected" }));
    assert_eq!(payload(&mut second), clients(2));
    assert_eq!(payload(&mut first), clients(2));
}

#[test]
fn b7_what_is_no_custom_event_is_ignored() {
    let mut server = Hmr::start(&[]);
    let mut client = server.connected();
    for said in [
        "{",
        "",
        "null",
        "[]",
        "1",
        r#""custom""#,
        r#"{"type":"ping"}"#,
        r#"{"type":"update","event":"demo:hello"}"#,
        r#"{"type":"custom"}"#,
        r#"{"type":"custom","event":""}"#,
        r#"{"type":"custom","event":7}"#,
        r#"{"type":"custom","event":"nobody:listens","data":1}"#,
    ] {
        client.send(said).unwrap();
    }
    client.send(&b"\xff\x00"[..]).unwrap();
    say(&mut client, "demo:hello", json!([1, { "two": null }]));
    let answer = payload(&mut client);
    assert_eq!(answer["event"], "demo:hello");
    assert_eq!(answer["data"]["data"], json!([1, { "two": null }]));
    // JSON in a binary message counts as well.
    client.send(&br#"{"type":"custom","event":"demo:hello","data":"bytes"}"#[..]).unwrap();
    assert_eq!(payload(&mut client)["data"]["data"], "bytes");
}

#[test]
fn b7_who_leaves_is_told_of() {
    let mut server = Hmr::start(&[]);
    let mut stays = server.connected();
    for leave in
        [|client: Client| drop(client), |mut client: Client| drop(client.close(1000, "").unwrap())]
    {
        leave(server.connected());
        assert_eq!(payload(&mut stays)["data"]["count"], 2);
        assert_eq!(payload(&mut stays)["data"]["count"], 1);
        assert!(server.program.line().ends_with(" left"));
    }
}

#[test]
fn b8_a_client_is_the_same_each_time() {
    let mut server = Hmr::start(&[]);
    let mut ada = server.connected();
    let mut bob = server.connected();
    assert_eq!(payload(&mut ada)["data"]["count"], 2);
    let who = |client: &mut Client| {
        say(client, "demo:hello", json!("hi"));
        let answer = payload(client);
        assert_eq!((&answer["type"], &answer["event"]), (&json!("custom"), &json!("demo:hello")));
        answer["data"]["you"].as_str().expect("an id").to_owned()
    };
    let names = [who(&mut ada), who(&mut bob), who(&mut ada), who(&mut bob)];
    assert_eq!(names[..2], names[2..]);
    assert_ne!(names[0], names[1]);
    // It has its socket: this listener drops it.
    say(&mut ada, "demo:drop", Value::Null);
    assert!(!matches!(ada.recv(), Ok(Some(_))));
    assert!(server.program.line().contains(&names[0]));
    // The other one is still who it was.
    assert_eq!(payload(&mut bob)["data"]["count"], 1);
    assert_eq!(who(&mut bob), names[1]);
}

#[test]
fn b9_only_errors_and_reloads_wait_for_the_first_client() {
    let mut server = Hmr::start(&[]);
    for kind in ["update", "custom", "prune", "connected"] {
        assert_eq!(server.pass(&json!({ "type": kind })), "sent to 0");
    }
    // The latest one takes the place of the one before.
    for payload in [
        json!({ "type": "error", "err": { "message": "old" } }),
        json!({ "type": "error", "err": { "message": "newer" } }),
        json!({ "type": "full-reload", "path": "/newest" }),
    ] {
        assert_eq!(server.pass(&payload), "held for the first client");
    }
    let mut ada = server.client();
    assert_eq!(payload(&mut ada)["type"], "connected");
    assert_eq!(payload(&mut ada), json!({ "type": "full-reload", "path": "/newest" }));
    assert_eq!(payload(&mut ada)["event"], "demo:clients");
    assert!(server.program.line().ends_with(" connected"));
    let mut bob = server.connected();
    assert_eq!(payload(&mut ada)["data"]["count"], 2);
    // While somebody is there, nothing is held, and all get the same bytes.
    let error = json!({ "type": "error", "err": { "message": "now" } });
    assert_eq!(server.pass(&error), "sent to 2");
    assert_eq!([text(&mut ada), text(&mut bob)], [error.to_string(), error.to_string()]);
    drop([ada, bob]);
    let left = [server.program.line(), server.program.line()];
    assert!(left.iter().all(|line| line.ends_with(" left")), "{left:?}");
    // `connected` says that nothing stood between the first words and the number of clients.
    drop(server.connected());
}

#[test]
fn b10_a_listener_is_there_once_and_can_be_taken_off() {
    let mut server = Hmr::start(&[]);
    let mut client = server.connected();
    let mut answers = |said: &[&str]| {
        for event in said {
            say(&mut client, event, Value::Null);
        }
        // Answered last, so that what came before it is all there is.
        say(&mut client, "vite:invoke", json!({ "id": "send:end", "name": "add", "data": [1, 1] }));
        let events = std::iter::from_fn(|| Some(payload(&mut client)["event"].clone()));
        events.take_while(|event| event != "vite:invoke").count()
    };
    assert_eq!(answers(&["demo:hello"]), 1);
    assert_eq!(answers(&["demo:listen", "demo:listen", "demo:hello"]), 1);
    assert_eq!(answers(&["demo:deaf", "demo:hello", "demo:hello"]), 0);
    assert_eq!(answers(&["demo:deaf", "demo:listen", "demo:hello"]), 1);
}

#[test]
fn b12_closing_drops_the_clients_and_takes_no_more() {
    let mut server = Hmr::start(&[]);
    let mut clients = [server.connected(), server.connected()];
    let mut other = connect(&server.program.ws("/echo"), &[]);
    server.program.tell("close");
    // The loop and the thread that reads the standard input do not wait for each other.
    let mut lines = [server.program.line(), server.program.line(), server.program.line()];
    lines.sort();
    assert!(lines[..2].iter().all(|line| line.ends_with(" left")), "{lines:?}");
    assert_eq!(lines[2], "closed");
    for client in &mut clients {
        let end =
            std::iter::from_fn(|| Some(client.recv())).find(|event| !matches!(event, Ok(Some(_))));
        assert!(end.is_some());
        assert_eq!(client.outcome().expect("it is over").code(), CloseCode::ABNORMAL);
    }
    assert_eq!(refusal(&server.program, "/", &["vite-hmr"]).status(), 404);
    assert_eq!(refusal(&server.program, "/", &["vite-ping"]).status(), 404);
    // The server that it shares goes on.
    other.send("and me?").unwrap();
    assert_eq!(text(&mut other), "and me?");
    assert_eq!(server.program.get("/", &[]).0, 200);
}

#[cfg(unix)]
#[test]
fn b12_closing_ends_a_server_of_its_own() {
    let mut program = Program::start_with("hmr_channel", &["--standalone"]);
    let mut client = connect(&program.ws("/"), &["vite-hmr"]);
    assert_eq!(text(&mut client), r#"{"type":"connected"}"#);
    program.tell("close");
    let (report, status) = program.end();
    assert!(status.success());
    assert!(report.contains("0 closed"), "{report}");
}

#[test]
fn b13_without_hmr_only_some_payloads_pass() {
    let mut server = Hmr::start(&["--no-hmr"]);
    assert_eq!(server.pass(&json!({ "type": "full-reload" })), "not sent");
    let mut client = server.connected();
    for (kind, said) in [
        ("connected", "sent to 1"),
        ("update", "not sent"),
        ("ping", "sent to 1"),
        ("full-reload", "not sent"),
        ("custom", "sent to 1"),
        ("prune", "not sent"),
        ("error", "sent to 1"),
    ] {
        assert_eq!(server.pass(&json!({ "type": kind })), said, "{kind}");
    }
    for kind in ["connected", "ping", "custom", "error"] {
        assert_eq!(payload(&mut client)["type"], kind);
    }
}

#[cfg(unix)]
#[test]
fn b14_a_port_that_is_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = crate::house::run("hmr_channel", &[&address]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&format!("WebSocket server error: {address} is already in use")),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn b15_a_call_is_answered() {
    let mut server = Hmr::start(&[]);
    let mut client = server.connected();
    for (name, arguments, answer) in [
        ("add", json!([2, 3]), json!({ "result": 5.0 })),
        (
            "add",
            json!(["2", 3]),
            json!({ "error": { "name": "Error", "message": "two numbers are needed" } }),
        ),
        (
            "fetchModule",
            json!(["/x"]),
            json!({ "error": {
                "name": "Error", "message": "there is no function \"fetchModule\" of 1 arguments",
            } }),
        ),
    ] {
        // None of a call, so not answered.
        say(&mut client, "vite:invoke", json!({ "id": "7", "name": name, "data": arguments }));
        say(
            &mut client,
            "vite:invoke",
            json!({ "id": "send:a:7", "name": name, "data": arguments }),
        );
        let data = json!({ "id": "response:a:7", "name": name, "data": answer });
        assert_eq!(
            payload(&mut client),
            json!({ "type": "custom", "event": "vite:invoke", "data": data })
        );
    }
}

#[test]
fn b17_older_pages_need_no_token() {
    let server = Hmr::start(&["--no-token-check"]);
    let mut client = server.page("").unwrap();
    client.set_read_timeout(Some(PATIENCE));
    assert_eq!(text(&mut client), r#"{"type":"connected"}"#);
}
