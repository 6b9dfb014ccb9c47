//! Sends every message back over blocking sockets, a thread for each: `sans_io [ADDR]`.

use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use framewire::{Accept, Config, Connection, Event, Outcome, State};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9002".into());
    let listener = TcpListener::bind(address)?;
    println!("listening on ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let serve = |stream| std::thread::Builder::new().spawn(|| println!("{:?}", echo(stream)));
        if let Err(error) = stream.and_then(serve) {
            eprintln!("not served: {error}");
            std::thread::sleep(Duration::from_millis(100)); // out of sockets or threads, likely
        }
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<Outcome> {
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let (start, mut connection) = (Instant::now(), Connection::server(&Config::new()));
    let (mut buffer, mut count) = (vec![0; 64 * 1024], 0);
    loop {
        connection.handle_timeout(start.elapsed());
        let mut input = &mut buffer[..count];
        while let Some(event) = connection.receive(&mut input) {
            match event {
                Event::Request(_) => connection.accept(Accept::new()).map_err(io::Error::other)?,
                Event::Message(message) => connection.send(message).map_err(io::Error::other)?,
                _ => {} // a Pong, a Close or the answer to a fault is in the output already
            }
        }
        while let Some(chunk) = connection.output().next() {
            let written = stream.write_all(chunk).map(|()| chunk.len())?;
            connection.consume_output(written);
        }
        if connection.wants_shutdown() && stream.shutdown(Shutdown::Write).is_err() {
            break; // otherwise read on: to close with bytes unread would destroy our Close
        }
        if connection.state() == State::Closed {
            break;
        }
        let wait = connection.next_timeout().map(|next| next.saturating_sub(start.elapsed()));
        stream.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
        count = match stream.read(&mut buffer) {
            Ok(count @ 1..) => count,
            Err(error) if matches!(error.kind(), Interrupted | TimedOut | WouldBlock) => 0,
            _ => break, // what that means is for the outcome to tell
        };
    }
    Ok(connection.receive_eof())
}
