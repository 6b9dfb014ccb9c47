use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ProtocolVersion, ServerConnection};

/// What TLS knows of a client that has connected; see [`Caller::tls`](crate::Caller::tls).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    server_name: Option<Box<str>>,
    alpn: Option<Box<[u8]>>,
    certificates: Vec<CertificateDer<'static>>,
    version: Option<ProtocolVersion>,
    cipher: Option<CipherSuite>,
}

impl TlsSession {
    pub(crate) fn of(connection: &ServerConnection) -> Self {
        let certificates = connection.peer_certificates().unwrap_or_default();
        Self {
            server_name: connection.server_name().map(Box::from),
            alpn: connection.alpn_protocol().map(Box::from),
            certificates: certificates.to_vec(),
            version: connection.protocol_version(),
            cipher: connection.negotiated_cipher_suite().map(|suite| suite.suite()),
        }
    }

    /// The name of the server that the client asked for (SNI, RFC 6066 section 3).
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocol that was negotiated (ALPN, RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The chain of certificates that the client has shown, its own first: empty unless
    /// [`TlsServer`](crate::TlsServer) asked for it. It was verified.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The version of TLS; `None` before the handshake of TLS is over.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// The cipher suite that was negotiated; `None` before the handshake of TLS is over.
    pub fn cipher_suite(&self) -> Option<CipherSuite> {
        self.cipher
    }
}
