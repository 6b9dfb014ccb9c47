use std::net::IpAddr;

use crate::handshake::{InvalidNetwork, Network};

/// From which addresses a listener takes a header of the PROXY protocol; for
/// [`Server::proxy_protocol`](crate::Server::proxy_protocol).
///
/// Such a header, of version 1 or 2, comes before everything else, TLS included, and tells the addresses of the
/// client whose connection a proxy hands on: haproxy sends it with `send-proxy` or `send-proxy-v2`, nginx with
/// `proxy_protocol on`, and load balancers of TCP where it is switched on.
///
/// It is taken only from the networks that are named here, and from Unix-domain sockets. The addresses in it are
/// then those of the [`Caller`](crate::Caller); a header of the proxy's own connections (`LOCAL`, `UNKNOWN`), such
/// as health checks, changes nothing.
///
/// ```
/// use framewire::{ProxyProtocol, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0")?.proxy_protocol(ProxyProtocol::required(["10.0.0.0/8"])?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    networks: Vec<Network>,
    is_required: bool,
}

impl ProxyProtocol {
    /// Every connection has to begin with a header, and to come from one of these networks: text such as
    /// `10.0.0.0/8` or `::1`, or IP addresses. All others are ended.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] names the one that is no network.
    pub fn required<N>(networks: impl IntoIterator<Item = N>) -> Result<Self, InvalidNetwork>
    where
        N: TryInto<Network>,
        InvalidNetwork: From<N::Error>,
    {
        Self::new(networks, true)
    }

    /// Connections from these networks may begin with a header, or come without one. From elsewhere a header is
    /// answered 400.
    ///
    /// # Errors
    ///
    /// As [`required`](Self::required).
    pub fn optional<N>(networks: impl IntoIterator<Item = N>) -> Result<Self, InvalidNetwork>
    where
        N: TryInto<Network>,
        InvalidNetwork: From<N::Error>,
    {
        Self::new(networks, false)
    }

    fn new<N>(
        networks: impl IntoIterator<Item = N>,
        is_required: bool,
    ) -> Result<Self, InvalidNetwork>
    where
        N: TryInto<Network>,
        InvalidNetwork: From<N::Error>,
    {
        let networks = networks.into_iter().map(|network| Ok(network.try_into()?));
        Ok(Self { networks: networks.collect::<Result<_, InvalidNetwork>>()?, is_required })
    }

    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Whether a header is taken from there; `None` for a Unix-domain socket.
    pub(super) fn accepts(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.networks.iter().any(|network| network.contains(address)))
    }
}
