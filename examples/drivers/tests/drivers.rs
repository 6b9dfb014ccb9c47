//! Runs both servers, and talks to them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use framewire::Client;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(program: &str) -> Self {
        let mut child =
            Command::new(program).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        Self { child, url }
    }

    fn connect(&self) -> Client {
        let mut client = Client::connect(&self.url).unwrap();
        client.set_read_timeout(Some(PATIENCE));
        client
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn echoes(program: &str) {
    let server = Running::start(program);
    let mut clients = [server.connect(), server.connect(), server.connect()];
    // The last one is more than any socket takes at a time.
    for length in [0, 5, 1000, 100_000, 8_000_000] {
        let said = "é".repeat(length);
        for client in &mut clients {
            client.send(&*said).unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.recv().unwrap().unwrap().as_text(), Some(&*said));
        }
    }
    let [mut one, gone, mut two] = clients;
    drop(gone);
    for client in [&mut one, &mut two] {
        for number in 0..1000 {
            client.send(&*number.to_string()).unwrap();
        }
        for number in 0..1000 {
            let message = client.recv().unwrap().unwrap();
            assert_eq!(message.as_text(), Some(&*number.to_string()));
        }
        assert!(client.close(1000, "").unwrap().was_clean());
    }
}

#[test]
fn messages_come_back_over_polling() {
    echoes(env!("CARGO_BIN_EXE_over_polling"));
}

#[test]
fn messages_come_back_over_tokio() {
    echoes(env!("CARGO_BIN_EXE_over_tokio"));
}
