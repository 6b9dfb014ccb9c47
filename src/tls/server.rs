use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::Ticketer;
use rustls::pki_types::DnsName;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::tickets::SharedTickets;
use super::{HTTP_1_1, TlsError, pem, provider};

/// The server's side of TLS: its certificates, and what it asks of clients.
///
/// TLS 1.2 and 1.3 are spoken, with the ciphers that rustls holds safe. Clients that come back resume their
/// sessions by tickets (RFC 8446 section 2.2), whose key is made with the configuration and changed every six hours:
/// they cost less than a new handshake. Servers that stand for one another share
/// [keys of tickets](Self::ticket_keys). Where this is not enough, [`Server::tls`](crate::Server::tls) takes a
/// [`rustls::ServerConfig`] as well; one that was not made from a `TlsServer` has no tickets unless its `ticketer`
/// is set.
///
/// ```no_run
/// use framewire::{Server, TlsServer};
///
/// let tls = TlsServer::from_pem_files("chain.pem", "key.pem")?;
/// let server = Server::bind("0.0.0.0:443")?.tls(tls);
/// server.on_message(|peer, message| { peer.send(message); }).into_event_loop()?.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsServer {
    certificates: Certificates,
    clients: Arc<dyn ClientCertVerifier>,
    /// What clients have to show, for [`SharedTickets`].
    demand: Vec<u8>,
    ticket_keys: Option<Vec<[u8; 32]>>,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys stay out of logs.
        f.debug_struct("TlsServer")
            .field("names", &self.certificates.by_name.keys())
            .finish_non_exhaustive()
    }
}

impl TlsServer {
    /// A server with this certificate chain, its own certificate first, and this key, both in PEM.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if one of them is missing or cannot be read, or the key belongs to another
    /// certificate.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        Ok(Self::with(pem::certified_key(chain.as_ref(), key.as_ref())?))
    }

    fn with(default: Arc<CertifiedKey>) -> Self {
        let certificates = Certificates { default, by_name: HashMap::new() };
        Self {
            certificates,
            clients: Arc::new(NoClientAuth),
            demand: Vec::new(),
            ticket_keys: None,
        }
    }

    /// A server with the certificate chain and the key in these PEM files, which are read now.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem), in [`TlsError::InFile`]; [`TlsError::File`] for a file that cannot be read.
    #[doc(alias("certificate", "letsencrypt", "private key"))]
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        Ok(Self::with(pem::certified_key_of(chain.as_ref(), key.as_ref())?))
    }

    /// Shows another certificate to clients that ask for this name (SNI, RFC 6066 section 3). A name
    /// such as `*.example.com` stands for all that have one label in that place. Clients that ask for
    /// an unknown name, or for none, see the first certificate.
    ///
    /// ```no_run
    /// use framewire::TlsServer;
    ///
    /// let tls = TlsServer::from_pem_files("example.pem", "example.key")?
    ///     .certificate_for("chat.example", std::fs::read("chat.pem")?, std::fs::read("chat.key")?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem); [`TlsError::ServerName`] for what is no DNS name.
    #[doc(alias = "SNI")]
    pub fn certificate_for(
        mut self,
        name: &str,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsError> {
        if DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_err() {
            return Err(TlsError::ServerName(name.to_owned()));
        }
        let certificate = pem::certified_key(chain.as_ref(), key.as_ref())?;
        self.certificates.by_name.insert(name.to_ascii_lowercase(), certificate);
        Ok(self)
    }

    /// Lets in only clients with a certificate that one of these roots, in PEM, has issued.
    ///
    /// ```no_run
    /// use framewire::TlsServer;
    ///
    /// let tls = TlsServer::from_pem_files("chain.pem", "key.pem")?
    ///     .require_client_certificate(std::fs::read("our-clients.pem")?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TlsError`] if there is no certificate in the PEM, or one that cannot be a root.
    #[doc(alias("mTLS", "mutual TLS"))]
    pub fn require_client_certificate(mut self, roots: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        self.clients = verifier(roots.as_ref(), false)?;
        self.demand = [b"required", roots.as_ref()].concat();
        Ok(self)
    }

    /// Asks clients for a certificate, as
    /// [`require_client_certificate`](Self::require_client_certificate) does, but lets in those that
    /// have none; [`Peer::tls`](crate::Peer::tls) tells them apart.
    ///
    /// # Errors
    ///
    /// As [`require_client_certificate`](Self::require_client_certificate).
    pub fn request_client_certificate(mut self, roots: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        self.clients = verifier(roots.as_ref(), true)?;
        self.demand = [b"requested", roots.as_ref()].concat();
        Ok(self)
    }

    /// Sets the keys of session tickets, in place of one that this server makes for itself: a client that was at one
    /// server resumes its session at every other that has the same keys, on this machine or another, and after a
    /// restart. New tickets are made with the first key, and those of all keys are taken. Without any key no session
    /// is resumed.
    ///
    /// Draw the keys from a source of cryptographic randomness, keep them secret, and change them at least once a day:
    /// whoever gets one can take part in sessions that are resumed by it, and in recorded ones of TLS 1.2. To change
    /// them, let every server know the new key first, at the second place; then put it first; drop the old one a day
    /// later. A certificate that is [reloaded](crate::guide::tls) leaves tickets as they are.
    ///
    /// A ticket is not taken where [other certificates](Self::require_client_certificate) are asked of clients than
    /// where it was made, since a session that is resumed shows none.
    ///
    /// ```no_run
    /// use framewire::TlsServer;
    ///
    /// // 32 bytes a file; `openssl rand -out ticket.key 32` makes one.
    /// let key = |name| -> std::io::Result<[u8; 32]> {
    ///     std::fs::read(name)?.try_into().map_err(|_| std::io::ErrorKind::InvalidData.into())
    /// };
    /// let tls = TlsServer::from_pem_files("chain.pem", "key.pem")?
    ///     .ticket_keys([key("today.key")?, key("yesterday.key")?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("session ticket", "session resumption", "ssl_session_ticket_key", "ticketKeys"))]
    #[must_use]
    pub fn ticket_keys(mut self, keys: impl IntoIterator<Item = [u8; 32]>) -> Self {
        self.ticket_keys = Some(keys.into_iter().collect());
        self
    }
}

