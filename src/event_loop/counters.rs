use std::iter::Sum;
use std::ops::AddAssign;

use crate::wire::CloseCode;

/// What an event loop has done since it was made, as of the end of its latest turn.
///
/// [`Handle::counters`](crate::Handle::counters) and
/// [`EventLoop::counters`](crate::EventLoop::counters) make one. All numbers only grow, but for
/// [`connections`](Self::connections), [`open`](Self::open) and
/// [`buffered_bytes`](Self::buffered_bytes), which tell of now. They are read one after the other while
/// the loop runs on, so that two of them may be a turn apart. Those of several loops can be added up.
///
/// In the text format of Prometheus, at a path of the same port:
///
/// ```
/// use framewire::{Counters, Handle, Handler, HttpAnswer, IncomingRequest, Response, Server};
///
/// struct Observed(Option<Handle>);
///
/// fn metrics(counters: &Counters) -> String {
///     let mut text = format!(
///         "# TYPE websocket_open gauge\nwebsocket_open {}\n\
///         # TYPE websocket_received_bytes_total counter\nwebsocket_received_bytes_total {}\n\
///         # TYPE websocket_closes_total counter\n",
///         counters.open, counters.received.bytes,
///     );
///     for (code, count) in counters.closes_received.iter() {
///         text += &format!("websocket_closes_total{{code=\"{code}\"}} {count}\n");
///     }
///     text
/// }
///
/// impl Handler for Observed {
///     type Session = ();
/// #   fn on_upgrade(&mut self, _: &IncomingRequest) -> framewire::Decision<()> {
/// #       framewire::Decision::accept(())
/// #   }
/// #   fn on_message(&mut self, _: &mut framewire::Peer<'_>, _: framewire::Message<'_>) {}
///
///     fn on_http(&mut self, request: &IncomingRequest) -> HttpAnswer {
///         match (&self.0, request.path()) {
///             (Some(handle), "/metrics") => Response::text(metrics(&handle.counters())).into(),
///             _ => Response::not_found().into(),
///         }
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = Server::bind("127.0.0.1:0")?.into_event_loop(Observed(None))?;
/// event_loop.handler_mut().0 = Some(event_loop.handle());
/// # let (handle, address) = (event_loop.handle(), event_loop.local_addr()?);
/// # let client = std::thread::spawn(move || -> std::io::Result<String> {
/// #     use std::io::{Read, Write};
/// #     let mut stream = std::net::TcpStream::connect(address)?;
/// #     stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")?;
/// #     let mut text = String::new();
/// #     stream.read_to_string(&mut text)?;
/// #     handle.shutdown(1001, "", std::time::Duration::ZERO).unwrap();
/// #     Ok(text)
/// # });
/// event_loop.run()?;
/// # let text = client.join().unwrap()?;
/// # assert!(text.contains("\nwebsocket_open 0\n"), "{text}");
/// # Ok(())
/// # }
/// ```
#[doc(alias("prometheus", "statistics", "stats", "monitoring", "OpenMetrics"))]
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Connections that exist now, including those that are opening or closing.
    pub connections: u64,
    /// Connections that exist now and whose opening handshake has succeeded.
    pub open: u64,
    /// Connections that have ever existed: accepted, adopted and dialled.
    pub connections_ever: u64,
    /// Connections that were rejected before their request was read, since there were as many as
    /// [`Server::max_connections`](crate::Server::max_connections) allows, or as many from there as
    /// [`Server::max_connections_per_ip`](crate::Server::max_connections_per_ip) does; or since they did not begin as
    /// the [PROXY protocol](crate::ProxyProtocol) of their listener demands. Of a client behind a [trusted
    /// proxy](crate::TrustedProxies) the address is known when its request has come, and a rejection is one of
    /// `handshakes` then.
    pub refused: u64,
    /// How often accepting a connection failed for want of descriptors or memory.
    pub accept_errors: u64,
    /// Plain HTTP requests that were answered.
    pub http_requests: u64,
    /// How opening handshakes ended.
    pub handshakes: HandshakeCounts,
    /// What was received.
    pub received: TrafficCounts,
    /// What was sent.
    pub sent: TrafficCounts,
    /// How many unsent bytes wait for all connections, what is kept for them included; `None` where
    /// [`Server::max_buffered_total`](crate::Server::max_buffered_total) does not have them counted.
    pub buffered_bytes: Option<u64>,
    /// Messages that were dropped since too much waited already; see
    /// [`SlowConsumer`](crate::SlowConsumer).
    pub dropped: u64,
    /// How often a [`RateLimit`](crate::RateLimit) was reached: messages that were dropped, pauses that began, and
    /// connections that were closed for it.
    pub rate_limited: u64,
    /// Handshakes that were answered 429 by
    /// [`Server::max_handshakes_per_ip`](crate::Server::max_handshakes_per_ip); they are among the rejected ones too.
    pub rate_limited_handshakes: u64,
    /// How often a connection reached its high water mark, and had to wait for
    /// [`on_drain`](crate::Handler::on_drain).
    pub backpressure: u64,
    /// Connections that were open and have ended, by the code of the Close that was sent: 1005 for one
    /// without a code, 1006 where none was sent.
    pub closes_sent: CloseCounts,
    /// Connections that were open and have ended, by the code of the peer's Close, which is
    /// [`Outcome::code`](crate::Outcome::code).
    pub closes_received: CloseCounts,
}

