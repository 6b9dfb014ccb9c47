//! The opening handshake as values: HTTP heads in and out (RFC 6455 section 4).
