use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::protocol::{MessageKind, Metrics, Outcome, Role};
use crate::wire::CloseCode;

use super::counters::{CloseCounts, Counters, HandshakeCounts, TrafficCounts};

/// Of the loop itself: adding is all that a turn does.
#[derive(Clone, Debug)]
pub(super) struct Counting {
    numbers: [u64; Count::NUMBER],
    closes: Closes,
    /// Something but [`Count::OFTEN`] has changed since it was last published.
    changed: bool,
    closed: bool,
    /// The sum of what was copied last of what seldom changes.
    copied: u64,
}

impl Default for Counting {
    fn default() -> Self {
        let closes = Closes::default();
        Self { numbers: [0; Count::NUMBER], closes, changed: false, closed: false, copied: 0 }
    }
}

#[derive(Clone, Debug, Default)]
struct Closes {
    sent: CloseCounts,
    received: CloseCounts,
}

/// Where others find it.
#[derive(Debug)]
pub(super) struct Published {
    numbers: [AtomicU64; Count::NUMBER],
    /// Taken by the loop in those turns only in which a connection has ended.
    closes: Mutex<Closes>,
}

impl Default for Published {
    fn default() -> Self {
        Self { numbers: [const { AtomicU64::new(0) }; Count::NUMBER], closes: Mutex::default() }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    // These change with every message.
    BytesReceived,
    BytesSent,
    TextReceived,
    MessagesReceived,
    TextSent,
    BinarySent,
    // The others do not.
    Connections,
    Refused,
    AcceptErrors,
    Requests,
    Accepted,
    Rejected2xx,
    Rejected3xx,
    Rejected4xx,
    Rejected5xx,
    Failed,
    TimedOut,
    Lost,
    /// Of those that were opened, and of the others.
    Ended,
    EndedUnopened,
    PingsReceived,
    PongsReceived,
    PingsSent,
    PongsSent,
    PlainReceived,
    CompressedReceived,
    PlainSent,
    CompressedSent,
    Backpressure,
    Dropped,
    RateLimited,
    HandshakesRateLimited,
    /// One more than there are; 0 where they are not counted.
    Buffered,
}

impl Count {
    const OFTEN: usize = Self::Connections as usize;
    const NUMBER: usize = Self::Buffered as usize + 1;
}

impl Counting {
    /// Adds one to what does not change with every message.
    pub(super) fn add(&mut self, count: Count) {
        self.add_many(count, 1);
        self.changed = true;
    }

    #[inline]
    pub(super) fn add_many(&mut self, count: Count, number: usize) {
        self.numbers[count as usize] += number as u64;
    }

    #[inline]
    pub(super) fn message_received(&mut self, kind: MessageKind) {
        self.numbers[Count::MessagesReceived as usize] += 1;
        self.numbers[Count::TextReceived as usize] += u64::from(kind == MessageKind::Text);
    }

    /// An opening handshake was answered with another status than 101.
    pub(super) fn rejected(&mut self, status: u16) {
        self.add(match status {
            ..300 => Count::Rejected2xx,
            300..400 => Count::Rejected3xx,
            400..500 => Count::Rejected4xx,
            500.. => Count::Rejected5xx,
        });
    }

    /// A connection ends that was open.
    pub(super) fn end(&mut self, outcome: &Outcome) {
        self.add(Count::Ended);
        self.closed = true;
        let sent = match outcome {
            Outcome::Clean { sent, .. } => sent.code(),
            Outcome::Lost { sent: Some(sent), .. } | Outcome::TimedOut { sent: Some(sent), .. } => {
                sent.code()
            }
            Outcome::Failed(error) => error.close_code(),
            _ => CloseCode::ABNORMAL,
        };
        self.closes.sent.add(sent.0, 1);
        self.closes.received.add(outcome.code().0, 1);
    }

    /// A connection ends that never was open.
    pub(super) fn end_unopened(&mut self, role: Role, outcome: &Outcome) {
        self.add(Count::EndedUnopened);
        match outcome {
            Outcome::HandshakeFailed(error) if error.is_timeout() => self.add(Count::TimedOut),
            Outcome::HandshakeFailed(_) | Outcome::Failed(_) => self.add(Count::Failed),
            Outcome::Rejected(response) if role == Role::Client => {
                self.rejected(response.status());
            }
            // A server counts a rejection when it answers.
            Outcome::Rejected(_) => {}
            _ => self.add(Count::Lost),
        }
    }

