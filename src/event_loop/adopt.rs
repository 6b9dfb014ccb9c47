use std::fmt;
use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

use crate::io::transport::Transport;
use crate::protocol::Upgraded;

use super::socket::{Foreign, Socket};

/// A connected stream that another server has accepted: a [`TcpStream`], a Unix-domain stream, or either
/// under TLS, as a pair with its [`rustls::ServerConnection`](https://docs.rs/rustls).
///
/// Whoever had it must be done with it: nobody else may read or write it any more, also not through a
/// clone.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = framewire::Server::unbound().on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
/// let (stream, _) = std::net::TcpListener::bind("127.0.0.1:9001")?.accept()?;
/// event_loop.adopt(stream, "", "")?;
/// # Ok(())
/// # }
/// ```
pub struct AdoptedStream(Stream);

enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::ServerConnection>, Box<Self>),
    Foreign(Box<dyn Foreign>),
}

impl AdoptedStream {
    /// A stream of a kind of its own: encrypted or compressed by other means, or shared with other uses. mio, in
    /// version 1, must be able to wait for it: in the simplest case it holds a socket of mio's, and hands its calls
    /// on to that. [`Peer::peer_addr`](crate::Peer::peer_addr) does not know it.
    ///
    /// ```no_run
    /// use framewire::{AdoptedStream, Chunks, Stopped, Transport};
    /// use mio::{Interest, Registry, Token, event::Source};
    /// use std::io::{self, Read, Write};
    ///
    /// /// Speaks in capitals.
    /// struct Loud(mio::net::TcpStream);
    ///
    /// impl Transport for Loud {
    ///     fn read(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
    ///         match self.0.read(buffer) {
    ///             Ok(0) => (0, Stopped::Eof),
    ///             Ok(count) => (count, Stopped::Done),
    ///             Err(error) => (0, Stopped::by(error)),
    ///         }
    ///     }
    ///
    ///     fn write(&mut self, mut slices: Chunks<'_>) -> (usize, Stopped) {
    ///         let Some(first) = slices.next() else { return (0, Stopped::Done) };
    ///         match self.0.write(&first.to_ascii_uppercase()) {
    ///             Ok(count) => (count, Stopped::Done),
    ///             Err(error) => (0, Stopped::by(error)),
    ///         }
    ///     }
    ///
    ///     fn shutdown(&mut self) -> io::Result<()> {
    ///         self.0.shutdown(std::net::Shutdown::Write)
    ///     }
    /// }
    ///
    /// impl Source for Loud {
    ///     fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
    ///         self.0.register(registry, token, interest)
    ///     }
    ///
    ///     fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
    ///         self.0.reregister(registry, token, interest)
    ///     }
    ///
    ///     fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
    ///         self.0.deregister(registry)
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// let mut event_loop = framewire::Server::unbound().on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
    /// let (stream, _) = std::net::TcpListener::bind("127.0.0.1:9001")?.accept()?;
    /// stream.set_nonblocking(true)?;
    /// let loud = Loud(mio::net::TcpStream::from_std(stream));
    /// event_loop.adopt(AdoptedStream::from_transport(loud), "", "")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_transport(transport: impl Transport + mio::event::Source + Send + 'static) -> Self {
        Self(Stream::Foreign(Box::new(transport)))
    }
}

impl fmt::Debug for AdoptedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdoptedStream").finish_non_exhaustive()
    }
}

impl From<TcpStream> for AdoptedStream {
    fn from(stream: TcpStream) -> Self {
        Self(Stream::Tcp(stream))
    }
}

#[cfg(unix)]
impl From<UnixStream> for AdoptedStream {
    fn from(stream: UnixStream) -> Self {
        Self(Stream::Unix(stream))
    }
}

#[cfg(feature = "tls")]
impl<S: Into<Self>> From<(rustls::ServerConnection, S)> for AdoptedStream {
    fn from((session, stream): (rustls::ServerConnection, S)) -> Self {
        Self(Stream::Tls(Box::new(session), Box::new(stream.into().0)))
    }
}

impl Stream {
    fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(stream) => Socket::from_tcp(stream),
            #[cfg(unix)]
            Self::Unix(stream) => Socket::from_unix(stream),
            #[cfg(feature = "tls")]
            Self::Tls(session, stream) => stream.into_socket()?.with_tls(*session),
            Self::Foreign(foreign) => Ok(Socket::Foreign(foreign)),
        }
    }
}

/// A connection on its way into the loop.
#[derive(Debug)]
pub(super) struct Adoption {
    pub(super) socket: Socket,
    pub(super) upgraded: Option<Upgraded>,
    /// What was read of it already.
    pub(super) bytes: Vec<u8>,
}

impl Adoption {
    pub(super) fn new(
        stream: impl Into<AdoptedStream>,
        upgraded: Option<Upgraded>,
        [head, leftover]: [&[u8]; 2],
    ) -> io::Result<Box<Self>> {
        let socket = stream.into().0.into_socket()?;
        Ok(Box::new(Self { socket, upgraded, bytes: [head, leftover].concat() }))
    }
}
