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
        let mut child = Command::new(env!("CARGO_BIN_EXE_with_tiny_http"))
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
        let mut client = Client::connect(&url).unwrap();
        client.set_read_timeout(Some(PATIENCE));
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
fn everything_else_is_tiny_https() {
    let server = Running::start();
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    let answer = server.ask(&format!("GET /nothing HTTP/1.1\r\n{close}"));
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("not found\n"), "{answer}");
    // Two requests on one connection, the second of which is read with the first.
    let twice =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\n{close}");
    let answer = server.ask(&twice);
    assert!(answer.contains("new WebSocket") && answer.ends_with("not found\n"), "{answer}");
    // The loop has the last word on what asks for a WebSocket.
    let upgrade = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: ";
    let answer = server.ask(&format!("GET /talk HTTP/1.1\r\n{upgrade}7\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let answer = server.ask(&format!("GET /other HTTP/1.1\r\n{upgrade}13\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.ends_with("nothing is served at this path\n"), "{answer}");
}
