//! A transport of somebody else's in the loop.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use framewire::{
    AdoptedStream, Chunks, Decision, Handler, IncomingRequest, Message, Outcome, Peer, Server,
    Stopped, Transport,
};
use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::client::{Client, TEXT};
use crate::untimed::untimed;

/// Every byte is turned around on its way.
struct Turned(mio::net::TcpStream);

impl Transport for Turned {
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        match self.0.read(buffer) {
            Ok(0) => (0, Stopped::Eof),
            Ok(count) => {
                buffer[..count].iter_mut().for_each(|byte| *byte = !*byte);
                (count, Stopped::Done)
            }
            Err(error) => (0, Stopped::by(error)),
        }
    }

    fn write(&mut self, mut slices: Chunks<'_>) -> (usize, Stopped) {
        let Some(first) = slices.next() else { return (0, Stopped::Done) };
        let turned: Vec<u8> = first.iter().map(|byte| !byte).collect();
        match self.0.write(&turned) {
            Ok(count) => (count, Stopped::Done),
            Err(error) => (0, Stopped::by(error)),
        }
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

impl Source for Turned {
    fn register(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.register(r, token, interest)
    }

    fn reregister(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.reregister(r, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}

/// The other end of it.
struct TurnedToo(TcpStream);

impl Read for TurnedToo {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = Read::read(&mut self.0, buffer)?;
        buffer[..count].iter_mut().for_each(|byte| *byte = !*byte);
        Ok(count)
    }
}

impl Write for TurnedToo {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let turned: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        Write::write(&mut self.0, &turned)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Echo(Vec<Outcome>);

impl Handler for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _: &IncomingRequest) -> Decision<()> {
        Decision::accept(())
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        assert_eq!(peer.peer_addr().unwrap_err().kind(), io::ErrorKind::Unsupported);
        peer.send(message);
    }

    fn on_close(&mut self, _: &mut Peer<'_>, outcome: &Outcome) {
        self.0.push(outcome.clone());
    }
}

#[test]
fn a_transport_of_somebody_elses_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut event_loop =
        Server::unbound().config(untimed()).into_event_loop(Echo::default()).unwrap();
    let remote = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let turned = Turned(mio::net::TcpStream::from_std(stream));
    event_loop.adopt(AdoptedStream::from_transport(turned), "", "").unwrap();
    let handle = event_loop.handle();
    let thread = std::thread::spawn(move || {
        let mut client = Client::over(TurnedToo(remote));
        client.upgrade();
        for length in [0, 1, 125, 70_000, 1 << 20] {
            let text = "x".repeat(length);
            client.send_frame(TEXT, &text);
            assert_eq!(client.read_text(), text);
        }
        client.send_close(1000, "");
        assert_eq!(client.read_close().0, 1000);
        client.read_eof();
    });
    while event_loop.handler().0.is_empty() {
        event_loop.run_once(None).unwrap();
    }
    thread.join().unwrap();
    assert!(event_loop.handler().0[0].was_clean());
    handle.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
    event_loop.run().unwrap();
}
