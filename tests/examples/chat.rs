//! The open room of the chat, ws's seed: everybody in it hears everything, as it was sent.

use framewire::{CloseCode, Message};

use crate::house::{Program, connect, next, text};

#[test]
fn everybody_hears_everything_as_it_was_sent() {
    let mut server = Program::start("chat");
    let url = server.ws("/");
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let client = connect(&url, &[]);
            let line = server.line();
            assert!(line.contains(" came from 127.0.0.1:"), "{line}");
            client
        })
        .collect();
    let said = [
        Message::text("Gr\u{fc}\u{df}e"),
        Message::binary(&b"Gr\xfc\xdfe"[..]),
        Message::text(""),
        Message::binary(&b"text, but sent as binary"[..]),
    ];
    for message in &said {
        clients[0].send(message.borrowed()).unwrap();
    }
    // The author is one of them.
    for client in &mut clients {
        for message in &said {
            assert_eq!(&next(client), message);
        }
    }
    let outcome = clients.pop().unwrap().close(3456, "tsch\u{fc}\u{df}").unwrap();
    assert_eq!(outcome.code(), CloseCode::from(3456));
    let line = server.line();
    assert!(line.ends_with("; code 3456, reason \"tsch\u{fc}\u{df}\""), "{line}");
}

#[test]
fn neither_room_hears_of_the_other() {
    let server = Program::start("chat");
    let mut open = connect(&server.ws("/"), &[]);
    let mut chat = connect(&server.ws("/chat"), &[]);
    chat.send(r#"{"type":"join","name":"Ada"}"#).unwrap();
    assert!(text(&mut chat).contains("\"welcome\""));
    open.send("to the open room").unwrap();
    assert_eq!(text(&mut open), "to the open room");
    chat.send(r#"{"type":"say","text":"to the chat"}"#).unwrap();
    assert!(text(&mut chat).contains("to the chat"));
    open.send("once more").unwrap();
    assert_eq!(text(&mut open), "once more");
}
