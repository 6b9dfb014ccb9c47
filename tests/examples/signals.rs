//! SIGTERM and SIGINT end an example server in good order, a second one at once.

use std::time::Instant;

use framewire::{ClientError, CloseCode, Outcome};

use crate::house::{PATIENCE, Program, SERVERS, untimed_client};

#[test]
fn an_echo_server_says_goodbye_and_reports() {
    for signal in ["-TERM", "-INT"] {
        let server = Program::start("echo_server");
        let mut client = untimed_client(&server.url).connect().unwrap();
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
        assert!(report.contains("1 closed, 0 aborted, 0 lost, 0 refused, 0 bytes"), "{report}");
        assert!(status.success());
    }
}

#[test]
fn a_second_signal_does_not_wait_for_who_does_not_answer() {
    let server = Program::start("echo_server");
    // It never reads, so it never answers the Close.
    let silent = untimed_client(&server.url).connect().unwrap();
    server.signal("-TERM");
    // Whoever comes now is turned away: the signal has arrived.
    let until = Instant::now() + PATIENCE;
    loop {
        match untimed_client(&server.url).connect() {
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
    assert!(report.contains(" 1 aborted"), "{report}");
    assert!(status.success());
    drop(silent);
}

#[test]
fn a_chat_ends_for_everybody() {
    let server = Program::start("chat");
    let url = format!("{}/chat", server.url.replacen("http", "ws", 1));
    let mut clients: Vec<_> = (0..3).map(|_| untimed_client(&url).connect().unwrap()).collect();
    server.signal("-TERM");
    for client in &mut clients {
        assert_eq!(client.recv().unwrap(), None);
        let outcome = client.close(1000, "").unwrap();
        assert!(matches!(outcome, Outcome::Clean { .. }), "{outcome:?}");
    }
    let (report, status) = server.end();
    assert!(report.contains("3 closed, 0 aborted"), "{report}");
    assert!(status.success());
}

#[test]
fn every_other_server_ends_in_good_order() {
    for name in SERVERS {
        let server = Program::start(name);
        server.signal("-TERM");
        let (report, status) = server.end();
        assert!(report.contains("0 closed, 0 aborted"), "{name}: {report}");
        assert!(status.success(), "{name}");
    }
}
