//! The opening handshake as values: HTTP heads in and out (RFC 6455 section 4).
//!
//! ```text
//!   client                                               server
//!   Url ─► ClientRequest ──encode──►  GET … HTTP/1.1  ──► RequestReader ─► Request (─► BodyReader)
//!                                                                           │ accept, or reject
//!   Accepted ◄─verify─ Response ◄─ ResponseReader ◄── HTTP/1.1 101 ◄── encode_switching_protocols
//!                                                  ◄── HTTP/1.1 4xx ◄── Response::encode
//! ```
//!
//! Readers take bytes in any portions and leave those after the head alone, for they may be frames
//! already. Nothing here opens sockets, reads clocks or draws random numbers: the nonce of the key
//! is an argument.
//!
//! **Invariant.** The same bytes give the same value or the same error, however they are cut into
//! reads; work and memory are linear in the bytes that came.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod body_length;
mod body_reader;
mod client_request;
mod cookie;
mod date;
mod deflate_error;
mod forwarded;
mod head;
mod header_list;
mod headers;
mod host;
mod key;
mod names;
mod network;
mod owned;
mod proxy_header;
mod request;
mod request_error;
mod request_parts;
mod request_reader;
mod response;
mod response_error;
mod response_reader;
mod trusted_proxies;
mod url;

pub use body_reader::BodyReader;
pub use client_request::{Accepted, ClientRequest, ClientRequestError, basic_credentials};
pub use cookie::{Cookie, SameSite};
pub use date::HttpDate;
pub use deflate_error::DeflateError;
pub use forwarded::{Forwarded, ForwardedNode};
pub use head::{HeadError, HeadLimits};
pub use header_list::{Extension, HeaderListError, parse_extensions, parse_subprotocols};
pub use headers::{Headers, InvalidHeader, has_token, is_token};
pub(crate) use host::{is_host_name, is_name_of};
pub use key::{accept_key, encode_key, is_valid_key};
pub use network::{InvalidNetwork, Network};
pub use proxy_header::{ProxyHeader, ProxyHeaderError, ProxyHeaderReader};
pub use request::Request;
pub use request_error::RequestError;
pub use request_parts::RequestParts;
pub use request_reader::RequestReader;
pub use response::{Response, encode_switching_protocols};
pub(crate) use response::{accept_headers, is_of_handshake};
pub use response_error::ResponseError;
pub use response_reader::ResponseReader;
pub use trusted_proxies::{ForwardedFields, TrustedProxies};
pub use url::{Authority, Url, UrlError, percent_decode};
