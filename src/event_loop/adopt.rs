use std::fmt;
use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

use crate::protocol::Upgraded;

use super::socket::Socket;

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
