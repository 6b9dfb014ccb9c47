use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// Why TLS could not be set up, or why it failed with a peer.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum TlsError {
    /// A file could not be read; the source is the system's error.
    File(PathBuf, Arc<io::Error>),
    /// A file has the wrong content; the source says why: it has no key in it, for example.
    InFile(PathBuf, Box<Self>),
    /// A text that should be PEM is not.
    Pem(String),
    /// The PEM has no certificate in it.
    NoCertificate,
    /// The PEM has no private key in it.
    NoKey,
    /// The platform's roots could not be read, for the reason that it gives.
    NoPlatformRoots(String),
    /// This is not a name that a server can have.
    ServerName(String),
    /// The peer ended the transport in the middle of the handshake of TLS.
    Ended,
    /// A key does not fit its certificate, the peer's certificate is not to be trusted, or the peer
    /// broke the protocol of TLS, refused, or does not speak it.
    Tls(rustls::Error),
}

impl TlsError {
    /// The same, found in a file.
    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::InFile(path.to_owned(), Box::new(self))
    }

    /// What is wrong with the peer's certificate, if TLS failed because of it.
    pub fn certificate(&self) -> Option<&CertificateError> {
        match self {
            Self::Tls(rustls::Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        }
    }

    /// The alert with which the peer ended the handshake, if it sent one.
    pub fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Tls(rustls::Error::AlertReceived(alert)) => Some(*alert),
            _ => None,
        }
    }

    /// Whether the peer answered with something other than TLS: most likely the port is one for `ws:`.
    pub fn is_not_tls(&self) -> bool {
        let Self::Tls(rustls::Error::InvalidMessage(error)) = self else { return false };
        matches!(error, InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, _) => write!(f, "{} could not be read", path.display()),
            Self::InFile(path, _) => write!(f, "{} cannot be used", path.display()),
            Self::Pem(error) => write!(f, "not PEM: {error}"),
            Self::NoCertificate => f.write_str("no certificate in the PEM"),
            Self::NoKey => f.write_str("no private key in the PEM"),
            Self::NoPlatformRoots(error) => {
                write!(f, "the platform's trusted roots could not be read: {error}")
            }
            Self::ServerName(name) => write!(f, "{name:?} cannot be the name of a TLS server"),
            Self::Ended => f.write_str("the peer ended the connection during the TLS handshake"),
            Self::Tls(_) if self.is_not_tls() => f.write_str("the peer does not speak TLS here"),
            Self::Tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                f.write_str("invalid peer certificate: no trusted root has issued it")
            }
            Self::Tls(error) => write!(f, "TLS: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(_, error) => Some(error),
            Self::InFile(_, error) => Some(error),
            // `Display` prints its text already; what is left is its own source.
            Self::Tls(error) => error.source(),
            _ => None,
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    fn a_chain_of_causes_says_each_thing_once() {
        let missing = Arc::new(io::Error::from(io::ErrorKind::NotFound));
        let errors = [
            (
                TlsError::File("cert.pem".into(), missing),
                "cert.pem could not be read: entity not found",
            ),
            (
                TlsError::NoKey.in_file(Path::new("key.pem")),
                "key.pem cannot be used: no private key in the PEM",
            ),
            (rustls::Error::DecryptError.into(), "TLS: cannot decrypt peer's message"),
        ];
        for (error, told) in errors {
            let mut words = vec![error.to_string()];
            let mut source = error.source();
            while let Some(cause) = source {
                words.push(cause.to_string());
                source = cause.source();
            }
            assert_eq!(words.join(": "), told);
        }
    }
}
