use std::time::Duration;

use crate::protocol::Outcome;
use crate::wire::CloseFrame;

use super::core::Slot;
use super::event_loop::EventLoop;
use super::handler::Handler;
use super::logging::event;
use super::shutdown::{Reporter, ShutdownReport};
use super::slots::PeerId;

/// What a handle asks for.
#[derive(Debug)]
pub(super) struct ShutdownOrder {
    pub(super) close: CloseFrame,
    /// Over how long the Closes are spread.
    pub(super) spread: Duration,
    pub(super) deadline: Duration,
    pub(super) report: Reporter,
}

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Draining {
    close: CloseFrame,
    /// When the Closes began to go out, and over how long they are spread.
    begun: Duration,
    spread: Duration,
    /// By when all must be gone.
    deadline: Duration,
    /// Who gets a Close, and how many had theirs.
    queue: Vec<PeerId>,
    closed: usize,
    /// How many connections are there that came too late; they are not waited for.
    late: usize,
    report: ShutdownReport,
    ordered_at: Duration,
    is_over: bool,
    waiting: Vec<Reporter>,
}

impl Draining {
    fn new(now: Duration, close: CloseFrame) -> Self {
        Self {
            close,
            begun: now,
            spread: Duration::ZERO,
            deadline: now,
            queue: Vec::new(),
            closed: 0,
            late: 0,
            report: ShutdownReport::default(),
            ordered_at: now,
            is_over: false,
            waiting: Vec::new(),
        }
    }

    /// When there is something to do, if nothing else happens.
    pub(super) fn next(&self) -> Option<Duration> {
        let share = |count: usize| count as f64 / self.queue.len() as f64;
        let next_close = || self.begun.saturating_add(self.spread.mul_f64(share(self.closed)));
        if self.is_over {
            None
        } else if self.closed < self.queue.len() {
            Some(next_close().min(self.deadline))
        } else {
            Some(self.deadline)
        }
    }

    /// Who gets a Close by now.
    fn due(&mut self, now: Duration) -> Vec<PeerId> {
        let elapsed = now.saturating_sub(self.begun);
        let count = if elapsed >= self.spread {
            self.queue.len()
        } else {
            // The first goes at once.
            let share = elapsed.as_secs_f64() / self.spread.as_secs_f64();
            ((share * self.queue.len() as f64) as usize + 1).min(self.queue.len())
        };
        let due = self.queue.get(self.closed..count).unwrap_or_default().to_vec();
        self.closed = self.closed.max(count);
        due
    }

    /// Takes note of a connection that was accepted after the beginning.
    pub(super) fn note_late<S>(&mut self, slot: &mut Slot<S>) {
        slot.late = true;
        self.late += 1;
    }

    /// Takes note of one that was refused before it could say anything.
    pub(super) fn note_refused(&mut self) {
        self.report.refused += 1;
    }

    /// Takes note of what an open connection leaves that is dropped.
    pub(super) fn note_unsent(&mut self, bytes: usize) {
        self.report.unsent_bytes += bytes as u64;
    }

    /// Takes note of the end of a connection.
    pub(super) fn note_end<S>(&mut self, slot: &Slot<S>, outcome: &Outcome) {
        self.late -= usize::from(slot.late);
        match outcome {
            Outcome::Rejected(response) if response.status() == 503 => self.report.refused += 1,
            _ if slot.session.is_none() => {}
            Outcome::Clean { .. } => self.report.clean += 1,
            _ if slot.cut => self.report.terminated += 1,
            _ => self.report.lost += 1,
        }
    }
}

/// The end of a loop.
impl<H: Handler> EventLoop<H> {
    pub(super) fn begin_shutdown(&mut self, order: ShutdownOrder) {
        let now = self.core.now;
        let ShutdownOrder { close, spread, deadline, report } = order;
        let queue: Vec<_> = self.core.slots.ids().collect();
        let draining =
            self.shutdown.get_or_insert_with(|| Box::new(Draining::new(now, close.clone())));
        if draining.is_over {
            // Who asks twice is told twice.
            report.send(&draining.report);
            return;
        }
        draining.waiting.push(report);
        event!(Info, "shutdown", "begins with {} connections", queue.len());
        draining.close = close;
        draining.deadline = now.saturating_add(deadline);
        (draining.begun, draining.spread, draining.closed) = (now, spread.min(deadline), 0);
        draining.queue.clone_from(&queue);
        for id in queue {
            self.refuse_undecided(id);
        }
    }

    /// Goes on with a shutdown, if there is one.
    pub(super) fn drain(&mut self) {
        let now = self.core.now;
        let Some(draining) = self.shutdown.as_deref_mut().filter(|draining| !draining.is_over)
        else {
            return;
        };
        let overdue = draining.deadline <= now;
        let close = draining.close.clone();
        for id in draining.due(now) {
            self.close(id, &close);
        }
        if overdue {
            self.settle_all();
            for id in self.core.slots.ids().collect::<Vec<_>>() {
                self.cut_off(id);
            }
        }
    }

    /// Ends it, once nobody is left whom it waits for.
    pub(super) fn finish_draining(&mut self) {
        let Some(draining) = self.shutdown.as_deref_mut() else { return };
        if draining.is_over || self.core.slots.len() > draining.late {
            return;
        }
        self.listeners.clear();
        self.accept_again = None;
        for id in self.core.slots.ids().collect::<Vec<_>>() {
            self.cut_off(id);
        }
        // Who is told of the end may ask for the counters next.
        self.publish_counters();
        let Some(draining) = self.shutdown.as_deref_mut() else { return };
        draining.is_over = true;
        draining.report.duration = self.core.now.saturating_sub(draining.ordered_at);
        event!(Info, "shutdown", "is over: {}", draining.report);
        for waiting in draining.waiting.drain(..) {
            // Who does not wait any more need not be told.
            waiting.send(&draining.report);
        }
    }

    /// Closes a connection that has opened only now.
    pub(super) fn close_if_draining(&mut self, id: PeerId) {
        if let Some(draining) = self.shutdown.as_deref() {
            let close = draining.close.clone();
            self.close(id, &close);
        }
    }

    fn cut_off(&mut self, id: PeerId) {
        if let Some(slot) = self.core.slots.get_mut(id) {
            (slot.doomed, slot.cut) = (true, true);
            self.settle_turn(id);
        }
    }

    /// Whether a shutdown was carried out: nothing listens and nobody is connected any more.
    pub fn is_finished(&self) -> bool {
        self.shutdown.as_deref().is_some_and(|draining| draining.is_over)
    }

    /// What became of the connections when the loop was shut down; `None` until that is over.
    ///
    /// ```
    /// # use framewire::Server;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let mut event_loop = Server::bind("127.0.0.1:0")?.on_message(|peer, message| { peer.send(message); })?;
    /// # event_loop.handle().shutdown(1001, "", Duration::ZERO).unwrap();
    /// event_loop.run()?;
    /// if let Some(report) = event_loop.shutdown_report() {
    ///     println!("{report}");
    /// }
    /// # assert!(event_loop.shutdown_report().is_some_and(|report| report.was_clean()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn shutdown_report(&self) -> Option<&ShutdownReport> {
        self.shutdown
            .as_deref()
            .filter(|draining| draining.is_over)
            .map(|draining| &draining.report)
    }
}
