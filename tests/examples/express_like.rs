//! Routes: WebSockets, plain requests and refusals on one port.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use framewire::{CloseCode, Message};
use serde_json::{Value, json};

use crate::house::{PATIENCE, Program, body, connect, next, refused, text, untimed_client};

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
        ("/closing.js", 200, "text/javascript"),
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

/// What programs send when they are asked for `/data`, to the byte but for the host.
const ASKED: &[(&str, &str)] = &[
    (
        "curl -I",
        "HEAD /data HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    ),
    ("curl -0", "GET /data HTTP/1.0\r\nHost: {}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"),
    (
        "curl --http2",
        "GET /data HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\
        Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    ),
    (
        "HttpClient of Java 17",
        "GET /data HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: {}\r\n\
        HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n\
        User-Agent: Java-http-client/17.0.21.1\r\n\r\n",
    ),
    ("haproxy, option httpchk", "OPTIONS / HTTP/1.0\r\n\r\n"),
    ("haproxy, option httpchk GET /data", "GET /data HTTP/1.0\r\n\r\n"),
    ("haproxy, option httpchk HEAD /data", "HEAD /data HTTP/1.0\r\n\r\n"),
];

#[test]
fn whatever_asks_for_data_is_answered() {
    let server = Program::start("express_like");
    for (program, request) in ASKED {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.replace("{}", server.address()).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        if request.starts_with("OPTIONS") {
            assert!(head.starts_with("HTTP/1.1 405 "), "{program}: {head}");
            assert!(head.contains("\r\nAllow: GET, HEAD"), "{program}: {head}");
            continue;
        }
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{program}: {head}");
        assert!(head.contains("\r\nContent-Length: 26"), "{program}: {head}");
        let said = if request.starts_with("HEAD") { "" } else { r#"{"clients":0,"messages":0}"# };
        assert_eq!(body, said, "{program}");
    }
}

/// The programs themselves, where there are any.
#[test]
fn curl_and_java_are_answered() {
    let server = Program::start("express_like");
    let url = format!("{}/data", server.url);
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&url).output();
        if output.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            eprintln!("there is no {program} here");
            return None;
        }
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}{complaint}");
        Some(said)
    };
    let limit = PATIENCE.as_secs().to_string();
    for arguments in [&[][..], &["-I"], &["-0"], &["-0", "-I"], &["--http2"], &["-X", "HEAD", "-I"]]
    {
        let common =
            ["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", &limit];
        let Some(said) = run("curl", &[&common, arguments].concat()) else { break };
        assert!(said.starts_with("HTTP/1.1 200 OK"), "{arguments:?}: {said}");
        let is_head = arguments.contains(&"-I");
        assert_eq!(said.contains(r#"{"clients":0"#), !is_head, "{arguments:?}: {said}");
    }
    let source = std::env::temp_dir().join(format!("framewire-{}.java", std::process::id()));
    let program = "import java.net.URI; import java.net.http.*;
        public class Ask { public static void main(String[] arguments) throws Exception {
            var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
            var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            System.out.print(answer.statusCode() + \" \" + answer.body()); } }";
    std::fs::write(&source, program).unwrap();
    let said = run("java", &[source.to_str().unwrap()]);
    std::fs::remove_file(source).unwrap();
    assert!(said.is_none_or(|said| said == r#"200 {"clients":0,"messages":0}"#));
    // Whoever asked, the server goes on.
    assert_eq!(data(&server)["clients"], 0);
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
