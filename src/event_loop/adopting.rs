use std::fmt;
use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

use crate::handshake::RequestParts;
use crate::protocol::{Endpoint, Upgraded};

use super::event_loop::EventLoop;
use super::handle::{Command, Handle};
use super::handler::Handler;
use super::slots::PeerId;
use super::transport::Socket;

/// A connected stream that another server has accepted: a [`TcpStream`], a Unix-domain stream, or either
/// under TLS, as a pair with its [`rustls::ServerConnection`](https://docs.rs/rustls).
///
/// Whoever had it must be done with it: nobody else may read or write it any more, also not through a
/// clone.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = framewire::Server::none().on_message(|peer, message| { peer.send(message); })?;
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
        }
    }
}

/// A connection on its way into the loop.
#[derive(Debug)]
pub(super) struct Adoption {
    socket: Socket,
    upgraded: Option<Upgraded>,
    /// What was read of it already.
    bytes: Vec<u8>,
}

impl Adoption {
    fn new(
        stream: impl Into<AdoptedStream>,
        upgraded: Option<Upgraded>,
        [head, leftover]: [&[u8]; 2],
    ) -> io::Result<Box<Self>> {
        let socket = stream.into().0.into_socket()?;
        Ok(Box::new(Self { socket, upgraded, bytes: [head, leftover].concat() }))
    }
}

/// Connections that another server has accepted.
impl<H: Handler> EventLoop<H> {
    /// Serves a connection that another server has accepted, as if it had come in here: the request is
    /// judged by the same rules, a bad one is answered on this stream, and the handler decides.
    ///
    /// `head` is what was read of the request, byte for byte: all of it, a part, or nothing; `leftover`
    /// is what was read behind it. Nothing of it is lost. The handler is called in the next turn.
    ///
    /// # Errors
    ///
    /// The system's, if the stream cannot be watched; [`io::ErrorKind::QuotaExceeded`] if there are as
    /// many connections as [`Server::max_connections`](crate::Server::max_connections) allows, which has
    /// then been answered 503.
    ///
    /// ```no_run
    /// use std::io::Read;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop =
    ///     framewire::Server::none().on_message(|peer, message| { peer.send(message); })?;
    /// let (mut stream, _) = std::net::TcpListener::bind("127.0.0.1:9001")?.accept()?;
    /// let mut head = [0; 100];
    /// let count = stream.read(&mut head)?;
    /// // Here would be decided whether this is a request for a WebSocket.
    /// event_loop.adopt(stream, &head[..count], "")?;
    /// event_loop.run()
    /// # }
    /// ```
    pub fn adopt(
        &mut self,
        stream: impl Into<AdoptedStream>,
        head: impl AsRef<[u8]>,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<PeerId> {
        self.add_adopted(*Adoption::new(stream, None, [head.as_ref(), leftover.as_ref()])?)
    }

    /// The same, with a request that the other server has parsed.
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_request(
        &mut self,
        stream: impl Into<AdoptedStream>,
        request: &RequestParts,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<PeerId> {
        self.adopt(stream, request.to_head(), leftover)
    }

    /// Serves a connection to which another server has sent the 101; `leftover` is what was read behind
    /// the request.
    ///
    /// [`on_upgrade`](Handler::on_upgrade) is asked all the same, since it makes the session. What it
    /// accepts with says nothing any more, and a rejection becomes a Close; see
    /// [`Connection::upgraded`](crate::Connection::upgraded).
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_upgraded(
        &mut self,
        stream: impl Into<AdoptedStream>,
        upgraded: Upgraded,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<PeerId> {
        self.add_adopted(*Adoption::new(stream, Some(upgraded), [&[], leftover.as_ref()])?)
    }

    pub(super) fn add_adopted(&mut self, adoption: Adoption) -> io::Result<PeerId> {
        let Adoption { socket, upgraded, bytes } = adoption;
        self.core.now = self.start.elapsed();
        let config = &self.core.config;
        let connection = match upgraded {
            None => Endpoint::server(config),
            Some(upgraded) => Endpoint::upgraded(upgraded, config),
        };
        let id = self.add(socket, connection).ok_or(io::ErrorKind::QuotaExceeded)?;
        if let Some(slot) = self.core.slots.get_mut(id) {
            slot.keep_unread(&bytes);
            // What TLS has decrypted already, no event tells of.
            slot.readable = true;
            slot.shared = true;
        }
        self.read_later(id);
        Ok(id)
    }
}

/// Connections that another server has accepted, from any thread.
impl Handle {
    /// Has the loop serve a connection that another server has accepted; see [`EventLoop::adopt`]. If
    /// there is no room for it, it is answered 503.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop =
    ///     framewire::Server::none().on_message(|peer, message| { peer.send(message); })?;
    /// let handle = event_loop.handle();
    /// std::thread::spawn(move || -> std::io::Result<()> {
    ///     for stream in std::net::TcpListener::bind("127.0.0.1:9001")?.incoming() {
    ///         handle.adopt(stream?, "", "")?;
    ///     }
    ///     Ok(())
    /// });
    /// event_loop.run()
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The system's, if the stream cannot be made non-blocking; [`io::ErrorKind::NotConnected`] if the
    /// loop is gone, and the stream is closed then.
    pub fn adopt(
        &self,
        stream: impl Into<AdoptedStream>,
        head: impl AsRef<[u8]>,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.adoption(Adoption::new(stream, None, [head.as_ref(), leftover.as_ref()])?)
    }

    /// The same, with a request that the other server has parsed; see [`EventLoop::adopt_request`].
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_request(
        &self,
        stream: impl Into<AdoptedStream>,
        request: &RequestParts,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.adopt(stream, request.to_head(), leftover)
    }

    /// The same for a connection to which another server has sent the 101; see
    /// [`EventLoop::adopt_upgraded`].
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt).
    pub fn adopt_upgraded(
        &self,
        stream: impl Into<AdoptedStream>,
        upgraded: Upgraded,
        leftover: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        self.adoption(Adoption::new(stream, Some(upgraded), [&[], leftover.as_ref()])?)
    }

    fn adoption(&self, adoption: Box<Adoption>) -> io::Result<()> {
        let (lightest, _) = self.loops.lightest();
        self.loops.departs(lightest);
        if self.loops.order(lightest, Command::Adopt(adoption)) {
            return Ok(());
        }
        self.loops.arrives(lightest);
        Err(io::Error::new(io::ErrorKind::NotConnected, "the event loop is gone"))
    }
}