/// How opening handshakes ended, of either role.
///
/// These, [`Counters::http_requests`] and the connections that are still opening make up
/// [`Counters::connections_ever`].
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HandshakeCounts {
    /// Handshakes that opened a connection.
    pub accepted: u64,
    /// Handshakes that a handler, or the server that was dialled, rejected with a status from 200 to 299.
    pub rejected_2xx: u64,
    /// Handshakes that were rejected with a status from 300 to 399.
    pub rejected_3xx: u64,
    /// Handshakes that were rejected with a status from 400 to 499.
    pub rejected_4xx: u64,
    /// Handshakes that were rejected with a status from 500 to 599.
    pub rejected_5xx: u64,
    /// Handshakes in which the peer broke the protocol, or the rules of [`Config`](crate::Config) for paths and
    /// origins; see [`RequestError`](crate::handshake::RequestError).
    pub failed: u64,
    /// Handshakes in which the request, the answer or the decision came too late.
    pub timed_out: u64,
    /// Handshakes in which the transport, or its TLS, ended early.
    pub lost: u64,
}

impl HandshakeCounts {
    /// Handshakes that were rejected, whatever the status.
    pub fn rejected(&self) -> u64 {
        self.rejected_2xx + self.rejected_3xx + self.rejected_4xx + self.rejected_5xx
    }
}

/// The traffic in one direction.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrafficCounts {
    /// Bytes of the sockets, handshakes and framing included; with TLS, as they are before encryption.
    pub bytes: u64,
    /// Whole text messages; those to be sent count when they are queued.
    pub text_messages: u64,
    /// Whole binary messages.
    pub binary_messages: u64,
    /// Ping frames.
    pub pings: u64,
    /// Pong frames.
    pub pongs: u64,
    /// The payloads of compressed messages in bytes, as the application has them.
    pub uncompressed_bytes: u64,
    /// The bytes of those messages as they are on the wire.
    pub compressed_bytes: u64,
}

impl TrafficCounts {
    /// Whole messages of both kinds.
    pub fn messages(&self) -> u64 {
        self.text_messages + self.binary_messages
    }

    /// The size after compression as a part of the size before: 0.2 for a fifth. `None` if nothing was.
    pub fn compression_ratio(&self) -> Option<f64> {
        (self.uncompressed_bytes > 0)
            .then(|| self.compressed_bytes as f64 / self.uncompressed_bytes as f64)
    }
}

/// How often each close code came, for a bounded number of codes.
///
/// ```
/// # let closes = framewire::CloseCounts::default();
/// for (code, count) in closes.iter() {
///     println!("{code}: {count}");
/// }
/// assert_eq!(closes.get(1006), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CloseCounts {
    /// By code, in their order.
    codes: Vec<(u16, u64)>,
    others: u64,
}

impl CloseCounts {
    /// How many codes above those of the RFC are told apart: peers choose them, and each takes room.
    const MAX_PRIVATE: usize = 64;

    /// How often this code came.
    pub fn get(&self, code: impl Into<CloseCode>) -> u64 {
        let code = code.into().0;
        self.codes.binary_search_by_key(&code, |&(code, _)| code).map_or(0, |at| self.codes[at].1)
    }

