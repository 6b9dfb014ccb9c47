use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
#[cfg(feature = "tls")]
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use crate::io::tcp;
use crate::io::transport::{self, Stopped, Stream, Transport};
use crate::protocol::{Chunks, PayloadBuffer};
#[cfg(feature = "tls")]
use crate::tls::{TlsError, TlsSocket};

/// A connected socket of any kind that the loop serves.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(Plain),
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocket<Plain>>),
    /// Of a kind that only its owner knows.
    Foreign(Box<dyn Foreign>),
}

/// A transport of somebody else's that mio can wait for.
pub(super) trait Foreign: Transport + Source + Send {}

impl<T: Transport + Source + Send> Foreign for T {}

impl fmt::Debug for dyn Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foreign")
    }
}

/// A connected socket as the system gives it.
#[derive(Debug)]
pub(super) enum Plain {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A listening socket of any kind.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp {
        listener: TcpListener,
        /// What it accepts has the options already.
        inherited: bool,
    },
    #[cfg(unix)]
    Unix(UnixListener),
    /// One whose connections begin with the handshake of TLS.
    #[cfg(feature = "tls")]
    Tls(Box<Self>, Arc<rustls::ServerConfig>),
}

impl Socket {
    /// A socket that begins to connect; an event for writing tells that it has, or has failed.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        tcp::set_options(&stream);
        Ok(Self::Plain(Plain::Tcp(stream)))
    }

    /// The same over TLS, with a server of this name.
    #[cfg(feature = "tls")]
    pub(super) fn connect_tls(
        address: SocketAddr,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> io::Result<Self> {
        let Self::Plain(plain) = Self::connect(address)? else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let tls = TlsSocket::client(config, name, plain).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(tls)))
    }

    /// A stream that somebody else has accepted.
    pub(super) fn from_tcp(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        // As for one that was accepted here.
        tcp::set_options(&stream);
        Ok(Self::Plain(Plain::Tcp(stream)))
    }

    #[cfg(unix)]
    pub(super) fn from_unix(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Plain(Plain::Unix(UnixStream::from_std(stream))))
    }

    /// The same with the TLS that is spoken on it.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, session: rustls::ServerConnection) -> io::Result<Self> {
        match self {
            Self::Plain(plain) => {
                Ok(Self::Tls(Box::new(TlsSocket::adopted(session.into(), plain))))
            }
            // TLS within TLS.
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Foreign(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The socket of the system, as far as it is known.
    fn plain(&self) -> Option<&Plain> {
        match self {
            Self::Plain(plain) => Some(plain),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => Some(tls.get_ref()),
            Self::Foreign(_) => None,
        }
    }

    /// Says one thing and hangs up, as far as that goes without waiting: over TLS, which begins with a
    /// handshake, nothing can be said.
    pub(super) fn refuse(mut self, refusal: &[u8]) {
        // What fits into the socket is said; an error would change nothing. What the client has said is read
        // first, or the system would throw the answer away with it.
        match &mut self {
            Self::Plain(plain) => {
                let _ = transport::read(plain, &mut [0; 16 * 1024]);
                let _ = transport::retry(|| Write::write(plain, refusal));
                let _ = Stream::shutdown(plain);
            }
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                let _ = Stream::shutdown(tls.get_mut());
            }
            // It is dropped.
            Self::Foreign(_) => {}
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<&rustls::ServerConnection> {
        match self {
            Self::Tls(tls) => match tls.session() {
                rustls::Connection::Server(session) => Some(session),
                rustls::Connection::Client(_) => None,
            },
            Self::Plain(_) | Self::Foreign(_) => None,
        }
    }

    /// Why TLS has failed, if it is spoken and has.
    #[cfg(feature = "tls")]
    pub(super) fn tls_error(&self) -> Option<&TlsError> {
        match self {
            Self::Plain(_) | Self::Foreign(_) => None,
            Self::Tls(tls) => tls.error(),
        }
    }

    pub(super) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.plain().map_or_else(|| Err(no_address()), Plain::peer_address)
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.plain().map_or_else(|| Err(no_address()), Plain::local_address)
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        let plain = match self {
            Self::Plain(plain) => plain,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.get_mut(),
            Self::Foreign(foreign) => return &mut **foreign,
        };
        match plain {
            Plain::Tcp(stream) => stream,
            #[cfg(unix)]
            Plain::Unix(stream) => stream,
        }
    }
}

macro_rules! delegate {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Self::Plain($inner) => $call,
            #[cfg(feature = "tls")]
            Self::Tls($inner) => {
                let $inner = &mut **$inner;
                $call
            }
            Self::Foreign($inner) => {
                let $inner = &mut **$inner;
                $call
            }
        }
    };
}

