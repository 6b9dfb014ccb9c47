//! WebSocket (RFC 6455) and permessage-deflate (RFC 7692) from scratch in safe Rust, with no async
//! runtime: an engine that does no I/O, for both roles, with a mio server and a blocking client around
//! it.
//!
//! ```text
//!             your closure, your Handler, or a loop of your own
//!                     ▲ events                 │ calls
//!                     │                        ▼
//!             ┌───────┴──────────────────────────────────┐
//!    bytes in │                Connection                │ bytes out
//!   ─────────►│  CONNECTING ─► OPEN ─► CLOSING ─► CLOSED │─────────►
//!     receive │                                          │ output
//!             └───────▲────────────────────────▲─────────┘
//!                     │ time                   │ chance
//!                 Duration                  Entropy
//! ```
//!
//! Nothing else passes the border of a [`Connection`]: it opens no socket, reads no clock and draws no
//! random number. So one and the same engine runs on mio, on blocking sockets and in a test with a clock
//! made of numbers. Use it on one of three levels; on the other side of the wire, [`Client`] is a client
//! that blocks.
//!
//! # A server in one function
//!
//! [`serve`] gives every message of every connection to a closure.
//!
#![cfg_attr(feature = "mio", doc = "```no_run")]
#![cfg_attr(not(feature = "mio"), doc = "```ignore")]
//! fn main() -> std::io::Result<()> {
//!     framewire::serve("127.0.0.1:9001", |peer, message| { peer.send(message); })
//! }
//! ```
//!
//! # A server with a handler
//!
//! A [`Handler`] decides who may connect, keeps a session for each connection, and hears of everything
//! that happens to it. A [`Server`] has the settings; its [`EventLoop`] runs, or turns once at a time
//! inside a loop of yours. A [`Handle`] reaches the loop from other threads.
//!
#![cfg_attr(feature = "mio", doc = "```")]
#![cfg_attr(not(feature = "mio"), doc = "```ignore")]
//! use framewire::{Config, Decision, Handler, IncomingRequest, Message, Outcome, Peer, Response, Server};
//!
//! /// Tells everybody who said what.
//! struct Room;
//!
//! impl Handler for Room {
//!     /// The name.
//!     type Session = String;
//!
//!     fn on_upgrade(&mut self, request: &IncomingRequest) -> Decision<String> {
//!         match request.query_parameter("name") {
//!             Some(name) => Decision::accept(name.into_owned()),
//!             None => Decision::reject(Response::bad_request("who are you?\n")),
//!         }
//!     }
//!
//!     fn on_message(&mut self, peer: &mut Peer<'_, String>, message: Message<'_>) {
//!         let Some(text) = message.as_text() else { return };
//!         let line = format!("{}: {text}", peer.session());
//!         peer.broadcast(line);
//!     }
//!
//!     fn on_close(&mut self, peer: &mut Peer<'_, String>, outcome: &Outcome) {
//!         println!("{} left: {outcome}", peer.session());
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let server = Server::bind("127.0.0.1:0")?.config(Config::new().max_message_size(64 * 1024));
//! println!("listening on ws://{}", server.local_addr()?);
//! # let address = server.local_addr()?;
//! # let client = move || -> std::io::Result<Vec<u8>> {
//! #     use std::io::{Read, Write};
//! #     let mut stream = std::net::TcpStream::connect(address)?;
//! #     stream.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
//! #     stream.write_all(
//! #         b"GET /?name=ann HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//! #         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
//! #         \x81\x82\0\0\0\0hi",
//! #     )?;
//! #     let mut bytes = Vec::new();
//! #     while !bytes.ends_with(b"\x81\x07ann: hi") {
//! #         let mut byte = [0];
//! #         stream.read_exact(&mut byte)?;
//! #         bytes.push(byte[0]);
//! #     }
//! #     Ok(bytes)
//! # };
//! let mut event_loop = server.into_event_loop(Room)?;
//! # let handle = event_loop.handle();
//! # let client = std::thread::spawn(move || {
//! #     let bytes = client();
//! #     handle.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
//! #     bytes
//! # });
//! event_loop.run()?;
//! # assert!(client.join().unwrap()?.starts_with(b"HTTP/1.1 101 "));
//! # Ok(())
//! # }
//! ```
//!
//! # The engine, without I/O
//!
//! A [`Connection`] is one end, of either role. Here two of them talk without a socket, by a clock of
//! numbers. Each turn begins with [`handle_timeout`](Connection::handle_timeout), which tells the time and
//! does what is due, and ends with a wait, for no longer than
//! [`next_timeout`](Endpoint::next_timeout) says: so every deadline of a [`Config`] is kept.
//!
#![cfg_attr(feature = "getrandom", doc = "```")]
#![cfg_attr(not(feature = "getrandom"), doc = "```ignore")]
//! use framewire::handshake::{ClientRequest, Url};
//! use framewire::{Accept, Config, Connection, Event, Outcome, SystemEntropy, TimeoutKind};
//! use std::time::Duration;
//!
//! let config = Config::new();
//! let request = ClientRequest::new(&Url::parse("ws://localhost/echo")?);
//! let mut client = Connection::client(request, &config, SystemEntropy::new())?;
//! let mut server = Connection::server(&config);
//! // Since any moment, the same one for all calls.
//! let mut now = Duration::ZERO;
//!
//! while client.buffered_amount() > 0 {
//!     now += Duration::from_millis(20);
//!     for end in [&mut client, &mut server] {
//!         end.handle_timeout(now);
//!     }
//!     // What a socket would carry there ...
//!     let mut bytes = client.output().collect::<Vec<_>>().concat();
//!     client.consume_output(bytes.len());
//!     let mut input = &mut bytes[..];
//!     while let Some(event) = server.receive(&mut input) {
//!         match event {
//!             Event::Request(_) => server.accept(Accept::new())?,
//!             Event::Message(message) => server.send(message)?,
//!             _ => {}
//!         }
//!     }
//!     // ... and back.
//!     let mut bytes = server.output().collect::<Vec<_>>().concat();
//!     server.consume_output(bytes.len());
//!     let mut input = &mut bytes[..];
//!     while let Some(event) = client.receive(&mut input) {
//!         match event {
//!             Event::Open(_) => client.send("Hello")?,
//!             Event::Message(message) => {
//!                 assert_eq!(message.as_text(), Some("Hello"));
//!                 client.close(1000, "")?;
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! assert!(server.wants_shutdown() && server.receive_eof().was_clean());
//! // The client waits for the end of the transport, but not for ever.
//! while let Some(next) = client.next_timeout() {
//!     now = now.max(next);
//!     client.handle_timeout(now);
//! }
//! assert_eq!(now, Duration::from_millis(60) + Duration::from_secs(5));
//! assert!(client.receive_eof().was_clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In a loop of your own, a [`Driver`] does all of that over a socket, or over any other [`Transport`], and never
//! waits.
//!
//! Beneath it lie its parts, each of use alone: [`wire`] for frames, [`handshake`] for the HTTP upgrade,
//! and [`deflate`] for compression.
//!
//! # Errors
//!
//! The type of an error says whose fault it was. A [`ProtocolError`] or a [`HandshakeError`] is the peer's, and comes as an
//! [`Event`], after the right answer was queued; a [`SendError`] is the caller's, and nothing was sent. A
//! close is no error: how a connection ended is its [`Outcome`], reported exactly once.
//!
//! # Coming from other libraries
//!
#![cfg_attr(all(feature = "mio", feature = "deflate"), doc = "The [`guide`] has")]
#![cfg_attr(
    not(all(feature = "mio", feature = "deflate")),
    doc = "The guide (with all features) has"
)]
//! what ws, uWebSockets and socket.io call things beside what they are called here, and recipes.
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `mio` | yes | [`serve`], [`Server`], [`Handler`]: the event loop; [`Client`]. Turns `getrandom` on |
//! | `deflate` | yes | permessage-deflate: [`deflate`], [`Config`]'s `deflate` |
//! | `simdutf8` | yes | faster validation of text; without it, the standard library's |
//! | `getrandom` | by `mio` | [`SystemEntropy`]; without it, bring an [`Entropy`] for clients |
//! | `tls` | no | `wss:` on both sides, by rustls: `TlsServer`, `TlsClient`. Turns `mio` on |
//! | `native-roots` | no | the roots that the platform trusts: `TlsClient::platform`. Turns `tls` on |
//! | `json` | no | `Message::from_json` and `Message::json`, by serde_json |
//! | `log` | no | what the loop does, told to the `log` crate: ids and reasons, never contents. Targets are `framewire::accept`, `handshake`, `connection`, `limits` and `shutdown`; warnings are the system's faults. Turns `mio` on |
//!
//! With none of them the engine is left: no I/O, no system call, three dependencies.
//!
#![cfg_attr(not(feature = "mio"), doc = "[`serve`]: #features")]
#![cfg_attr(not(feature = "mio"), doc = "[`Client`]: #features")]
#![cfg_attr(not(feature = "mio"), doc = "[`Handler`]: #features")]
#![cfg_attr(not(feature = "mio"), doc = "[`Server`]: #features")]
#![cfg_attr(not(feature = "mio"), doc = "[`EventLoop`]: #features")]
#![cfg_attr(not(feature = "mio"), doc = "[`Handle`]: #features")]
#![cfg_attr(not(feature = "deflate"), doc = "[`deflate`]: #features")]
#![cfg_attr(not(feature = "getrandom"), doc = "[`SystemEntropy`]: #features")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "mio")]
mod client;
#[cfg(feature = "deflate")]
pub mod deflate;
#[cfg(feature = "mio")]
mod event_loop;
#[doc(alias(
    "ws",
    "uWebSockets",
    "socket.io",
    "tungstenite",
    "acks",
    "emitWithAck",
    "tutorial",
    "migration",
    "cookbook",
    "examples"
))]
#[cfg(all(feature = "mio", feature = "deflate"))]
pub mod guide;
pub mod handshake;
mod io;
mod protocol;
#[cfg(feature = "tls")]
mod tls;
pub mod wire;