    /// The codes that came, in ascending order, and how often each one did.
    pub fn iter(&self) -> impl Iterator<Item = (CloseCode, u64)> {
        self.codes.iter().map(|&(code, count)| (CloseCode(code), count))
    }

    /// How often codes came that are not counted apart: the codes from 3000 to 4999 that came after 64 other ones.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// How many codes came in all.
    pub fn total(&self) -> u64 {
        self.others + self.codes.iter().map(|&(_, count)| count).sum::<u64>()
    }

    pub(super) fn add(&mut self, code: u16, count: u64) {
        match self.codes.binary_search_by_key(&code, |&(code, _)| code) {
            Ok(at) => self.codes[at].1 += count,
            Err(at) if self.has_room(code) => self.codes.insert(at, (code, count)),
            Err(_) => self.others += count,
        }
    }

    fn has_room(&self, code: u16) -> bool {
        let is_private = |code: u16| code > CloseCode::TLS_HANDSHAKE.0;
        !is_private(code)
            || self.codes.iter().filter(|&&(code, _)| is_private(code)).count() < Self::MAX_PRIVATE
    }
}

impl AddAssign<&Self> for CloseCounts {
    fn add_assign(&mut self, other: &Self) {
        self.others += other.others;
        for &(code, count) in &other.codes {
            self.add(code, count);
        }
    }
}

impl AddAssign<&Self> for Counters {
    fn add_assign(&mut self, other: &Self) {
        let buffered = [self.buffered_bytes, other.buffered_bytes];
        self.buffered_bytes = buffered.into_iter().flatten().reduce(|a, b| a + b);
        self.connections += other.connections;
        self.open += other.open;
        self.connections_ever += other.connections_ever;
        self.refused += other.refused;
        self.accept_errors += other.accept_errors;
        self.http_requests += other.http_requests;
        self.handshakes += &other.handshakes;
        self.received += &other.received;
        self.sent += &other.sent;
        self.dropped += other.dropped;
        self.rate_limited += other.rate_limited;
        self.rate_limited_handshakes += other.rate_limited_handshakes;
        self.backpressure += other.backpressure;
        self.closes_sent += &other.closes_sent;
        self.closes_received += &other.closes_received;
    }
}

impl AddAssign<&Self> for HandshakeCounts {
    fn add_assign(&mut self, other: &Self) {
        let Self { accepted, failed, timed_out, lost, .. } = other;
        self.accepted += accepted;
        self.rejected_2xx += other.rejected_2xx;
        self.rejected_3xx += other.rejected_3xx;
        self.rejected_4xx += other.rejected_4xx;
        self.rejected_5xx += other.rejected_5xx;
        self.failed += failed;
        self.timed_out += timed_out;
        self.lost += lost;
    }
}

impl AddAssign<&Self> for TrafficCounts {
    fn add_assign(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.text_messages += other.text_messages;
        self.binary_messages += other.binary_messages;
        self.pings += other.pings;
        self.pongs += other.pongs;
        self.uncompressed_bytes += other.uncompressed_bytes;
        self.compressed_bytes += other.compressed_bytes;
    }
}

impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += &one;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_peers_choose_take_bounded_room() {
        let mut closes = CloseCounts::default();
        for code in (3000..5000).rev().chain(1000..1016) {
            closes.add(code, 2);
        }
        assert_eq!(closes.iter().count(), CloseCounts::MAX_PRIVATE + 16);
        assert_eq!((closes.get(1000), closes.get(4999), closes.get(3000)), (2, 2, 0));
        assert_eq!(closes.others(), 2 * (2000 - CloseCounts::MAX_PRIVATE as u64));
        assert_eq!(closes.total(), 2 * 2016);
        assert!(closes.iter().is_sorted());
        let mut sum = closes.clone();
        sum += &closes;
        assert_eq!((sum.get(1000), sum.others()), (4, 2 * closes.others()));
    }

    #[test]
    fn sums_know_all_numbers() {
        let one = Counters { buffered_bytes: Some(1), dropped: 3, ..Counters::default() };
        let other = Counters { open: 2, ..one.clone() };
        let sum: Counters = [one, other, Counters::default()].into_iter().sum();
        assert_eq!((sum.buffered_bytes, sum.dropped, sum.open), (Some(2), 6, 2));
        assert_eq!(Counters::default().buffered_bytes, None);
    }
}
