//! Which proxies are trusted, and which header fields of theirs.

use core::net::IpAddr;

use super::network::{InvalidNetwork, Network};

/// The addresses of the proxies that are trusted to tell who their clients are; for
/// [`Config::trusted_proxies`](crate::Config::trusted_proxies).
///
/// Where a connection comes from one of these, the fields that it forwards say who the client is: of the addresses
/// in `X-Forwarded-For`, or `Forwarded` (RFC 7239), the rightmost that is none of these. What stands to the left of
/// it anybody may have written. Where a connection comes from elsewhere, these fields mean nothing.
///
/// ```
/// use framewire::handshake::TrustedProxies;
/// use std::net::Ipv6Addr;
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8", "192.168.1.2"])?
///     .and([Ipv6Addr::LOCALHOST])?
///     .unix_sockets();
/// assert!(proxies.trusts("10.1.2.3".parse()?));
/// let error = TrustedProxies::new(["10.0.0.0/8", "example.com"]).unwrap_err();
/// assert!(error.to_string().contains("example.com"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("X-Forwarded-For", "X-Real-IP", "reverse proxy", "nginx", "haproxy", "load balancer"))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    unix_sockets: bool,
    fields: ForwardedFields,
}

/// The header fields in which a proxy tells who its client is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ForwardedFields {
    /// Whichever of the two the request has. Most proxies write one form and hand on the other as the client sent it,
    /// and which one that is cannot be told. So where a request has both forms, host, scheme, port and the proxies
    /// between are believed only as far as both agree, and a request in which they name different clients is rejected
    /// with 400. The address of the client is believed if only one form has it. Better name the form that your
    /// proxies write: then no client can interfere.
    #[default]
    Any,
    /// `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto` alone.
    XForwarded,
    /// `Forwarded` alone (RFC 7239).
    Forwarded,
}

impl TrustedProxies {
    /// The proxies in these networks: text such as `10.0.0.0/8` or `::1`, or IP addresses.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] names the one that is no network.
    pub fn new<N>(networks: impl IntoIterator<Item = N>) -> Result<Self, InvalidNetwork>
    where
        N: TryInto<Network>,
        InvalidNetwork: From<N::Error>,
    {
        Self::default().and(networks)
    }

    /// Adds the proxies in these networks.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn and<N>(mut self, networks: impl IntoIterator<Item = N>) -> Result<Self, InvalidNetwork>
    where
        N: TryInto<Network>,
        InvalidNetwork: From<N::Error>,
    {
        for network in networks {
            self.networks.push(network.try_into()?);
        }
        Ok(self)
    }

    /// Adds the proxies that connect over Unix-domain sockets.
    #[must_use]
    pub fn unix_sockets(mut self) -> Self {
        self.unix_sockets = true;
        self
    }

    /// Says which header fields these proxies write. A proxy has to replace these, or to add to them; those of which
    /// it does neither must not be believed, since the client has written them.
    #[must_use]
    pub fn fields(mut self, fields: ForwardedFields) -> Self {
        self.fields = fields;
        self
    }

    /// Whether this is the address of a trusted proxy.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Whether proxies that connect over Unix-domain sockets are trusted.
    #[must_use]
    pub fn trusts_unix_sockets(&self) -> bool {
        self.unix_sockets
    }

    pub(super) fn their_fields(&self) -> ForwardedFields {
        self.fields
    }
}