    /// A connection ends that was rejected before it was heard.
    pub(super) fn end_refused(&mut self) {
        self.add(Count::EndedUnopened);
        self.add(Count::Refused);
    }

    /// A connection ends that nothing was heard of.
    pub(super) fn end_unheard(&mut self) {
        self.add(Count::EndedUnopened);
        self.add(Count::Lost);
    }

    /// Takes note of what the connections have done, in all, with what they share.
    #[inline]
    pub(super) fn copy(&mut self, metrics: &Metrics) {
        self.numbers[Count::TextSent as usize] = metrics.text_messages_sent;
        self.numbers[Count::BinarySent as usize] = metrics.binary_messages_sent;
        let (inflated, deflated) = (&metrics.inflated, &metrics.deflated);
        // None of these counters ever decreases, so an equal sum means that none has changed.
        let sum = [metrics.pings_sent, metrics.pongs_sent, inflated.plain, inflated.compressed]
            .into_iter()
            .chain([deflated.plain, deflated.compressed])
            .fold(0, u64::wrapping_add);
        if mem::replace(&mut self.copied, sum) != sum {
            self.copy_rare(metrics);
        }
    }

    #[cold]
    fn copy_rare(&mut self, metrics: &Metrics) {
        self.set(Count::PingsSent, metrics.pings_sent);
        self.set(Count::PongsSent, metrics.pongs_sent);
        self.set(Count::PlainReceived, metrics.inflated.plain);
        self.set(Count::CompressedReceived, metrics.inflated.compressed);
        self.set(Count::PlainSent, metrics.deflated.plain);
        self.set(Count::CompressedSent, metrics.deflated.compressed);
    }

    pub(super) fn set(&mut self, count: Count, number: u64) {
        self.changed |= mem::replace(&mut self.numbers[count as usize], number) != number;
    }

    /// Tells the others.
    #[inline]
    pub(super) fn publish(&mut self, published: &Published) {
        let numbers = || self.numbers.iter().zip(&published.numbers);
        let store = |(&number, to): (&u64, &AtomicU64)| to.store(number, Ordering::Relaxed);
        numbers().take(Count::OFTEN).for_each(store);
        if mem::take(&mut self.changed) {
            numbers().skip(Count::OFTEN).for_each(store);
        }
        if mem::take(&mut self.closed) {
            published.lock().clone_from(&self.closes);
        }
    }
}

impl Published {
    fn lock(&self) -> std::sync::MutexGuard<'_, Closes> {
        // Nothing that is done under it can leave it half done.
        self.closes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Counters {
        use Count::*;
        let of = |count: Count| self.numbers[count as usize].load(Ordering::Relaxed);
        let Closes { sent: closes_sent, received: closes_received } = self.lock().clone();
        let ended = (of(Ended), of(EndedUnopened));
        let (ever, accepted) = (of(Connections), of(Accepted));
        Counters {
            connections: ever.saturating_sub(ended.0 + ended.1),
            open: accepted.saturating_sub(ended.0),
            connections_ever: ever,
            refused: of(Refused),
            accept_errors: of(AcceptErrors),
            http_requests: of(Requests),
            handshakes: HandshakeCounts {
                accepted,
                rejected_2xx: of(Rejected2xx),
                rejected_3xx: of(Rejected3xx),
                rejected_4xx: of(Rejected4xx),
                rejected_5xx: of(Rejected5xx),
                failed: of(Failed),
                timed_out: of(TimedOut),
                lost: of(Lost),
            },
            received: TrafficCounts {
                bytes: of(BytesReceived),
                text_messages: of(TextReceived),
                binary_messages: of(MessagesReceived).saturating_sub(of(TextReceived)),
                pings: of(PingsReceived),
                pongs: of(PongsReceived),
                uncompressed_bytes: of(PlainReceived),
                compressed_bytes: of(CompressedReceived),
            },
            sent: TrafficCounts {
                bytes: of(BytesSent),
                text_messages: of(TextSent),
                binary_messages: of(BinarySent),
                pings: of(PingsSent),
                pongs: of(PongsSent),
                uncompressed_bytes: of(PlainSent),
                compressed_bytes: of(CompressedSent),
            },
            buffered_bytes: of(Buffered).checked_sub(1),
            dropped: of(Dropped),
            rate_limited: of(RateLimited),
            rate_limited_handshakes: of(HandshakesRateLimited),
            backpressure: of(Backpressure),
            closes_sent,
            closes_received,
        }
    }
}
