use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::handshake::{Forwarded, ProxyHeader};
#[cfg(feature = "tls")]
use crate::tls::TlsSession;

use super::listener::{ListenerFacts, ListenerIndex};
use super::socket::Socket;

/// Who has connected, and to which socket: known before the 101, in
/// [`IncomingRequest::caller`](crate::IncomingRequest::caller) and [`Attempt::caller`](crate::Attempt::caller), and
/// after it by [`Peer::caller`](crate::Peer::caller).
///
/// Addresses are canonical: an IPv4 address is one, also on a socket of IPv6 that takes both.
///
/// ```
/// use framewire::{Decision, Handler, IncomingRequest, Message, Peer, Response};
/// use std::collections::HashSet;
/// use std::net::IpAddr;
///
/// struct Chat {
///     banned: HashSet<IpAddr>,
/// }
///
/// impl Handler for Chat {
///     type Session = ();
///
///     fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<()> {
///         match request.caller().ip() {
///             Some(ip) if self.banned.contains(&ip) => Decision::reject(Response::forbidden()),
///             _ => Decision::accept(()),
///         }
///     }
///
///     fn on_message(&mut self, _peer: &mut Peer<'_>, _message: Message<'_>) {}
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    #[cfg(unix)]
    unix_path: Option<PathBuf>,
    listener: Option<(ListenerIndex, Option<Arc<str>>)>,
    told: Told,
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsSession>>,
}

/// What proxies tell of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) header: Option<Arc<ProxyHeader>>,
    pub(super) forwarded: Option<Arc<Forwarded>>,
}

impl Told {
    /// The address of the caller whose own is this one; `None` if it is not known.
    pub(super) fn address(&self, remote: Option<SocketAddr>) -> Option<SocketAddr> {
        match self.forwarded.as_deref() {
            Some(forwarded) if forwarded.client().is_some() => forwarded.address(),
            _ => self.address_by_header(remote),
        }
    }

    /// The same before any request was read.
    pub(super) fn address_by_header(&self, remote: Option<SocketAddr>) -> Option<SocketAddr> {
        match self.header.as_deref() {
            Some(header) if !header.is_local() => header.source(),
            _ => remote,
        }
    }
}

impl Caller {
    /// The peer of a socket that was accepted at a listener, or has come from elsewhere.
    pub(super) fn of(
        socket: &Socket,
        listener: Option<(ListenerIndex, &ListenerFacts)>,
        told: Told,
    ) -> Self {
        let known = listener.and_then(|(_, facts)| facts.address);
        Self {
            remote: socket.peer_addr().ok(),
            local: known.or_else(|| socket.local_addr().ok()),
            #[cfg(unix)]
            unix_path: socket.unix_path(),
            listener: listener.map(|(index, facts)| (index, facts.name.clone())),
            told,
            #[cfg(feature = "tls")]
            tls: socket.tls().map(Box::new),
        }
    }

    /// The address of the client: of [`TrustedProxies`](crate::TrustedProxies) the one that they forward, then that
    /// of a header of the [PROXY protocol](crate::ProxyProtocol), then that of the connection itself. The port is 0
    /// where a proxy tells none.
    ///
    /// `None` if it is not known: over a Unix-domain socket without a proxy that tells it, where a trusted proxy
    /// keeps it to itself, and of a stream that was adopted as a
    /// [transport](crate::AdoptedStream::from_transport).
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.told.address(self.remote)
    }

    /// The IP address of the client, without the port; see [`address`](Self::address).
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    /// The address that the connection comes from, which may be a proxy's. `None` over a Unix-domain socket.
    #[must_use]
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// The address of this end of the connection. `None` over a Unix-domain socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The path of the Unix-domain socket that the client has connected to.
    #[cfg(unix)]
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix_path.as_deref()
    }

    /// Which of the server's sockets the client has connected to: the index in
    /// [`Server::local_addrs`](crate::Server::local_addrs), those of Unix-domain sockets counted. `None` for
    /// connections that were adopted or dialled.
    #[must_use]
    pub fn listener(&self) -> Option<usize> {
        self.listener.as_ref().map(|(index, _)| index.get())
    }

    /// The name that [`Server::name`](crate::Server::name) has given to that socket.
    #[must_use]
    pub fn listener_name(&self) -> Option<&str> {
        self.listener.as_ref()?.1.as_deref()
    }

    /// The header of the PROXY protocol with which the connection has begun, where that was
    /// [configured](crate::Server::proxy_protocol).
    #[must_use]
    pub fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.told.header.as_deref()
    }

    /// What [trusted proxies](crate::TrustedProxies) say of the client: the chain of addresses, the host and the
    /// scheme that it has asked for.
    #[must_use]
    pub fn forwarded(&self) -> Option<&Forwarded> {
        self.told.forwarded.as_deref()
    }

    /// What TLS knows of the client: the certificate it has shown, the name it has asked for. `None` where TLS is
    /// not spoken, or in front of this server.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<&TlsSession> {
        self.tls.as_deref()
    }
}
