use std::fmt;
use std::mem;
use std::time::Duration;

#[cfg(feature = "deflate")]
use crate::deflate::Codec;

use crate::handshake::HttpDate;

use super::buffer_pool::BufferPool;
use super::entropy::{Entropy, EntropyError};
use super::metrics::Metrics;
use super::output::Output;
use super::timers::Moment;

/// What connections that are served one after the other share: the buffer for their output, the
/// compressors, the source of masking keys, and buffers of long messages that were sent.
///
/// A [`Connection`](crate::Connection) has one of its own. A program with many connections has many an
/// [`Endpoint`](crate::Endpoint) and one of these, which it gives to every call; an idle connection then holds
/// none of this.
///
/// Of its buffers it keeps 64 KiB at the most when nothing is under way, and a few MiB if it was made
/// [for many](Self::for_many) connections.
pub struct Workspace {
    now: Moment,
    date: Option<HttpDate>,
    /// Empty between two connections.
    output: Option<Box<Output>>,
    /// Room for a payload on its way to or from the codec.
    scratch: Vec<u8>,
    #[cfg(feature = "deflate")]
    pub(super) codec: Codec,
    codec_budget: Option<usize>,
    entropy: Option<Box<dyn Entropy + Send>>,
    pub(super) metrics: Metrics,
    is_for_many: bool,
    pub(super) pool: BufferPool,
}

impl Workspace {
    /// How much room is kept for output and for a compressed payload together.
    const KEPT: usize = 60 * 1024;

    /// How large each of the two may be where many connections use it.
    const KEPT_FOR_MANY: usize = 1 << 20;

    /// How much of it may be for a compressed payload.
    const SCRATCH_KEPT: usize = 16 * 1024;

    /// A workspace for servers, who mask nothing and need no entropy. Clients that use it take their masking
    /// keys from the operating system, if the feature `getrandom` is on.
    pub fn new() -> Self {
        Self {
            now: Moment::START,
            date: None,
            output: None,
            scratch: Vec::new(),
            #[cfg(feature = "deflate")]
            codec: Codec::new(),
            codec_budget: None,
            entropy: None,
            metrics: Metrics::default(),
            is_for_many: false,
            pool: BufferPool::default(),
        }
    }

    /// A workspace for clients, whose masking keys come from `entropy`.
    pub fn with_entropy(entropy: impl Entropy + Send + 'static) -> Self {
        Self { entropy: Some(Box::new(entropy)), ..Self::new() }
    }

    /// Keeps larger buffers: an output buffer of up to 1 MiB, and up to 4 MiB of buffers of long messages that were
    /// sent, for the next ones to be received into. It is worth it where many connections use them in turn.
    #[must_use]
    pub fn for_many(self) -> Self {
        Self { is_for_many: true, ..self }
    }

    /// Tells the time to all connections that use this workspace, as
    /// [`Endpoint::handle_timeout`](crate::Endpoint::handle_timeout) does too: the time since any fixed point. Time
    /// never goes back.
    #[inline]
    pub fn set_time(&mut self, now: Duration) {
        self.now = self.now.max(Moment::of(now));
    }

    /// Tells servers the time of day, which their HTTP answers name as `Date` from then on; without it they
    /// have none, as a server without a clock (RFC 9110 section 6.6.1). Tell it once in a second, or before
    /// there is something to answer.
    ///
    /// ```
    /// use framewire::Workspace;
    /// use framewire::handshake::HttpDate;
    /// use std::time::{SystemTime, UNIX_EPOCH};
    ///
    /// let mut workspace = Workspace::new();
    /// let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    /// workspace.set_date(now.map(HttpDate::since_1970));
    /// ```
    pub fn set_date(&mut self, date: Option<HttpDate>) {
        self.date = date;
    }

    /// The time of day, as it was [told](Self::set_date).
    pub fn date(&self) -> Option<HttpDate> {
        self.date
    }

    #[inline]
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// Returns what connections have done with this workspace since the last call.
    pub fn take_metrics(&mut self) -> Metrics {
        mem::take(&mut self.metrics)
    }

    /// What connections have done with this workspace since the last [`take_metrics`](Self::take_metrics).
    #[inline]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The codec that connections with permessage-deflate share, to set its budget.
    #[cfg(feature = "deflate")]
    pub fn codec_mut(&mut self) -> &mut Codec {
        &mut self.codec
    }

