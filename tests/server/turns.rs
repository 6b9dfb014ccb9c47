//! A loop whose turns the test takes itself, on its own thread, so that it can count what is done in each.

use std::net::SocketAddr;
use std::time::Duration;

use framewire::{Config, EventLoop, Handler, PeerId, Server};

use crate::client::{Client, REQUEST};
use crate::untimed::untimed_server;

pub(crate) struct Turns<H: Handler> {
    pub(crate) event_loop: EventLoop<H>,
    pub(crate) address: SocketAddr,
}

impl<H: Handler> Turns<H> {
    pub(crate) fn new(config: Config, handler: H) -> Self {
        Self::of(untimed_server().config(config), handler)
    }

    pub(crate) fn of(server: Server, handler: H) -> Self {
        let address = server.local_addr().unwrap();
        Self { event_loop: server.into_event_loop(handler).unwrap(), address }
    }

    /// One turn, which waits for nothing for long.
    pub(crate) fn turn(&mut self) {
        self.event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
    }

    /// Takes turns until something is so: how many it took.
    pub(crate) fn until(&mut self, mut is_so: impl FnMut(&mut EventLoop<H>) -> bool) -> usize {
        for turns in 0..20_000 {
            if is_so(&mut self.event_loop) {
                return turns;
            }
            self.turn();
        }
        panic!("it never came to that");
    }

    /// A client whose connection is open, and its name.
    pub(crate) fn open(&mut self) -> (Client, PeerId) {
        let before: Vec<_> = self.event_loop.peers().ids();
        let mut client = Client::connect(self.address);
        client.send_raw(REQUEST);
        // The others may have gone by then.
        let mut new = None;
        self.until(|event_loop| {
            new = event_loop.peers().ids().into_iter().find(|id| !before.contains(id));
            new.is_some()
        });
        client.read_head();
        let id = new.unwrap();
        (client, id)
    }
}
