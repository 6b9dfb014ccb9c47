use crate::wire::{CloseCode, CloseFrame, Opcode};

use super::{Closing, Connection, Phase};
use crate::protocol::error::SendError;
use crate::protocol::event::{Initiator, Role};
use crate::protocol::message::{Fragment, Message};
use crate::protocol::output::{Chunks, Output};
use crate::protocol::prepared::Prepared;
use crate::protocol::sender::{Compress, Sender, Sink};
use crate::protocol::workspace::Workspace;

/// Words out.
impl Connection {
    /// Queues a message, compressed where that was agreed on and the message reaches the threshold.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, or a fragmented message is unfinished.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), SendError> {
        self.send_with(message, Compress::Threshold)
    }

    /// Queues a message, and says whether to compress it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_with<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        compress: Compress,
    ) -> Result<(), SendError> {
        let (sender, sink) = self.message_sink()?;
        sender.message(message.into(), compress, sink)
    }

    /// Queues a message that was encoded beforehand, sharing its bytes where they are many.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_prepared(&mut self, prepared: &Prepared) -> Result<(), SendError> {
        let (sender, sink) = self.message_sink()?;
        sender.prepared(prepared, sink)
    }

    /// Queues a piece of a message in a frame of its own, uncompressed; the message ends with the piece
    /// that is the `last`. Until then no other message can be sent, but Pings, Pongs and a Close can.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, the piece is of another kind than the first one, or
    /// pieces of text do not make up UTF-8.
    pub fn send_fragment(&mut self, fragment: Fragment<'_>) -> Result<(), SendError> {
        let (sender, sink) = self.message_sink()?;
        sender.fragment(fragment, sink)
    }

    /// Queues a Ping with at most 125 bytes of payload, which the Pong repeats.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open or the payload too long.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let (sender, sink) = self.sink()?;
        sender.control(Opcode::Ping, payload, sink)
    }

    /// Queues a Pong with at most 125 bytes of payload, asked for or not (RFC 6455 section 5.5.3).
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open or the payload too long.
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let (sender, sink) = self.sink()?;
        sender.control(Opcode::Pong, payload, sink)
    }

    /// Begins the closing handshake with a code and a reason of at most 123 bytes. Nothing can be sent
    /// afterwards; messages are still received until the peer's Close comes.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open, or the code or the reason may not be sent.
    pub fn close(&mut self, code: impl Into<CloseCode>, reason: &str) -> Result<(), SendError> {
        self.begin_close(CloseFrame::new(code.into(), reason)?)
    }

    /// Begins the closing handshake with a Close that has no body; the peer sees code 1005.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the connection is not open.
    pub fn close_without_code(&mut self) -> Result<(), SendError> {
        self.begin_close(CloseFrame::empty())
    }

    fn begin_close(&mut self, close: CloseFrame) -> Result<(), SendError> {
        self.queue_close(&close)?;
        let (initiator, sent) = (Initiator::Local, Some(close));
        let closing = Closing { initiator, sent, received: None, verdict: None };
        self.enter(Phase::Closing(Box::new(closing)));
        Ok(())
    }

    pub(super) fn queue_close(&mut self, close: &CloseFrame) -> Result<(), SendError> {
        let (sender, sink) = self.sink()?;
        sender.close(close, sink)
    }

    /// Where messages go, unless too much waits there already.
    #[inline]
    fn message_sink(&mut self) -> Result<(&mut Sender, Sink<'_>), SendError> {
        if self.is_full() && matches!(self.phase, Phase::Open) {
            return Err(SendError::Full);
        }
        self.sink()
    }

    #[inline]
    fn sink(&mut self) -> Result<(&mut Sender, Sink<'_>), SendError> {
        match self.phase {
            Phase::Open => {}
            Phase::Connecting(_) => return Err(SendError::Connecting),
            Phase::Closing(_) => return Err(SendError::Closing),
            Phase::Closed(_) => return Err(SendError::Closed),
        }
        let sink = Sink {
            role: self.role,
            output: self.output.get_or_insert_default(),
            compression: self.compression.as_deref_mut(),
            workspace: &mut self.workspace,
        };
        Ok((&mut self.sender, sink))
    }
}

/// Bytes out.
impl Connection {
    /// The bytes to send, as slices in order: write them, together by a vectored write if there are
    /// several, and report how many went out to [`consume_output`](Self::consume_output).
    pub fn output(&self) -> Chunks<'_> {
        self.output.as_deref().map_or_else(Chunks::none, Output::chunks)
    }

    /// Takes note that the first `count` bytes of the output were written. Look at
    /// [`wants_shutdown`](Self::wants_shutdown) next.
    pub fn consume_output(&mut self, count: usize) {
        let Some(output) = &mut self.output else { return };
        if let Some(sent) = output.consume(count)
            && let Some(workspace) = self.workspace.as_deref_mut()
        {
            workspace.keep_spare(sent);
        }
        if !self.is_congested()
            && let Some(payload) = self.sender.take_held_pong()
        {
            // Not open any more means that a Close was sent, and no Pong is owed.
            let _ = self.pong(&payload);
        }
    }

    /// Whether to end the sending direction of the transport now, and go on reading until its end.
    ///
    /// A server does so when both Closes have passed, so that the peer can read the last one; either
    /// side does so after it failed the connection, or refused it. A client that has no fault to find
    /// waits for the server's end (RFC 6455 section 7.1.1), under [`Due::Close`](crate::Due::Close).
    pub fn wants_shutdown(&self) -> bool {
        let Phase::Closing(closing) = &self.phase else { return false };
        let finished = match self.role {
            Role::Server => closing.ignores_input(),
            Role::Client => closing.verdict.is_some(),
        };
        finished && self.buffered_amount() == 0
    }

    /// Lends what connections share; what the connection held before, if anything, comes back.
    ///
    /// Between `lend` and [`reclaim`](Self::reclaim) stands one turn at this connection: bytes in, words
    /// out, bytes out.
    #[inline]
    pub fn lend(&mut self, mut workspace: Box<Workspace>) -> Option<Box<Workspace>> {
        if self.output.is_none() {
            self.output = workspace.output.take();
        }
        self.workspace.replace(workspace)
    }

    /// Exchanges the workspace alone: output stays where it is.
    #[cfg(feature = "mio")]
    pub(crate) fn swap_workspace(&mut self, workspace: &mut Option<Box<Workspace>>) {
        std::mem::swap(&mut self.workspace, workspace);
    }

    /// Counts that the output has reached its high water mark.
    #[cfg(feature = "mio")]
    #[cold]
    pub(crate) fn note_backpressure(&mut self) {
        if let Some(workspace) = self.workspace.as_deref_mut() {
            workspace.tally_mut().rare().backpressure += 1;
        }
    }

    /// Takes the workspace back. Output that is unsent stays with the connection, in a buffer of the
    /// size that it needs.
    #[inline]
    pub fn reclaim(&mut self) -> Option<Box<Workspace>> {
        let workspace = self.workspace.as_deref_mut()?;
        if workspace.output.is_none()
            && let Some(mut output) = self.output.take()
        {
            if output.len() > 0 {
                self.output = Some(Box::new(output.split_off_unsent()));
            }
            output.shrink_to(Workspace::OUTPUT_KEPT);
            workspace.output = Some(output);
        }
        if self.buffered_amount() == 0 {
            self.output = None;
        }
        self.workspace.take()
    }
}
