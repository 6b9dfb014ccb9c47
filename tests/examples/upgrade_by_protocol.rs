//! A handler for each subprotocol.

use framewire::Message;

use crate::house::{Program, body, connect, next, refused, text, untimed_client};

#[test]
fn each_subprotocol_has_a_handler_of_its_own() {
    let server = Program::start("upgrade_by_protocol");
    let mut echo = connect(&server.url, &["echo"]);
    assert_eq!(echo.subprotocol(), Some("echo"));
    let mut ada = connect(&server.url, &["chat"]);
    let mut bob = connect(&server.url, &["chat"]);
    assert_eq!(text(&mut ada), "somebody came");
    ada.send(&b"to Bob"[..]).unwrap();
    assert_eq!(next(&mut bob), Message::binary(&b"to Bob"[..]));

    let mut counts = [connect(&server.url, &["count"]), connect(&server.url, &["count"])];
    for (message, answer) in
        [("four", r#"{"bytes":4,"messages":1}"#), ("", r#"{"bytes":4,"messages":2}"#)]
    {
        counts[0].send(message).unwrap();
        assert_eq!(text(&mut counts[0]), answer);
    }
    // Each connection counts for itself.
    counts[1].send("five!").unwrap();
    assert_eq!(text(&mut counts[1]), r#"{"bytes":5,"messages":1}"#);

    // Nobody has heard what is not for its subprotocol.
    drop(bob);
    assert_eq!(text(&mut ada), "somebody left");
    echo.send("mine").unwrap();
    assert_eq!(text(&mut echo), "mine");
}

#[test]
fn the_first_one_of_the_client_that_is_spoken_counts() {
    let server = Program::start("upgrade_by_protocol");
    for (offered, chosen) in [
        (&["mqtt", "count", "echo"][..], "count"),
        (&["echo", "count"], "echo"),
        // Case counts (RFC 6455 section 4.1).
        (&["ECHO", "chat"], "chat"),
    ] {
        assert_eq!(connect(&server.url, offered).subprotocol(), Some(chosen));
    }
}

#[test]
fn what_is_not_spoken_is_answered_with_what_is() {
    let server = Program::start("upgrade_by_protocol");
    for offered in [&["mqtt"][..], &["ECHO"], &[]] {
        let builder = untimed_client(&server.url);
        let response = refused(builder.subprotocols(offered.iter().copied()).unwrap());
        assert_eq!(response.status(), 400, "{offered:?}");
        assert_eq!(body(&response), "the subprotocols spoken here are: echo, chat, count\n");
    }
    let (status, head, _) = server.get("/", &[]);
    assert_eq!(status, 426, "{head}");
}