impl Transport for Socket {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        delegate!(self, inner => Transport::read(inner, buffer))
    }

    fn read_into(&mut self, payload: &mut PayloadBuffer, limit: usize) -> (usize, Stopped) {
        delegate!(self, inner => Transport::read_into(inner, payload, limit))
    }

    #[inline]
    fn wire_bytes(&self, count: usize) -> usize {
        match self {
            Self::Plain(_) => count,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.wire_bytes(count),
            Self::Foreign(foreign) => foreign.wire_bytes(count),
        }
    }

    #[inline]
    fn write(&mut self, slices: Chunks<'_>) -> (usize, Stopped) {
        delegate!(self, inner => Transport::write(inner, slices))
    }

    #[inline]
    fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.is_flushed(),
            Self::Foreign(foreign) => foreign.is_flushed(),
        }
    }

    fn shutdown(&mut self) -> io::Result<()> {
        delegate!(self, inner => Transport::shutdown(inner))
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Plain {
    fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Plain {
    fn peer_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
        }
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
        }
    }
}

impl Listener {
    /// A listener whose connections have [the options](tcp::set_options) of a socket of the loop.
    pub(super) fn tcp(listener: TcpListener) -> Self {
        // There a connection has the options of its listener, and to set them takes no call of its own.
        let inherited =
            cfg!(any(target_os = "linux", target_os = "android")) && tcp::set_options(&listener);
        Self::Tcp { listener, inherited }
    }

    /// Puts TLS behind this listener, unless it is there already.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, config: &Arc<rustls::ServerConfig>) -> Self {
        match self {
            Self::Tls(..) => self,
            plain => Self::Tls(Box::new(plain), Arc::clone(config)),
        }
    }

    /// Says how many connections may wait to be accepted.
    pub(super) fn set_backlog(&self, connections: u32) -> io::Result<()> {
        let backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        match self {
            Self::Tcp { listener, .. } => socket2::SockRef::from(listener).listen(backlog),
            #[cfg(unix)]
            Self::Unix(listener) => socket2::SockRef::from(listener).listen(backlog),
            #[cfg(feature = "tls")]
            Self::Tls(listener, _) => listener.set_backlog(connections),
        }
    }

    /// The next connection, ready to be registered.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp { listener, inherited } => {
                let (stream, _) = transport::retry(|| listener.accept())?;
                if !inherited {
                    tcp::set_options(&stream);
                }
                Ok(Socket::Plain(Plain::Tcp(stream)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = transport::retry(|| listener.accept())?;
                Ok(Socket::Plain(Plain::Unix(stream)))
            }
            #[cfg(feature = "tls")]
            Self::Tls(listener, config) => match listener.accept()? {
                Socket::Plain(plain) => {
                    let tls = TlsSocket::server(Arc::clone(config), plain);
                    Ok(Socket::Tls(Box::new(tls.map_err(io::Error::other)?)))
                }
                other => Ok(other),
            },
        }
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp { listener, .. } => listener.local_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
            #[cfg(feature = "tls")]
            Self::Tls(listener, _) => listener.local_address(),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp { listener, .. } => registry.register(listener, token, Interest::READABLE),
            #[cfg(unix)]
            Self::Unix(listener) => registry.register(listener, token, Interest::READABLE),
            #[cfg(feature = "tls")]
            Self::Tls(listener, config) => {
                // A configuration that cannot work is better found out now than at every connection.
                rustls::ServerConnection::new(Arc::clone(config))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                listener.register(registry, token)
            }
        }
    }
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this kind of socket has no IP address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_the_options_that_they_need() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::tcp(TcpListener::from_std(listener));
        let address = listener.local_address().unwrap();
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(std::net::TcpStream::connect(address).unwrap());
            checked(&listener.accept().unwrap());
        }
        checked(&Socket::connect(address).unwrap());
        checked(&Socket::from_tcp(clients.remove(0)).unwrap());
    }

    fn checked(socket: &Socket) {
        let Some(Plain::Tcp(stream)) = socket.plain() else { panic!("another kind of socket") };
        assert!(stream.nodelay().unwrap());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert_eq!(socket2::SockRef::from(stream).tcp_notsent_lowat().unwrap(), 128 * 1024);
    }

    /// Of what a peer does not read the system takes a little more than the options say, not megabytes.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_system_takes_little_that_it_cannot_send() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::tcp(TcpListener::from_std(listener));
        let small = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let small = small.unwrap();
        small.set_recv_buffer_size(16 * 1024).unwrap();
        small.connect(&listener.local_address().unwrap().into()).unwrap();
        let mut socket = listener.accept().unwrap();
        let mut taken = 0;
        let Socket::Plain(plain) = &mut socket else { panic!("another kind of socket") };
        while let Ok(count) = Write::write(plain, &[0; 16 * 1024]) {
            taken += count;
        }
        assert!((128 * 1024..512 * 1024).contains(&taken), "the system took {taken} bytes");
    }
}
