//! Sends every message back, over the crate `polling`: `over_polling [ADDR]`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::TcpListener;

use drivers::Shared;
use polling::{Event, Poller};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9005".to_owned());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let poller = Poller::new()?;
    poller.add(&listener, Event::readable(0))?;
    println!("listening on ws://{}", listener.local_addr()?);
    io::stdout().flush()?;
    let (mut shared, mut connections, mut keys) = (Shared::new(), HashMap::new(), 1..);
    let mut events = Vec::new();
    loop {
        let wait = connections.values().filter_map(|driver| shared.wait(driver)).min();
        poller.wait(&mut events, wait)?;
        for event in events.drain(..) {
            if let Some(driver) = connections.get_mut(&event.key) {
                if event.readable {
                    driver.set_readable();
                }
                if event.writable {
                    driver.set_writable();
                }
            } else if let (Ok((socket, _)), Some(key)) = (listener.accept(), keys.next()) {
                socket.set_nonblocking(true)?;
                poller.add(&socket, Event::none(key))?;
                connections.insert(key, shared.connection(socket));
            }
        }
        poller.modify(&listener, Event::readable(0))?;
        // With thousands of them, one would look only at those that are due.
        connections.retain(|&key, driver| {
            shared.turn(driver);
            let (readable, writable) = (!driver.is_stopped(), driver.wants_write());
            // This poller tells of a socket once, and looks again how it is when it is asked for it anew.
            let asked = poller.modify(driver.transport(), Event { key, readable, writable });
            let goes_on = asked.is_ok() && driver.outcome().is_none();
            if !goes_on && let Err(error) = poller.delete(driver.transport()) {
                eprintln!("still with the poller: {error}");
            }
            goes_on
        });
    }
}
