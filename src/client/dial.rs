use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::socket::Socket;
use crate::io::tcp;
use crate::io::transport::TELLS_AGAIN;

/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of these addresses that answers, trying them in turn, the two families
/// alternating, each with a head start before the next (RFC 8305, simplified).
pub(super) fn connect(
    addresses: impl IntoIterator<Item = SocketAddr>,
    until: Option<Instant>,
) -> io::Result<TcpStream> {
    let mut waiting = alternate(addresses.into_iter().collect()).into_iter().peekable();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    let mut attempts: Vec<Option<TcpStream>> = Vec::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = waiting.next() {
            match begin(address, &poll, attempts.len()) {
                Ok(stream) => attempts.push(Some(stream)),
                Err(failed) => {
                    error = failed;
                    continue;
                }
            }
        }
        if attempts.iter().all(Option::is_none) && waiting.peek().is_none() {
            return Err(error);
        }
        let now = Instant::now();
        if until.is_some_and(|until| until <= now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let next = waiting.peek().map(|_| now + STAGGER);
        let next = [next, until].into_iter().flatten().min();
        match poll.poll(&mut events, next.map(|next| next.saturating_duration_since(now))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            let attempt = &mut attempts[event.token().0];
            let Some(stream) = attempt else { continue };
            match outcome(stream) {
                Ok(false) if !TELLS_AGAIN => {
                    poll.registry().reregister(stream, event.token(), Interest::WRITABLE)?;
                }
                Ok(false) => {}
                Ok(true) => {
                    let Some(mut stream) = attempt.take() else { continue };
                    poll.registry().deregister(&mut stream)?;
                    tcp::set_options(&stream);
                    return Ok(stream);
                }
                Err(failed) => {
                    error = failed;
                    *attempt = None;
                }
            }
        }
    }
}

/// Connects to a Unix socket, which is there or is not.
#[cfg(unix)]
pub(super) fn connect_unix(path: &str) -> io::Result<Socket> {
    Ok(Socket::Unix(mio::net::UnixStream::connect(path)?.into()))
}

#[cfg(not(unix))]
pub(super) fn connect_unix(_: &str) -> io::Result<Socket> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets"))
}

fn begin(address: SocketAddr, poll: &Poll, index: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    poll.registry().register(&mut stream, Token(index), Interest::WRITABLE)?;
    Ok(stream)
}

/// Whether the attempt has succeeded; an error if it has failed.
fn outcome(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// The addresses with the two families taking turns, beginning with that of the first.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(|address| is_v6(address.ip())) else {
        return addresses;
    };
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for address in addresses {
        if is_v6(address.ip()) == first { same.push(address) } else { other.push(address) }
    }
    let mut other = other.into_iter();
    let mut mixed: Vec<_> =
        same.into_iter().flat_map(|a| [Some(a), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

fn is_v6(address: IpAddr) -> bool {
    address.is_ipv6()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let v4 = |n: u8| SocketAddr::from(([127, 0, 0, n], 1));
        let v6 = |n: u16| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, n], 1));
        let mixed = alternate(vec![v6(1), v6(2), v6(3), v4(1)]);
        assert_eq!(mixed, [v6(1), v4(1), v6(2), v6(3)]);
        let mixed = alternate(vec![v4(1), v6(1), v6(2)]);
        assert_eq!(mixed, [v4(1), v6(1), v6(2)]);
        assert_eq!(alternate(vec![]), []);
    }

    #[test]
    fn an_address_that_refuses_gives_way_to_the_next() {
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refuses = refused.local_addr().unwrap();
        drop(refused);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap();
        let stream = connect([refuses, listens], None).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listens);
        let error = connect([refuses], None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect([], None).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