    /// Lets connections inflate and compress this many bytes more, counted uncompressed; `None`, as in the beginning,
    /// for as many as they like.
    ///
    /// A program that serves many connections may set it anew for each turn of each: otherwise one of them can
    /// make all others wait for as long as the longest message takes. When it is used up,
    /// [`Endpoint::receive`](crate::Endpoint::receive) stops inside a message and leaves its input, until the
    /// next turn ([`Endpoint::awaits_codec`](crate::Endpoint::awaits_codec)), and messages that are sent are
    /// compressed by and by ([`Endpoint::handle_timeout`](crate::Endpoint::handle_timeout)).
    /// It is no exact bound: up to 64 KiB may be inflated and a message of up to 256 KiB compressed beyond it.
    pub fn set_codec_budget(&mut self, bytes: impl Into<Option<usize>>) {
        self.codec_budget = bytes.into();
    }

    /// What is left of the budget that was [set](Self::set_codec_budget).
    #[inline]
    pub fn codec_budget(&self) -> Option<usize> {
        self.codec_budget
    }

    #[inline]
    pub(super) fn is_out_of_budget(&self) -> bool {
        self.codec_budget == Some(0)
    }

    /// Fills `bytes` from the source of entropy, the system's if no other was given.
    #[inline]
    pub(super) fn fill_entropy(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        #[cfg(feature = "getrandom")]
        let entropy = self.entropy.get_or_insert_with(|| Box::new(super::SystemEntropy::new()));
        #[cfg(not(feature = "getrandom"))]
        let entropy = self.entropy.as_mut().ok_or(EntropyError)?;
        entropy.fill(bytes)
    }

    /// An empty output for a connection that has something to send.
    #[inline]
    pub(super) fn take_output(&mut self) -> Box<Output> {
        self.output.take().unwrap_or_default()
    }

    /// Takes an output back of which nothing waits any more.
    #[inline]
    pub(super) fn keep_output(&mut self, mut output: Box<Output>) {
        if self.output.is_none() {
            output.shrink_to(self.output_kept());
            self.output = Some(output);
        }
    }

    fn output_kept(&self) -> usize {
        if self.is_for_many {
            return Self::KEPT_FOR_MANY;
        }
        Self::KEPT.saturating_sub(self.scratch.capacity())
    }

    /// Takes the buffer of a payload that was sent.
    pub(super) fn keep_buffer(&mut self, sent: Vec<u8>) {
        if self.is_for_many {
            self.pool.keep(sent);
        }
    }

    /// Room for a payload on its way to or from the codec, empty.
    pub(super) fn take_scratch(&mut self) -> Vec<u8> {
        mem::take(&mut self.scratch)
    }

    /// Takes it back.
    pub(super) fn keep_scratch(&mut self, mut scratch: Vec<u8>) {
        let kept = if self.is_for_many { Self::KEPT_FOR_MANY } else { Self::SCRATCH_KEPT };
        if scratch.capacity() <= kept {
            scratch.clear();
            self.scratch = scratch;
        }
    }

    /// Takes work off the budget.
    #[cfg(feature = "deflate")]
    pub(super) fn spend(&mut self, bytes: usize) {
        if let Some(budget) = &mut self.codec_budget {
            *budget = budget.saturating_sub(bytes);
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_up_to_a_bound() {
        let mut workspace = Workspace::new();
        let scratch = Vec::with_capacity(16 << 10);
        let place = scratch.as_ptr();
        workspace.keep_scratch(scratch);
        let again = workspace.take_scratch();
        assert_eq!(again.as_ptr(), place);
        workspace.keep_scratch(Vec::with_capacity((16 << 10) + 1));
        assert_eq!(workspace.take_scratch().capacity(), 0);

        for (length, kept) in [(5000, 5000), (65 << 10, 60 << 10)] {
            let (mut workspace, mut output) = (Workspace::new(), Box::new(Output::default()));
            output.push_with(|bytes| bytes.reserve_exact(length));
            workspace.keep_output(output);
            let capacity = workspace.take_output().push_with(|bytes| bytes.capacity());
            assert_eq!(capacity, kept);
        }
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn the_codec_that_is_lent_is_always_the_same() {
        let mut workspace = Workspace::new();
        let codec: *const Codec = workspace.codec_mut();
        assert!(std::ptr::eq(codec, workspace.codec_mut()));
        assert!(std::ptr::eq(codec, &raw const workspace.codec));
    }

    #[test]
    fn messages_that_are_sent_are_counted() {
        use crate::protocol::{Config, Endpoint, Prepared, Role};
        let mut endpoint = Endpoint::adopted(Role::Server, &Config::new());
        let mut workspace = Workspace::new();
        endpoint.send_prepared(&Prepared::new("text"), &mut workspace).unwrap();
        assert_eq!(workspace.metrics().text_messages_sent, 1);
    }

    #[test]
    fn a_long_message_that_was_sent_leaves_its_buffer_to_many() {
        for (mut workspace, is_kept) in
            [(Workspace::new(), false), (Workspace::new().for_many(), true)]
        {
            workspace.keep_buffer(vec![7; 100_000]);
            assert_eq!(workspace.pool.take(100_000).is_some(), is_kept);
        }
    }
}
