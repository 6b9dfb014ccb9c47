//! ws's seed of a chat.

use framewire::{CloseCode, Message};

use crate::house::{Program, connect, next};

#[test]
fn each_message_goes_to_all_others_as_it_came() {
    let server = Program::start("broadcast");
    let mut clients: Vec<_> = (0..4).map(|_| connect(&server.url, &[])).collect();
    let said = [
        Message::text("Gr\u{fc}\u{df}e"),
        Message::binary(&b"Gr\xfc\xdfe"[..]),
        Message::text(""),
        Message::binary(&b""[..]),
        Message::binary(&b"text, but sent as binary"[..]),
        Message::text("x".repeat(200_000)),
    ];
    for message in &said {
        clients[0].send(message.borrowed()).unwrap();
    }
    // What somebody else says next is the first that the author hears: nothing of its own came back.
    for other in &mut clients[1..] {
        for message in &said {
            assert_eq!(&next(other), message);
        }
    }
    clients[3].send("and you?").unwrap();
    assert_eq!(next(&mut clients[0]), Message::text("and you?"));
}

#[test]
fn who_has_left_is_missed_by_nobody() {
    let server = Program::start("broadcast");
    let [mut ada, mut bob, eve] = [(); 3].map(|()| connect(&server.url, &[]));
    drop(eve);
    ada.send("one").unwrap();
    assert_eq!(next(&mut bob), Message::text("one"));
    let outcome = bob.close(1000, "bye").unwrap();
    assert_eq!(outcome.code(), CloseCode::NORMAL);
    ada.send("to nobody").unwrap();
    let mut late = connect(&server.url, &[]);
    late.send("two").unwrap();
    assert_eq!(next(&mut ada), Message::text("two"));
}
