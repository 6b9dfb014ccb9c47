//! What else a loop can wait for: sources of events that the application registers.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use framewire::mio::Interest;
use framewire::mio::net::UdpSocket as Watched;
use framewire::{
    Decision, Handler, IncomingRequest, Message, Peer, Peers, Routes, SourceEvent, SourceId,
};

use crate::turns::Turns;
use crate::untimed::untimed;

/// Sends to everybody what comes by UDP.
struct Feed {
    socket: Watched,
    id: Option<SourceId>,
    name: &'static str,
    events: usize,
}

impl Feed {
    fn new(name: &'static str) -> (Self, SocketAddr) {
        let socket = Watched::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        (Self { socket, id: None, name, events: 0 }, address)
    }
}

impl Handler for Feed {
    type Session = ();

    fn on_start(&mut self, peers: &mut Peers<'_>) {
        // The largest number there is, and the same for all.
        let registered = peers.register_source(&mut self.socket, u64::MAX, Interest::READABLE);
        self.id = Some(registered.unwrap());
    }

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, _: &mut Peer<'_>, _: Message<'_>) {}

    fn on_source(&mut self, peers: &mut Peers<'_>, event: SourceEvent) {
        assert_eq!((Some(event.id()), event.token()), (self.id, u64::MAX));
        assert!(event.is_readable() && !event.is_read_closed());
        self.events += 1;
        let mut room = [0; 100];
        loop {
            match self.socket.recv(&mut room) {
                Ok(length) => {
                    let text = std::str::from_utf8(&room[..length]).unwrap();
                    let text = format!("{}: {text}", self.name);
                    peers.for_each(|peer| drop(peer.send(&*text)));
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    return;
                }
            }
        }
    }
}

#[test]
fn a_socket_of_the_application_is_waited_for() {
    let (feed, there) = Feed::new("feed");
    let mut turns = Turns::new(untimed(), feed);
    let (mut client, _) = turns.open();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..5 {
        from.send_to(format!("{round}").as_bytes(), there).unwrap();
        turns.until(|event_loop| event_loop.counters().sent.text_messages == round + 1);
        assert_eq!(client.read_text(), format!("feed: {round}"));
    }
    // It is not waited for any more.
    let handle = turns.event_loop.loop_handle();
    handle.call(|feed, peers| {
        let id = feed.id.unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        peers.reregister_source(id, &mut feed.socket, both).unwrap();
        peers.deregister_source(id, &mut feed.socket).unwrap();
        let again = peers.deregister_source(id, &mut feed.socket).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::NotFound);
        let again = peers.reregister_source(id, &mut feed.socket, both).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::NotFound);
        feed.id = None;
    });
    turns.until(|event_loop| event_loop.handler().id.is_none());
    from.send_to(b"unheard", there).unwrap();
    let events = turns.event_loop.handler().events;
    (0..5).for_each(|_| turns.turn());
    assert_eq!(turns.event_loop.handler().events, events);
    // And again it is, under another name.
    handle.call(|feed, peers| feed.on_start(peers));
    turns.until(|event_loop| event_loop.counters().sent.text_messages == 6);
    assert_eq!(client.read_text(), "feed: unheard");
}

#[test]
fn sources_of_routes_come_to_the_handler_that_has_registered_them() {
    let ((one, there), (other, elsewhere)) = (Feed::new("one"), Feed::new("other"));
    let routes = Routes::new().route("/chat", untimed(), one).unwrap().otherwise(other);
    let mut turns = Turns::new(untimed(), routes);
    let (mut client, _) = turns.open();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Those of a route have its connections, and the others those of none.
    from.send_to(b"nobody hears it", elsewhere).unwrap();
    from.send_to(b"hello", there).unwrap();
    turns.until(|event_loop| event_loop.counters().sent.text_messages == 1);
    assert_eq!(client.read_text(), "one: hello");
}
