//! What the tests of examples share.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

use framewire::{Client, ClientError, Message, Response};

pub(crate) use crate::untimed::{PATIENCE, untimed_client};

/// Those of which SIGTERM must be the end in good order, besides the ones of the tests about signals.
pub(crate) const SERVERS: &[&str] =
    &["broadcast", "express_like", "hmr_channel", "rooms_with_acks", "upgrade_by_protocol"];

/// The examples that are started here.
const EXAMPLES: &[&str] =
    &["broadcast", "chat", "rooms_with_acks", "upgrade_by_protocol", "upload"];

/// Those that take options: programs of the member `with_arguments`.
const PROGRAMS: &[&str] = &["echo_server", "express_like", "hmr_channel"];

/// An example as a process; it ends with this value.
pub(crate) struct Program {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) url: String,
}

impl Program {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// With arguments behind the address.
    pub(crate) fn start_with(name: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(built(name))
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("an example can be started");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next().expect("a first line").unwrap();
        let url = line.strip_prefix("listening on ").expect("its address").to_owned();
        Self { process, lines, url }
    }

    /// The URL of a WebSocket there.
    pub(crate) fn ws(&self, target: &str) -> String {
        format!("ws://{}{target}", self.address())
    }

    /// What it says next.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("another line").unwrap()
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.process.stdin.as_mut().expect("it is piped"), "{line}").unwrap();
    }

    #[cfg(unix)]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").expect("a URL").1
    }

    /// A plain GET: the status, the head and the body. Fields are given whole, `Name: value`.
    pub(crate) fn get(&self, target: &str, fields: &[&str]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("GET {target} HTTP/1.1\r\n");
        if !fields.iter().any(|field| field.starts_with("Host:")) {
            request += &format!("Host: {}\r\n", self.address());
        }
        for field in fields {
            request += &format!("{field}\r\n");
        }
        stream.write_all((request + "\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), format!("{head}\r\n"), body.to_owned())
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args([name, &id]).status().expect("there is a kill");
        assert!(status.success());
    }

    /// What it says last, and how it ends.
    #[cfg(unix)]
    pub(crate) fn end(mut self) -> (String, ExitStatus) {
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
        cargo.args(["-p", "framewire", "-p", "with_arguments"]);
        for name in EXAMPLES {
            cargo.args(["--example", name]);
        }
        for name in PROGRAMS {
            cargo.args(["--bin", name]);
        }
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("there is a cargo").success());
    });
    let folder =
        if PROGRAMS.contains(&name) { profile.to_owned() } else { profile.join("examples") };
    folder.join(name)
}

/// Runs an example that ends by itself.
#[cfg(unix)]
pub(crate) fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(built(name)).args(arguments).output().expect("an example can be started")
}

/// A client that does not wait for ever.
pub(crate) fn connect(url: &str, subprotocols: &[&str]) -> Client {
    let builder = untimed_client(url).subprotocols(subprotocols.iter().copied());
    let mut client = builder.unwrap().connect().unwrap();
    client.set_read_timeout(Some(PATIENCE));
    client
}

/// What a client is answered that is not let in.
pub(crate) fn refused(builder: framewire::ClientBuilder) -> Arc<Response> {
    match builder.connect() {
        Err(ClientError::Rejected(response)) => response,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn body(response: &Response) -> &str {
    std::str::from_utf8(response.body_bytes()).unwrap()
}

pub(crate) fn next(client: &mut Client) -> Message<'static> {
    client.recv().unwrap().expect("another message")
}

/// The next message, which is a text.
pub(crate) fn text(client: &mut Client) -> String {
    next(client).as_text().expect("a text").to_owned()
}
