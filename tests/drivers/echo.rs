//! The drivers outside of the crate do what they do inside: a message there and back.

use std::thread;
use std::time::Duration;

use framewire::{Message, Outcome};
use framewire_drivers::client::Client;
use framewire_drivers::event_loop::{Decision, Handler, IncomingRequest, Peer, Server};

struct Echo;

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_, ()>, message: Message<'_>) {
        peer.send(message);
    }
}

#[test]
fn a_message_comes_back_through_drivers_outside_of_the_crate() {
    let mut event_loop = Server::bind("127.0.0.1:0").unwrap().into_event_loop(Echo).unwrap();
    let (handle, address) = (event_loop.handle(), event_loop.local_addr().unwrap());
    let server = thread::spawn(move || event_loop.run());
    let mut client = Client::connect(&format!("ws://{address}/")).unwrap();
    for length in [0, 5, 1000, 100_000] {
        let said = "é".repeat(length);
        client.send(&said).unwrap();
        assert_eq!(client.recv().unwrap(), Some(Message::from(said)));
    }
    let outcome = client.close(1000, "done").unwrap();
    assert!(matches!(outcome, Outcome::Clean { .. }), "{outcome}");
    drop(handle.shutdown(1001, "", Duration::from_secs(60)).unwrap());
    server.join().unwrap().unwrap();
}
