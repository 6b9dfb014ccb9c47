//! Routes: WebSockets, plain requests and refusals on one port.

use framewire::{CloseCode, Message};
use serde_json::{Value, json};

use crate::house::{Program, body, connect, next, refused, text, untimed_client};

fn data(server: &Program) -> Value {
    let (status, head, body) = server.get("/data", &[]);
    assert_eq!(status, 200);
    assert!(head.contains("\r\nContent-Type: application/json"), "{head}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn what_is_said_comes_back() {
    let server = Program::start("express_like");
    let mut client = connect(&server.ws("/talk"), &[]);
    for said in [Message::text("hello"), Message::binary(&b"\0\xff"[..]), Message::text("")] {
        client.send(said.borrowed()).unwrap();
        assert_eq!(next(&mut client), said);
    }
    // The query is no part of the route.
    let mut other = connect(&server.ws("/talk?a=/data"), &[]);
    other.send("hello").unwrap();
    assert_eq!(text(&mut other), "hello");
}

#[test]
fn c6_each_route_has_its_own_clients() {
    let server = Program::start("express_like");
    let mut watch = connect(&server.ws("/watch"), &[]);
    let mut seen = || serde_json::from_str::<Value>(&text(&mut watch)).unwrap();
    let state = |clients: u64, messages: u64| json!({ "clients": clients, "messages": messages });
    assert_eq!(seen(), state(0, 0));
    let mut ada = connect(&server.ws("/talk"), &[]);
    assert_eq!(seen(), state(1, 0));
    let mut bob = connect(&server.ws("/talk"), &[]);
    assert_eq!(seen(), state(2, 0));
    ada.send("/all good morning").unwrap();
    assert_eq!([text(&mut ada), text(&mut bob)], ["good morning", "good morning"]);
    // Who watches hears of it, and does not hear it.
    assert_eq!(seen(), state(2, 1));
    assert_eq!(data(&server), state(2, 1));
    drop(bob);
    assert_eq!(seen(), state(1, 1));
    ada.close(1000, "").unwrap();
    assert_eq!(seen(), state(0, 1));
    assert_eq!(data(&server), state(0, 1));
}

#[test]
fn who_watches_may_not_talk() {
    let server = Program::start("express_like");
    let mut watch = connect(&server.ws("/watch"), &[]);
    assert_eq!(text(&mut watch), r#"{"clients":0,"messages":0}"#);
    watch.send("I say").unwrap();
    assert_eq!(watch.recv().ok().flatten(), None);
    // Its messages may have no bytes at all.
    assert_eq!(watch.outcome().unwrap().code(), CloseCode::MESSAGE_TOO_BIG);
    let mut other = connect(&server.ws("/watch"), &[]);
    assert_eq!(text(&mut other), r#"{"clients":0,"messages":0}"#);
    other.send("").unwrap();
    assert_eq!(other.recv().ok().flatten(), None);
    assert_eq!(other.outcome().unwrap().code(), CloseCode::POLICY_VIOLATION);
}

#[test]
fn plain_requests_have_routes_too() {
    let server = Program::start("express_like");
    for (target, status, kind) in [
        ("/", 200, "text/html"),
        ("/?from=here", 200, "text/html"),
        ("/page.css", 200, "text/css"),
        ("/page.js", 200, "text/javascript"),
        ("/data", 200, "application/json"),
        ("/talk", 426, "text/plain"),
        ("/watch", 426, "text/plain"),
        ("/talk/", 404, "text/plain"),
        ("/other", 404, "text/plain"),
        ("/DATA", 404, "text/plain"),
    ] {
        let (got, head, _) = server.get(target, &[]);
        assert_eq!(got, status, "{target}");
        assert!(head.contains(&format!("\r\nContent-Type: {kind};")), "{target}: {head}");
    }
}

#[test]
fn a_refusal_is_an_http_answer() {
    let server = Program::start_with("express_like", &["--key", "sesame"]);
    for target in ["/other", "/", "/data", "/talk/x"] {
        let response = refused(untimed_client(&server.ws(target)));
        assert_eq!(response.status(), 404, "{target}");
    }
    for target in
        ["/talk", "/talk?key=", "/talk?key=open", "/talk?key=sesame2", "/talk?keys=sesame"]
    {
        let response = refused(untimed_client(&server.ws(target)));
        assert_eq!(
            (response.status(), body(&response)),
            (401, "to talk, give the key\n"),
            "{target}"
        );
        assert_eq!(response.headers().get_str("WWW-Authenticate"), Some("Bearer realm=\"talk\""));
    }
    let mut page = connect(&server.ws("/talk?a=b&key=sesame"), &[]);
    page.send("by the query").unwrap();
    assert_eq!(text(&mut page), "by the query");
    let with = |value: &str| {
        let builder = untimed_client(&server.ws("/talk"));
        builder.header("Authorization", value).unwrap()
    };
    assert!(with("Bearer sesame").connect().is_ok());
    assert_eq!(refused(with("Bearer open")).status(), 401);
    assert_eq!(refused(with("Basic sesame")).status(), 401);
    // A page from elsewhere is not asked for a key.
    let elsewhere = untimed_client(&server.ws("/talk?key=sesame"));
    assert_eq!(refused(elsewhere.origin("http://elsewhere.example").unwrap()).status(), 403);
    // No refusal has counted as a client.
    drop(page);
    assert_eq!(data(&server)["messages"], 1);
}
