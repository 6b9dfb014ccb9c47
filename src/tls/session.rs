use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};

/// What TLS knows of a client that has connected; see [`Caller::tls`](crate::Caller::tls) and
/// [`Peer::tls`](crate::Peer::tls).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    server_name: Option<Box<str>>,
    alpn: Option<Box<[u8]>>,
    certificates: Vec<CertificateDer<'static>>,
    version: Option<ProtocolVersion>,
    cipher: Option<CipherSuite>,
    is_resumed: bool,
}

impl TlsSession {
    pub(super) fn of(state: &CommonState, server_name: Option<&str>) -> Self {
        Self {
            server_name: server_name.map(Box::from),
            alpn: state.alpn_protocol().map(Box::from),
            certificates: state.peer_certificates().unwrap_or_default().to_vec(),
            version: state.protocol_version(),
            cipher: state.negotiated_cipher_suite().map(|suite| suite.suite()),
            is_resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
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

    /// Whether an earlier session was resumed, by a ticket of this server or of one that has the same
    /// [keys](crate::TlsServer::ticket_keys), in place of a full handshake.
    #[doc(alias = "session resumption")]
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }
}
