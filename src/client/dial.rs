#[cfg(test)]
mod faults;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Type};

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::error::in_context;
use super::socket::Socket;
use super::wait::ConnectWait;
use crate::io::tcp;
use crate::io::transport::TELLS_AGAIN;

/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// What connecting takes of the system: sockets, events of them, and the time.
trait Dialler {
    type Socket;

    fn now(&self) -> Instant;

    /// Begins to connect. An event with this token tells when something has come of it.
    fn begin(&mut self, address: SocketAddr, token: Token) -> io::Result<Self::Socket>;

    /// Waits for such events, until this time at most.
    fn wait(&mut self, until: Option<Instant>) -> io::Result<Vec<Token>>;

    /// Whether the attempt has succeeded, or another event will tell; an error if it has failed.
    fn outcome(&mut self, socket: &mut Self::Socket, token: Token) -> io::Result<bool>;

    /// Has no more events tell of it.
    fn release(&mut self, socket: &mut Self::Socket) -> io::Result<()>;
}

/// The system itself.
struct System<'w, B> {
    wait: &'w mut ConnectWait,
    begin: B,
}

impl<B: FnMut(SocketAddr) -> io::Result<TcpStream>> Dialler for System<'_, B> {
    type Socket = TcpStream;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn begin(&mut self, address: SocketAddr, token: Token) -> io::Result<TcpStream> {
        let mut stream = (self.begin)(address)?;
        self.wait.registry().register(&mut stream, token, Interest::WRITABLE)?;
        Ok(stream)
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<Vec<Token>> {
        self.wait.poll(until)
    }

    fn outcome(&mut self, stream: &mut TcpStream, token: Token) -> io::Result<bool> {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                if !TELLS_AGAIN {
                    self.wait.registry().reregister(stream, token, Interest::WRITABLE)?;
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn release(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.wait.registry().deregister(stream)
    }
}

/// Connects to the first of these addresses that answers, trying them in turn, the two families
/// alternating, each with a head start before the next (RFC 8305, simplified).
///
/// An error names the address that failed last, but for the deadline, which is [`io::ErrorKind::TimedOut`].
pub(super) fn connect(
    addresses: impl IntoIterator<Item = SocketAddr>,
    until: Option<Instant>,
    wait: &mut ConnectWait,
) -> io::Result<TcpStream> {
    let addresses = alternate(addresses.into_iter().collect());
    let stream = race(addresses, until, &mut System { wait, begin: TcpStream::connect })?;
    tcp::set_options(&stream);
    Ok(stream)
}

/// Connects from a local address to the first of these addresses of its family that answers, one after the
/// other, each with its share of the time that is left.
pub(super) fn connect_from(
    local: SocketAddr,
    addresses: impl IntoIterator<Item = SocketAddr>,
    until: Option<Instant>,
    wait: &mut ConnectWait,
) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        addresses.into_iter().filter(|address| address.is_ipv4() == local.is_ipv4()).collect();
    let begin = |address| begin_from(local, address);
    let stream = one_by_one(&addresses, until, &mut System { wait, begin })?;
    tcp::set_options(&stream);
    Ok(stream)
}

fn one_by_one<D: Dialler>(
    addresses: &[SocketAddr],
    until: Option<Instant>,
    dialler: &mut D,
) -> io::Result<D::Socket> {
    let no_family = "the host has no address of the local one's family";
    let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, no_family);
    for (index, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(1);
        let now = dialler.now();
        let share = until.map(|until| now + until.saturating_duration_since(now) / left);
        match race(vec![address], share, dialler) {
            Ok(socket) => return Ok(socket),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Begins to connect to one address after the other, until the first has answered.
fn race<D: Dialler>(
    addresses: Vec<SocketAddr>,
    until: Option<Instant>,
    dialler: &mut D,
) -> io::Result<D::Socket> {
    let mut waiting = addresses.into_iter().peekable();
    let mut attempts: Vec<Option<(D::Socket, SocketAddr)>> = Vec::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    // Until this time, the latest attempt is alone; then the next address is tried beside it.
    let mut head_start = None;
    loop {
        if until.is_some_and(|until| until <= dialler.now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let is_due = head_start.is_none_or(|end| end <= dialler.now());
        if let Some(address) = waiting.next_if(|_| is_due) {
            match dialler.begin(address, Token(attempts.len())) {
                Ok(socket) => {
                    attempts.push(Some((socket, address)));
                    head_start = Some(dialler.now() + STAGGER);
                }
                Err(failed) => {
                    error = failed_at(address, failed);
                    continue;
                }
            }
        }
        if attempts.iter().all(Option::is_none) && waiting.peek().is_none() {
            return Err(error);
        }
        let next = head_start.filter(|_| waiting.peek().is_some());
        for token in dialler.wait([next, until].into_iter().flatten().min())? {
            let Some(attempt) = attempts.get_mut(token.0) else { continue };
            let Some((socket, address)) = attempt else { continue };
            let address = *address;
            let outcome = match dialler.outcome(socket, token) {
                Ok(true) => dialler.release(socket),
                Ok(false) => continue,
                Err(failed) => Err(failed),
            };
            match outcome {
                Ok(()) => {
                    if let Some((socket, _)) = attempt.take() {
                        return Ok(socket);
                    }
                }
                Err(failed) => {
                    error = failed_at(address, failed);
                    *attempt = None;
                    // The next address need not wait for the rest of the head start.
                    head_start = None;
                }
            }
        }
    }
}

/// Begins to connect from this address.
fn begin_from(local: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&local.into()).map_err(|error| in_context(format!("binding {local}"), error))?;
    // A timeout of a nanosecond only begins to connect, and does so on every system.
    match socket.connect_timeout(&address.into(), Duration::from_nanos(1)) {
        Err(error) if error.kind() != io::ErrorKind::TimedOut => return Err(error),
        _ => {}
    }
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket.into()))
}

/// Connects to a Unix socket. Where as many wait to be accepted as may, it waits with them.
#[cfg(unix)]
pub(super) fn connect_unix(
    path: &str,
    until: Option<Instant>,
    wait: &mut ConnectWait,
) -> io::Result<Socket> {
    let address = socket2::SockAddr::unix(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            // No event tells when there is room again: only a call that blocks waits for that.
            let connect = move || connect_unix_blocking(&address, until);
            // The thread keeps the deadline itself, so that it does not outlive it.
            super::background::run("framewire-connect", connect, None, wait)
        }
        result => result.map(|()| Socket::Unix(socket.into())),
    }
}

