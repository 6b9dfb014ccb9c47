use std::time::Duration;

/// How many messages and bytes a second a connection may send to the server, and what to do about more.
///
/// A connection that has sent nothing for long may send as many at once as the burst says; from then on, as many as
/// the rate allows. With [`Server::rate_limit`](crate::Server::rate_limit) for all connections that come in, with
/// [`Peer::set_rate_limit`](crate::Peer::set_rate_limit) for one. Pings, Pongs and Closes are not counted, and the
/// bytes are those of the messages as the handler gets them.
///
/// A message is let through as long as there is room for one message and one byte, however long it is; what it takes
/// beyond that is missing to those behind it: after one of `n` bytes nothing is read for up to `n` divided by the
/// rate, at most [`Config::max_message_size`](crate::Config::max_message_size) divided by it. A rate of 0 allows
/// nothing but the burst, and a burst of 0 nothing.
///
/// ```
/// use framewire::{RateLimit, RateLimitPolicy, Server};
///
/// # fn main() -> std::io::Result<()> {
/// // 20 messages a second and 50 at once; of 64 KiB a second and 1 MiB at once.
/// let limit = RateLimit::new().messages(20, 50).bytes(64 << 10, 1 << 20);
/// let server = Server::bind("127.0.0.1:0")?.rate_limit(limit.policy(RateLimitPolicy::Close));
/// # Ok(())
/// # }
/// ```
#[doc(alias("throttle", "rate limit", "token bucket"))]
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RateLimit {
    messages: Option<Rate>,
    bytes: Option<Rate>,
    policy: RateLimitPolicy,
}

impl RateLimit {
    /// No limits yet, and the policy to [pause](RateLimitPolicy::Pause).
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows `per_second` messages a second, and `burst` at once.
    pub fn messages(mut self, per_second: u32, burst: u32) -> Self {
        self.messages = Some(Rate::new(per_second, burst));
        self
    }

    /// Allows `per_second` bytes of messages a second, and `burst` at once.
    #[doc(alias = "bandwidth")]
    pub fn bytes(mut self, per_second: u32, burst: u32) -> Self {
        self.bytes = Some(Rate::new(per_second, burst));
        self
    }

    /// What is done about messages above the limit.
    pub fn policy(mut self, policy: RateLimitPolicy) -> Self {
        self.policy = policy;
        self
    }
}

/// What is done about messages above a [`RateLimit`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RateLimitPolicy {
    /// Nothing is read until there is room: messages wait in the network, none is lost, and a client that sends
    /// faster is slowed down. Deadlines for what the client sends are suspended meanwhile, as by
    /// [`Peer::pause`](crate::Peer::pause). Pings are sent all the same, at
    /// [`Config::ping_interval`](crate::Config::ping_interval), so that the system notices a client that is gone.
    ///
    /// A client that ends its direction without waiting for our Close cannot be slowed down any more: what it has
    /// sent above the limit is dropped then, as by [`Drop`](Self::Drop).
    #[default]
    Pause,
    /// The message is dropped, and [`Handler::on_rate_limited`](crate::Handler::on_rate_limited) told how many were.
    /// Of a message in pieces, all or none are dropped.
    Drop,
    /// The connection is closed with 1008 (policy violation), and nothing more is delivered.
    Close,
}

/// Tokens a second, and the most of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// The tokens that are left: each second brings some, and what comes takes some. It may come to owe, where what came
/// was larger than what was left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// In billionths of a token, so that a nanosecond brings as many as a second brings tokens.
    billionths: i128,
    since: Duration,
}

const TOKEN: i128 = 1_000_000_000;

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate, now: Duration) -> Self {
        Self { billionths: i128::from(rate.burst) * TOKEN, since: now }
    }

    fn fill(&mut self, rate: Rate, now: Duration) {
        let elapsed = now.saturating_sub(self.since).as_nanos() as i128;
        let most = i128::from(rate.burst) * TOKEN;
        self.billionths = most.min(self.billionths + elapsed * i128::from(rate.per_second));
        self.since = self.since.max(now);
    }

    /// Whether there is a token.
    pub(super) fn has_token(&mut self, rate: Rate, now: Duration) -> bool {
        self.fill(rate, now);
        self.billionths >= TOKEN
    }

    pub(super) fn take(&mut self, tokens: usize) {
        self.billionths -= tokens as i128 * TOKEN;
    }

    /// Whether it is full: then it says nothing that a new one would not.
    pub(super) fn is_full(&mut self, rate: Rate, now: Duration) -> bool {
        self.fill(rate, now);
        self.billionths == i128::from(rate.burst) * TOKEN
    }

    /// When there will be a token; `None` for never.
    pub(super) fn next_token(&self, rate: Rate) -> Option<Duration> {
        let missing = TOKEN - self.billionths;
        if missing <= 0 {
            return Some(self.since);
        }
        if rate.per_second == 0 || rate.burst == 0 {
            return None;
        }
        // Rounded up: a moment too early there would be no token.
        let nanoseconds = (missing as u128).div_ceil(u128::from(rate.per_second));
        let wait = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        Some(self.since.saturating_add(wait))
    }
}

