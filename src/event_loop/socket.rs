use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;

use mio::event::Source;
use mio::net::TcpStream;
#[cfg(unix)]
use mio::net::UnixStream;

use crate::io::tcp;
use crate::io::transport::{self, Stopped, Stream, Transport};
use crate::protocol::{Chunks, PayloadBuffer};
#[cfg(feature = "tls")]
use crate::tls::{TlsError, TlsSession, TlsSocket};

#[cfg(test)]
use super::simulation::network::Pipe;

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
    #[cfg(test)]
    Simulated(Pipe),
}

impl Socket {
    /// A socket that begins to connect; an event for writing tells that it has, or has failed.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        tcp::set_options(&stream);
        Ok(Self::Plain(Plain::Tcp(stream)))
    }

    /// The same socket with TLS, as the client of a server of this name.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls_client(
        self,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> io::Result<Self> {
        let Self::Plain(plain) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let tls = TlsSocket::client(config, name, plain).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(tls)))
    }

    /// A socket that was accepted, whose client is to begin with TLS.
    #[cfg(feature = "tls")]
    pub(super) fn accept_tls(config: Arc<rustls::ServerConfig>, plain: Plain) -> io::Result<Self> {
        let tls = TlsSocket::server(config, plain).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(tls)))
    }

    /// A stream that somebody else has accepted.
    pub(super) fn from_tcp(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        // The same options as an accepted socket has.
        tcp::set_options(&stream);
        Ok(Self::Plain(Plain::Tcp(stream)))
    }

    #[cfg(unix)]
    pub(super) fn from_unix(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Plain(Plain::Unix(UnixStream::from_std(stream))))
    }

    #[cfg(test)]
    pub(super) fn simulated(pipe: Pipe) -> Self {
        Self::Plain(Plain::Simulated(pipe))
    }

    /// The same with the TLS that is spoken on it.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, session: rustls::ServerConnection) -> io::Result<Self> {
        match self {
            Self::Plain(plain) => {
                Ok(Self::Tls(Box::new(TlsSocket::adopted(session.into(), plain))))
            }
            // TLS within TLS is not supported.
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
    pub(super) fn refuse(&mut self, refusal: &[u8]) {
        // One write, whose error would change nothing. What the client has sent is read first: if it were left unread, the
        // system would send a reset instead of the answer.
        match self {
            Self::Plain(plain) => {
                let _ = transport::read(plain, &mut [0; 16 * 1024]);
                let _ = transport::retry(|| Write::write(plain, refusal));
                let _ = Stream::shutdown(plain);
            }
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                let _ = Stream::shutdown(tls.get_mut());
            }
            // A foreign transport is only dropped.
            Self::Foreign(_) => {}
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<TlsSession> {
        match self {
            Self::Tls(tls) => tls.session(),
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

    /// Whether TLS is spoken, and has heard anything of the peer.
    #[cfg(feature = "tls")]
    pub(super) fn has_heard_tls(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.has_heard())
    }

    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = self.plain().map_or_else(|| Err(no_address()), Plain::peer_addr);
        address.map(canonical)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.plain().map_or_else(|| Err(no_address()), Plain::local_addr);
        address.map(canonical)
    }

    /// Where the socket of a server is that this one was accepted at, or the one that was dialled.
    #[cfg(unix)]
    pub(super) fn unix_path(&self) -> Option<PathBuf> {
        match self.plain()? {
            Plain::Tcp(_) => None,
            Plain::Unix(stream) => Some(stream.local_addr().ok()?.as_pathname()?.to_owned()),
            #[cfg(test)]
            Plain::Simulated(_) => None,
        }
    }

    /// Whether it is a Unix-domain socket.
    pub(super) fn is_unix(&self) -> bool {
        #[cfg(unix)]
        return matches!(self.plain(), Some(Plain::Unix(_)));
        #[cfg(not(unix))]
        false
    }

    /// Reads what the system has, before TLS or anything else has read.
    pub(super) fn read_ahead(&mut self, buffer: &mut [u8]) -> (usize, Stopped) {
        match self {
            Self::Plain(plain) => Transport::read(plain, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => transport::read(tls.get_mut(), buffer),
            // Foreign transports are adopted, never accepted.
            Self::Foreign(_) => (0, Stopped::Eof),
        }
    }

    /// Gives back what was read ahead and is for TLS: if TLS is spoken.
    #[cfg_attr(not(feature = "tls"), allow(unused_variables, reason = "there is no TLS"))]
    pub(super) fn put_back(&mut self, bytes: &[u8]) -> bool {
        #[cfg(feature = "tls")]
        if let Self::Tls(tls) = self {
            tls.put_back(bytes);
            return true;
        }
        false
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
            #[cfg(test)]
            Plain::Simulated(pipe) => pipe,
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
            #[cfg(test)]
            Self::Simulated(pipe) => Read::read(pipe, buffer),
        }
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
            #[cfg(test)]
            Self::Simulated(pipe) => Write::write(pipe, bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write_vectored(slices),
            #[cfg(test)]
            Self::Simulated(pipe) => pipe.write_vectored(slices),
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
            #[cfg(test)]
            Self::Simulated(pipe) => Stream::shutdown(pipe),
        }
    }

    #[cfg(test)]
    fn stopped(&self, count: usize, stopped: Stopped) -> Stopped {
        match self {
            Self::Simulated(pipe) => pipe.stopped(count, stopped),
            _ => stopped,
        }
    }
}

impl Plain {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
            #[cfg(test)]
            Self::Simulated(pipe) => Ok(pipe.address()),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            #[cfg(unix)]
            Self::Unix(_) => Err(no_address()),
            #[cfg(test)]
            Self::Simulated(pipe) => Ok(pipe.address()),
        }
    }
}

/// With the IPv4 address that a socket of both families gives in the form of IPv6.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // Kept as it is, with its zone.
        IpAddr::V6(_) => address,
    }
}

pub(super) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this kind of socket has no IP address")
}
