//! What the system refuses.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::client::{Client, TEXT};
use crate::house::{House, Spy};
use crate::untimed::untimed;

const CHILD: &str = "FRAMEWIRE_FEW_DESCRIPTORS";

/// The child's part of the test below: a server, for as long as its standard input is open.
#[test]
fn serve_with_few_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (spy, _log) = Spy::echo();
    let house = House::new(untimed(), spy);
    println!("\naddress {}", house.address);
    let _ = std::io::stdin().read_line(&mut String::new());
}

// attack: FL06, OS04
#[test]
fn a_server_without_descriptors_accepts_again_when_some_are_free() {
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
    let address = lines
        .find_map(|line| line.unwrap().strip_prefix("address ").map(|rest| rest.parse().unwrap()))
        .expect("the child tells its address");
    // Far more than it has descriptors for; the system's backlog takes them all.
    let mut clients: Vec<_> = (0..120).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send_raw(crate::client::REQUEST);
    }
    // One after the other they leave, and another one gets in each time.
    for (served, mut client) in clients.into_iter().enumerate() {
        assert!(client.read_head().starts_with("HTTP/1.1 101 "), "client {served}");
        client.send_frame(TEXT, served.to_string());
        assert_eq!(client.read_text(), served.to_string());
    }
    drop(child.stdin.take());
    crate::house::eventually("the child ends", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}
