use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::{HTTP_1_1, TlsError, pem, provider};

/// The client's side of TLS: the roots that it trusts, and the certificate that it shows.
///
/// The server's certificate is always verified, against the name in the URL or the one given to
/// [`ClientBuilder::tls_server_name`](crate::ClientBuilder::tls_server_name). Where this is not enough,
/// [`ClientBuilder::tls`](crate::ClientBuilder::tls) takes a [`rustls::ClientConfig`] as well.
///
/// ```no_run
/// use framewire::{Client, TlsClient};
///
/// let tls = TlsClient::with_roots_pem_file("our-root.pem")?;
/// let client = Client::builder("wss://chat.internal/")?.tls(tls).connect()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsClient {
    roots: RootCertStore,
    certificate: Option<Arc<CertifiedKey>>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl Default for TlsClient {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsClient {
    /// Trusts the roots of the web, as Mozilla keeps them, compiled in.
    pub fn new() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self { roots, certificate: None }
    }

    /// Trusts the roots that the platform trusts.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoPlatformRoots`] if there are none to be found.
    #[cfg(feature = "native-roots")]
    pub fn with_platform_roots() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some certificates of a platform cannot be read; the others are used.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or_else(|| "none found".into(), ToString::to_string);
            return Err(TlsError::NoPlatformRoots(why));
        }
        Ok(Self { roots, certificate: None })
    }

    /// Trusts these roots, in PEM, and no others.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if there is no certificate in the PEM, or one that cannot be a root.
    pub fn with_roots_pem(roots: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        Self { roots: RootCertStore::empty(), certificate: None }.add_roots_pem(roots)
    }

    /// Trusts the roots in this PEM file, which is read now, and no others.
    ///
    /// # Errors
    ///
    /// As [`with_roots_pem`](Self::with_roots_pem), in [`TlsError::InFile`]; [`TlsError::File`] for a file that
    /// cannot be read.
    #[doc(alias("certificate authority", "CA"))]
    pub fn with_roots_pem_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        Self::with_roots_pem(pem::read_file(path)?).map_err(|error| error.in_file(path))
    }

    /// Trusts these roots, in PEM, in addition to the others.
    ///
    /// # Errors
    ///
    /// As [`with_roots_pem`](Self::with_roots_pem).
    #[doc(alias("self-signed", "rejectUnauthorized"))]
    pub fn add_roots_pem(mut self, roots: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        pem::add_roots(&mut self.roots, roots.as_ref())?;
        Ok(self)
    }

    /// Shows this certificate, in PEM, to servers that ask for one: the chain, the client's own
    /// certificate first, and its key.
    ///
    /// ```no_run
    /// use framewire::TlsClient;
    ///
    /// let tls = TlsClient::new()
    ///     .client_certificate_pem(std::fs::read("me.pem")?, std::fs::read("me.key")?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TlsError`] if one of them is missing or cannot be read, or the key belongs to another
    /// certificate.
    pub fn client_certificate_pem(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsError> {
        self.certificate = Some(pem::certified_key(chain.as_ref(), key.as_ref())?);
        Ok(self)
    }
}

/// What rustls wants to know, for those who want to add to it.
impl From<TlsClient> for Arc<ClientConfig> {
    fn from(client: TlsClient) -> Self {
        let TlsClient { roots, certificate } = client;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for TLS 1.2 and 1.3")
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let certificate: Arc<dyn ResolvesClientCert> =
                    Arc::new(SingleCertAndKey::from(certificate));
                builder.with_client_cert_resolver(certificate)
            }
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Self::new(config)
    }
}

/// What a client has that was not told otherwise. Shared, since sessions are resumed by it.
pub(crate) fn default_config() -> Arc<ClientConfig> {
    static DEFAULT: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(DEFAULT.get_or_init(|| TlsClient::new().into()))
}
