//! SIGTERM and SIGINT end an example server in good order, a second one at once.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use framewire::{Client, ClientError, CloseCode, Outcome};

const PATIENCE: Duration = Duration::from_secs(60);

/// An example as a process; it ends with this value.
struct Program {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Program {
    fn start(name: &str) -> Self {
        let mut process = Command::new(built(name))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("an example can be started");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next().expect("a first line").unwrap();
        let url = line.strip_prefix("listening on ").expect("its address").to_owned();
        Self { process, lines, url }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args([name, &id]).status().expect("there is a kill");
        assert!(status.success());
    }

    /// What it says last, and how it ends.
    fn end(mut self) -> (String, ExitStatus) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let last = self.lines.by_ref().map(Result::unwrap).last().expect("a report");
        (last, status)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has mostly ended by then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program of an example, which `cargo test --test examples` alone would not build.
fn built(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked"]);
        cargo.args(["--example", "echo_server", "--example", "chat"]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("there is a cargo").success());
    });
    profile.join("examples").join(name)
}

#[test]
fn an_echo_server_says_goodbye_and_reports() {
    for signal in ["-TERM", "-INT"] {
        let server = Program::start("echo_server");
        let mut client = Client::connect(&server.url).unwrap();
        client.send("still there?").unwrap();
        assert_eq!(client.recv().unwrap().unwrap().as_text(), Some("still there?"));
        server.signal(signal);
        // A clean close is the end of the messages.
        assert_eq!(client.recv().unwrap(), None);
        let outcome = client.close(1000, "").unwrap();
        assert_eq!(
            (outcome.code(), outcome.reason()),
            (CloseCode::GOING_AWAY, "the server goes away")
        );
        let (report, status) = server.end();
        assert!(report.contains("1 closed, 0 terminated, 0 lost, 0 refused, 0 bytes"), "{report}");
        assert!(status.success());
    }
}

#[test]
fn a_second_signal_does_not_wait_for_who_does_not_answer() {
    let server = Program::start("echo_server");
    // It never reads, so it never answers the Close.
    let silent = Client::connect(&server.url).unwrap();
    server.signal("-TERM");
    // Whoever comes now is turned away: the signal has arrived.
    let until = Instant::now() + PATIENCE;
    loop {
        match Client::connect(&server.url) {
            Ok(early) => drop(early),
            Err(ClientError::Rejected(response)) => {
                assert_eq!(response.status(), 503);
                break;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < until, "the signal is not heard");
    }
    server.signal("-TERM");
    let (report, status) = server.end();
    assert!(report.contains(" 1 terminated"), "{report}");
    assert!(status.success());
    drop(silent);
}

#[test]
fn a_chat_ends_for_everybody() {
    let server = Program::start("chat");
    let url = format!("{}/chat", server.url.replacen("http", "ws", 1));
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&url).unwrap()).collect();
    server.signal("-TERM");
    for client in &mut clients {
        assert_eq!(client.recv().unwrap(), None);
        let outcome = client.close(1000, "").unwrap();
        assert!(matches!(outcome, Outcome::Clean { .. }), "{outcome:?}");
    }
    let (report, status) = server.end();
    assert!(report.contains("3 closed, 0 terminated"), "{report}");
    assert!(status.success());
}