/// What rustls wants to know, for those who want to add to it.
impl From<TlsServer> for Arc<ServerConfig> {
    fn from(server: TlsServer) -> Self {
        let TlsServer { certificates, clients, demand, ticket_keys } = server;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for TLS 1.2 and 1.3")
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // What a session needs is in the client's ticket, so that any number can come back. Without randomness for
        // a key there are no tickets, and every handshake is a full one.
        if let Some(keys) = ticket_keys {
            if keys.is_empty() {
                // Nor does the server keep sessions in place of tickets.
                config.send_tls13_tickets = 0;
                config.session_storage = Arc::new(NoServerSessionStorage {});
            }
            config.ticketer = Arc::new(SharedTickets::new(keys, demand));
        } else if let Ok(ticketer) = Ticketer::new() {
            config.ticketer = ticketer;
        }
        Self::new(config)
    }
}

fn verifier(roots: &[u8], optional: bool) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut store = RootCertStore::empty();
    pem::add_roots(&mut store, roots)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| rustls::Error::General(error.to_string()).into())
}

/// The certificates of a server by the name that the client asks for.
#[derive(Clone, Debug)]
struct Certificates {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name.filter(|_| !self.by_name.is_empty()) else { return &self.default };
        let name = name.to_ascii_lowercase();
        let wild = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        self.by_name.get(&name).or_else(wild).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::TlsClient;
    use crate::tls::in_memory::MADE;

    #[test]
    fn keys_stay_out_of_logs() {
        let server = TlsServer::from_pem(MADE, MADE).unwrap();
        let server = server.certificate_for("other.example", MADE, MADE).unwrap();
        assert_eq!(format!("{server:?}"), "TlsServer { names: [\"other.example\"], .. }");
        let client = TlsClient::with_roots_pem(MADE).unwrap();
        assert_eq!(format!("{client:?}"), "TlsClient { roots: 1, .. }");
    }

    #[test]
    fn what_cannot_be_read_is_told_by_what_is_wrong_with_it() {
        let made =
            |chain: &str, key: &str| TlsServer::from_pem(chain, key).unwrap_err().to_string();
        assert_eq!(made("", MADE), "no certificate in the PEM");
        let broken = MADE.replace("-----END CERTIFICATE-----", "-----END OF IT-----");
        let error = made(&broken, MADE);
        assert!(error.starts_with("not PEM: "), "{error}");
        let error = TlsServer::from_pem(MADE, MADE).unwrap().certificate_for("a b", MADE, MADE);
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "\"a b\" cannot be the name of a TLS server");
    }
}