/// The crate whose types [`Peers::register_source`] takes, in the version that it takes.
#[cfg(feature = "mio")]
#[doc(no_inline)]
pub use ::mio;
#[cfg(feature = "mio")]
pub use client::{
    Backoff, Client, ClientBuilder, ClientError, ClientReader, ClientTimeout, ClientWriter, Closer,
    Ending, IfUnsent, MessageReader, MessageStream, MessageWriter, Messages, ProxyError,
    Reconnecting, ReconnectingWriter, RedirectError, Unsent,
};
#[cfg(feature = "mio")]
pub use event_loop::{
    AdoptedStream, Attempt, Audience, CallbackServer, Callbacks, Caller, CloseCounts, Counters,
    Decision, EventLoop, EventLoops, Handle, Handler, HandshakeCounts, HttpAnswer, IncomingRequest,
    ListenOptions, LoopHandle, OnPanic, OpeningError, PathPattern, PatternError, Peer, PeerId,
    PeerList, Peers, Pending, PendingAnswer, ProxyProtocol, QueueFull, RateLimit, RateLimitPolicy,
    RouteError, RouteId, Routes, Sent, Server, Shutdown, ShutdownReport, SlowConsumer, SourceEvent,
    SourceId, Subscribed, Timer, TimerId, TopicError, TrafficCounts, serve,
};
pub use handshake::{Request, Response, TrustedProxies};
pub use io::{Budget, Driver, Inbox, NonBlocking, Stopped, Transport};
#[cfg(feature = "json")]
pub use protocol::JsonError;
#[cfg(feature = "getrandom")]
pub use protocol::SystemEntropy;
pub use protocol::{
    Accept, Bytes, Cause, Chunks, Compress, CompressionMetrics, Config, Connection, Endpoint,
    Entropy, EntropyError, Event, Fragment, Fragments, HandshakeError, Initiator, InvalidConfig,
    Message, MessageKind, Metrics, Outcome, Outgoing, PartialRequest, PayloadBuffer, Prepared,
    ProtocolError, Role, SendError, State, Text, TimeoutKind, UnexpectedKind, Upgraded, Workspace,
};
#[cfg(feature = "tls")]
pub use rustls;
#[cfg(feature = "tls")]
pub use tls::{TlsClient, TlsError, TlsServer, TlsSession};
pub use wire::{CloseCode, CloseFrame};

/// Compiles the programs of the README.
#[cfg(all(doctest, feature = "mio"))]
#[doc = include_str!("../README.md")]
struct Readme;
