//! What the system refuses.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, REQUEST, TEXT};
use crate::house::eventually;
use crate::untimed::untimed_server;

const CHILD: &str = "FRAMEWIRE_FEW_DESCRIPTORS";

/// The child's part of the test below: a server, for as long as its standard input is open. It tells what its loop has
/// done whenever it is asked.
#[test]
fn serve_with_few_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let server = untimed_server();
    println!("\naddress {}", server.local_addr().unwrap());
    let mut event_loop = server
        .on_message(|peer, message| {
            peer.send(message);
        })
        .into_event_loop()
        .unwrap();
    let handle = event_loop.handle();
    let (turns, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in std::io::stdin().lines().map_while(Result::ok) {
                let counters = handle.counters();
                println!(
                    "told {} {} {} {}",
                    turns.load(Ordering::Relaxed),
                    counters.accept_errors,
                    counters.connections,
                    counters.open,
                );
            }
            is_over.store(true, Ordering::Relaxed);
            handle.shutdown(1001, "", Duration::ZERO).unwrap();
        });
        while !is_over.load(Ordering::Relaxed) {
            event_loop.run_once(None).unwrap();
            turns.fetch_add(1, Ordering::Relaxed);
        }
        event_loop.run().unwrap();
    });
}

/// The server of such a child.
struct Poor {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

/// What its loop has done so far.
#[derive(Clone, Copy, Debug)]
struct Told {
    turns: u64,
    accept_errors: u64,
    connections: usize,
    open: usize,
}

impl Poor {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new("sh")
            .args([
                "-c",
                "ulimit -n 40 && exec \"$0\" faults::serve_with_few_descriptors --exact --nocapture",
            ])
            .arg(program)
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("address ")?.parse()));
        let address = address.expect("the child tells its address").unwrap();
        Self { child, lines, address }
    }

    fn ask(&mut self) -> Told {
        self.child.stdin.as_mut().unwrap().write_all(b"?\n").unwrap();
        let line = self.lines.next().unwrap().unwrap();
        let mut numbers =
            line.strip_prefix("told ").unwrap().split(' ').map(|n| n.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        let (turns, accept_errors) = (next(), next());
        let (connections, open) = (next() as usize, next() as usize);
        Told { turns, accept_errors, connections, open }
    }

    /// Waits until what is told is so.
    fn wait_for(&mut self, what: &str, is_so: impl Fn(&Told) -> bool) -> Told {
        let mut told = self.ask();
        eventually(what, || {
            told = self.ask();
            is_so(&told)
        });
        told
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        eventually("the child ends", || self.child.try_wait().unwrap().is_some());
        assert!(self.child.wait().unwrap().success());
    }
}

// attack: FL06, OS04
#[test]
fn a_server_without_descriptors_does_not_spin_and_accepts_again_when_some_are_free() {
    const CLIENTS: usize = 120;
    /// How long accepting pauses; see the loop's `acceptor`.
    const PAUSE: Duration = Duration::from_millis(100);
    let mut server = Poor::start();
    // Far more than it has descriptors for; the system's backlog takes them all.
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        client.send_raw(REQUEST);
    }
    let full = server.wait_for("the limit is reached", |told| {
        told.accept_errors > 0 && told.open == told.connections && told.open > 0
    });
    assert!((1..CLIENTS).contains(&full.open), "{full:?}");
    for client in &mut clients[..full.open] {
        assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    }

    // Nothing comes for a while. All that the loop does is to try again now and then.
    let (since, before) = (Instant::now(), server.ask());
    let after = server.wait_for("it tries to accept, again and again", |told| {
        told.accept_errors >= before.accept_errors + 5
    });
    let pauses = since.elapsed().as_millis() / PAUSE.as_millis();
    let tries = after.accept_errors - before.accept_errors;
    let turns = after.turns - before.turns;
    assert!(u128::from(tries) <= pauses + 2, "{tries} tries in {pauses} pauses");
    assert!(turns <= 2 * tries + 4, "{turns} turns for {tries} tries");

    // Those that are in are served meanwhile, and cost what they always cost.
    let (rounds, before) = (100, server.ask());
    for round in 0..rounds {
        for client in &mut clients[..full.open] {
            client.send_frame(TEXT, format!("round {round}"));
        }
        for client in &mut clients[..full.open] {
            assert_eq!(client.read_text(), format!("round {round}"));
        }
    }
    let after = server.ask();
    let (turns, tries) = (after.turns - before.turns, after.accept_errors - before.accept_errors);
    let messages = rounds * full.open as u64;
    assert!(turns <= 2 * messages + 2 * tries + 4, "{turns} turns, {messages} messages");
    assert_eq!(after.open, full.open);

    // One after the other they leave, and another one gets in each time.
    for (served, mut client) in clients.into_iter().enumerate() {
        if served >= full.open {
            assert!(client.read_head().starts_with("HTTP/1.1 101 "), "client {served}");
        }
        client.send_frame(TEXT, served.to_string());
        assert_eq!(client.read_text(), served.to_string());
    }
    server.wait_for("all have left", |told| told.connections == 0);
    server.stop();
}
