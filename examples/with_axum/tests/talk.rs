//! Runs the server, and talks to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use framewire::Client;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_with_axum"))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
        Self { child, address }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn pages_and_websockets_come_from_one_port() {
    let server = Running::start();
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let page = server.ask(get);
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("new WebSocket"), "{page}");
    let url = format!("ws://{}/talk", server.address);
    let connect = || {
        let mut client = Client::builder(&url)
            .unwrap()
            .subprotocols(["other", "talk"])
            .unwrap()
            .connect()
            .unwrap();
        client.set_read_timeout(Some(PATIENCE));
        assert_eq!(client.subprotocol(), Some("talk"));
        client
    };
    // Once the loop answers, it has adopted.
    let mut one = connect();
    one.send("first").unwrap();
    assert_eq!(one.recv().unwrap().unwrap().as_text(), Some("first"));
    let mut two = connect();
    two.send("second").unwrap();
    assert_eq!(two.recv().unwrap().unwrap().as_text(), Some("second"));
    assert_eq!(one.recv().unwrap().unwrap().as_text(), Some("second"));
    let long = "long ".repeat(100_000);
    two.send(&*long).unwrap();
    for client in [&mut one, &mut two] {
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some(&*long));
    }
    for mut client in [one, two] {
        assert!(client.close(1000, "").unwrap().was_clean());
    }
}

#[test]
fn what_is_no_upgrade_is_answered_by_http() {
    let server = Running::start();
    let answer = server.ask("GET /talk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("missing Upgrade header\n"), "{answer}");
    let answer = server.ask(
        "GET /talk HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 7\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("sec-websocket-version: 13, 8"), "{answer}");
}