#[cfg(unix)]
fn connect_unix_blocking(
    address: &socket2::SockAddr,
    until: Option<Instant>,
) -> io::Result<Socket> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    loop {
        // Systems apply the write timeout to connecting, too.
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Less than a microsecond would be rounded down to zero, which means no timeout.
        socket.set_write_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
        match socket.connect(address) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    socket.set_write_timeout(None)?;
    socket.set_nonblocking(true)?;
    Ok(Socket::Unix(socket.into()))
}

#[cfg(not(unix))]
pub(super) fn connect_unix(_: &str, _: Option<Instant>, _: &mut ConnectWait) -> io::Result<Socket> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets"))
}

fn failed_at(address: SocketAddr, error: io::Error) -> io::Error {
    in_context(format!("connecting to {address}"), error)
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
    use crate::client::closer::Closer;

    fn wait() -> ConnectWait {
        ConnectWait::new(&Closer::new()).unwrap()
    }

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
        let stream = connect([refuses, listens], None, &mut wait()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listens);
        let error = connect([refuses], None, &mut wait()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), format!("connecting to {refuses}"));
        assert_eq!(connect([], None, &mut wait()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_address_of_ones_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap();
        let (_socket, refuses) = deserted();
        let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], listens.port()));
        // Linux answers on all of 127/8, where the system would choose 127.0.0.1 by itself.
        let local =
            SocketAddr::from(([127, 0, 0, if cfg!(target_os = "linux") { 7 } else { 1 }], 0));
        for until in [None, Some(Instant::now() + Duration::from_secs(300))] {
            let stream = connect_from(local, [v6, refuses, listens], until, &mut wait()).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), listens);
            assert_eq!(stream.local_addr().unwrap().ip(), local.ip());
            let error = connect_from(local, [refuses], until, &mut wait()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        let late = connect_from(local, [listens], Some(Instant::now()), &mut wait()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let error = connect_from(local, [v6], None, &mut wait()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        // TEST-NET-1 is nobody's.
        let error =
            connect_from(([192, 0, 2, 1], 0).into(), [listens], None, &mut wait()).unwrap_err();
        assert!(format!("{error:?}").contains("binding 192.0.2.1:0"), "{error}");
    }

    /// An address at which nobody listens, for as long as the socket lives.
    fn deserted() -> (socket2::Socket, SocketAddr) {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }
}