/// What has become of the limit of one connection. One that has no limit has none.
#[derive(Debug)]
pub(super) struct RateLimiter {
    limit: RateLimit,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// What the first piece of the present message came to.
    pieces: Option<Verdict>,
    /// Reading is paused until there is room.
    is_holding: bool,
    /// When a Ping is to be sent meanwhile.
    next_ping: Option<Duration>,
    /// The application has paused reading, too.
    is_paused: bool,
    /// The connection was closed for it: nothing more is delivered.
    is_closed: bool,
    /// How many messages were dropped of which the handler was not told.
    dropped: u64,
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Deliver,
    /// Deliver this one, and read no more until there is room.
    DeliverAndPause,
    Drop,
    /// The first that is too much.
    Close,
    /// One behind that.
    Ignore,
}

impl RateLimiter {
    pub(super) fn new(limit: RateLimit, now: Duration) -> Self {
        let mut limiter = Self {
            limit,
            messages: limit.messages.map(|rate| Bucket::new(rate, now)),
            bytes: limit.bytes.map(|rate| Bucket::new(rate, now)),
            pieces: None,
            is_holding: false,
            next_ping: None,
            is_paused: false,
            is_closed: false,
            dropped: 0,
        };
        // A limit without a burst holds back from the beginning.
        limiter.is_holding = limit.policy == RateLimitPolicy::Pause && !limiter.has_room(now);
        limiter
    }

    /// What follows this one where there is a new limit, or none: it keeps what is known of the message under way, and
    /// what the handler was not told. `None` if there is nothing to limit and nothing to keep.
    pub(super) fn followed_by(&self, limit: Option<RateLimit>, now: Duration) -> Option<Self> {
        let Self { is_closed, dropped, .. } = *self;
        let pieces = self.pieces.filter(|verdict| *verdict != Verdict::Deliver);
        let has_more = pieces.is_some() || is_closed || dropped > 0;
        let limit = limit.or_else(|| has_more.then(RateLimit::new))?;
        Some(Self { pieces, is_closed, dropped, ..Self::new(limit, now) })
    }

    /// Decides on a message of so many bytes, or on a piece of one.
    pub(super) fn judge(&mut self, bytes: usize, piece: Piece, now: Duration) -> Verdict {
        if self.is_closed {
            return Verdict::Ignore;
        }
        if piece.is_first {
            let may_come = self.limit.policy == RateLimitPolicy::Pause || self.has_room(now);
            self.pieces = Some(match self.limit.policy {
                _ if may_come => Verdict::Deliver,
                RateLimitPolicy::Close => Verdict::Close,
                _ => Verdict::Drop,
            });
        }
        let verdict = self.pieces.unwrap_or(Verdict::Deliver);
        if piece.is_last {
            self.pieces = None;
        }
        match verdict {
            Verdict::Deliver => {
                if let Some(bucket) = &mut self.messages {
                    bucket.take(usize::from(piece.is_first));
                }
                if let Some(bucket) = &mut self.bytes {
                    bucket.take(bytes);
                }
                if self.limit.policy == RateLimitPolicy::Pause
                    && !self.is_holding
                    && !self.has_room(now)
                {
                    self.is_holding = true;
                    return Verdict::DeliverAndPause;
                }
            }
            Verdict::Drop => self.dropped += u64::from(piece.is_first),
            Verdict::Close => self.is_closed = true,
            Verdict::DeliverAndPause | Verdict::Ignore => {}
        }
        verdict
    }

    /// Whether another message may come.
    fn has_room(&mut self, now: Duration) -> bool {
        let has_token = |bucket: &mut Option<Bucket>, rate: Option<Rate>| {
            bucket.as_mut().zip(rate).is_none_or(|(bucket, rate)| bucket.has_token(rate, now))
        };
        // `&` rather than `&&`: both buckets are to be refilled.
        has_token(&mut self.messages, self.limit.messages)
            & has_token(&mut self.bytes, self.limit.bytes)
    }

    /// When there is something to do while reading is paused for it; `None` if it is not, or for ever.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        if !self.is_holding {
            return None;
        }
        [self.next_release(), self.next_ping].into_iter().flatten().min()
    }

    /// When reading goes on.
    fn next_release(&self) -> Option<Duration> {
        let next = |bucket: &Option<Bucket>, rate: Option<Rate>| match (bucket, rate) {
            (Some(bucket), Some(rate)) => bucket.next_token(rate),
            _ => Some(Duration::ZERO),
        };
        let messages = next(&self.messages, self.limit.messages)?;
        Some(messages.max(next(&self.bytes, self.limit.bytes)?))
    }

    /// Whether reading goes on, which was paused for it and for nothing else.
    pub(super) fn take_release(&mut self, now: Duration) -> bool {
        self.is_holding && self.has_room(now) && self.release()
    }

    fn release(&mut self) -> bool {
        std::mem::take(&mut self.is_holding) && !self.is_paused
    }

    /// From now on drops what is too much, if it has paused reading for that: whether reading goes on by this.
    pub(super) fn drop_from_now_on(&mut self) -> bool {
        if self.limit.policy == RateLimitPolicy::Pause {
            self.limit.policy = RateLimitPolicy::Drop;
        }
        self.release()
    }

    /// A Ping is to be sent when so much time has passed, if reading is still paused for it then.
    pub(super) fn ping_after(&mut self, interval: Option<Duration>, now: Duration) {
        self.next_ping = interval.map(|interval| now.saturating_add(interval));
    }

    /// Whether that time has come.
    pub(super) fn is_ping_due(&self, now: Duration) -> bool {
        self.is_holding && self.next_ping.is_some_and(|next| next <= now)
    }

    /// Whether reading is paused for it.
    pub(super) fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// Whether the application has paused reading while it was paused for this anyway.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The application pauses reading, or ends that.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// How many messages were dropped since the last time.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// Which part of a message something is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

