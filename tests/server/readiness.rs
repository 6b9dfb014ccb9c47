//! What the system says of a socket, and what it does not say.

use framewire::{Decision, Handler, IncomingRequest, Message, Peer};

use crate::client::{TEXT, frame};
use crate::turns::Turns;
use crate::untimed::untimed;

struct Echo;

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message);
    }
}

/// Urgent data ends a read before all that is there: what stands behind it is read all the same.
#[cfg(target_os = "linux")]
#[test]
fn what_stands_behind_urgent_data_is_read() {
    let mut turns = Turns::new(untimed(), Echo);
    let (mut client, _) = turns.open();
    for round in 0..3 {
        client.send_raw(frame(TEXT, format!("before {round}")));
        let socket = socket2::SockRef::from(&client.stream);
        assert_eq!(socket.send_out_of_band(b"!").unwrap(), 1);
        client.send_raw(frame(TEXT, format!("behind {round}")));
        turns.until(|event_loop| event_loop.counters().received.text_messages == 2 * (round + 1));
        turns.turn();
        assert_eq!(client.read_text(), format!("before {round}"));
        assert_eq!(client.read_text(), format!("behind {round}"));
    }
}
