//! The names of the headers that the handshake knows.

pub(super) const ACCEPT: &str = "Sec-WebSocket-Accept";
pub(super) const AUTHORIZATION: &str = "Authorization";
pub(super) const CONNECTION: &str = "Connection";
pub(super) const CONTENT_LENGTH: &str = "Content-Length";
pub(super) const CONTENT_TYPE: &str = "Content-Type";
pub(super) const COOKIE: &str = "Cookie";
pub(super) const DATE: &str = "Date";
pub(super) const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
pub(super) const FORWARDED: &str = "Forwarded";
pub(super) const HOST: &str = "Host";
pub(super) const KEY: &str = "Sec-WebSocket-Key";
pub(super) const ORIGIN: &str = "Origin";
pub(super) const PROTOCOL: &str = "Sec-WebSocket-Protocol";
pub(super) const SEC_ORIGIN: &str = "Sec-WebSocket-Origin";
pub(super) const SET_COOKIE: &str = "Set-Cookie";
pub(super) const TRANSFER_ENCODING: &str = "Transfer-Encoding";
pub(super) const UPGRADE: &str = "Upgrade";
pub(super) const VERSION: &str = "Sec-WebSocket-Version";
pub(super) const X_FORWARDED_FOR: &str = "X-Forwarded-For";
pub(super) const X_FORWARDED_HOST: &str = "X-Forwarded-Host";
pub(super) const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