impl Piece {
    pub(super) const WHOLE: Self = Self { is_first: true, is_last: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn judge(limiter: &mut RateLimiter, bytes: usize, now: u64) -> Verdict {
        limiter.judge(bytes, Piece::WHOLE, at(now))
    }

    #[test]
    fn a_bucket_lets_through_a_burst_and_then_the_rate() {
        for per_second in [1, 3, 7, 100] {
            let rate = Rate::new(per_second, 5);
            let mut bucket = Bucket::new(rate, at(500));
            let mut let_through = 0;
            for now in 500..10_500 {
                if bucket.has_token(rate, at(now)) {
                    bucket.take(1);
                    let_through += 1;
                }
            }
            // The last tick is a millisecond before the end.
            let most = 5 + 10 * per_second;
            assert!((most - 2..=most).contains(&let_through), "{let_through} of {most}");
            // It forgets nothing by standing still, and time that goes back brings nothing.
            assert!(!bucket.is_full(rate, at(0)));
            assert!(bucket.is_full(rate, at(60_000)));
        }
    }

    #[test]
    fn the_next_token_is_there_when_it_is_said_to_be_and_not_before() {
        let rate = Rate::new(3, 2);
        let mut bucket = Bucket::new(rate, at(0));
        bucket.take(12);
        let next = bucket.next_token(rate).unwrap();
        assert!(!bucket.has_token(rate, next - Duration::from_nanos(1)));
        assert!(bucket.has_token(rate, next));
        assert_eq!(bucket.next_token(rate), Some(next));
        for rate in [Rate::new(0, 2), Rate::new(2, 0)] {
            let mut bucket = Bucket::new(rate, at(0));
            bucket.take(2);
            assert_eq!(bucket.next_token(rate), None);
            assert!(!bucket.has_token(rate, at(1_000_000)));
        }
    }

    #[test]
    fn each_policy_does_with_too_much_what_it_says() {
        use Verdict::*;
        let limit = RateLimit::new().messages(2, 2).bytes(1000, 1000);
        let mut pause = RateLimiter::new(limit, at(0));
        assert_eq!([judge(&mut pause, 1, 0), judge(&mut pause, 1, 0)], [Deliver, DeliverAndPause]);
        assert_eq!(pause.next_timeout(), Some(at(500)));
        assert!(!pause.take_release(at(499)) && pause.is_holding());
        assert!(pause.take_release(at(500)) && !pause.is_holding());
        // One that is longer than all that may come takes from what comes later.
        assert_eq!(judge(&mut pause, 3000, 500), DeliverAndPause);
        assert_eq!(pause.next_timeout(), Some(at(2501)));
        // The application has paused, too.
        pause.set_paused(true);
        assert!(!pause.take_release(at(2501)) && !pause.is_holding() && pause.is_paused());

        let mut drop = RateLimiter::new(limit.policy(RateLimitPolicy::Drop), at(0));
        let verdicts = [0, 0, 0, 499, 500, 501].map(|now| judge(&mut drop, 1, now));
        assert_eq!(verdicts, [Deliver, Deliver, Drop, Drop, Deliver, Drop]);
        assert_eq!((drop.take_dropped(), drop.take_dropped(), drop.next_timeout()), (3, 0, None));

        let mut close = RateLimiter::new(limit.policy(RateLimitPolicy::Close), at(0));
        let verdicts = [0, 0, 0, 5000].map(|now| judge(&mut close, 1, now));
        assert_eq!(verdicts, [Deliver, Deliver, Close, Ignore]);
    }

    #[test]
    fn the_first_piece_decides_for_its_message() {
        let piece = |is_first, is_last| Piece { is_first, is_last };
        let limit = RateLimit::new().bytes(1, 10).policy(RateLimitPolicy::Drop);
        let mut limiter = RateLimiter::new(limit, at(0));
        let pieces = [(true, false), (false, false), (false, true), (true, false), (false, true)];
        let verdicts = pieces.map(|(first, last)| limiter.judge(8, piece(first, last), at(0)));
        use Verdict::{Deliver, Drop};
        assert_eq!(verdicts, [Deliver, Deliver, Deliver, Drop, Drop]);
        assert_eq!(limiter.take_dropped(), 1);
    }
}
