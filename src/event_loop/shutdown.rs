use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::protocol::Outcome;
use crate::wire::CloseFrame;

use super::answers::{Answerer, Answers, answers};
use super::slab::PeerId;

/// A shutdown under way: wait for its end, or drop this value and let it go on.
///
/// ```
/// # use framewire::Server;
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut event_loop = Server::bind("127.0.0.1:0")?.on_message(|peer, message| { peer.send(message); }).into_event_loop()?;
/// let handle = event_loop.handle();
/// let stopper = std::thread::spawn(move || {
///     let shutdown = handle.shutdown(1012, "restart", Duration::from_secs(10)).unwrap();
///     shutdown.wait()
/// });
/// event_loop.run()?;
/// let report = stopper.join().unwrap().expect("the loop was run to its end");
/// assert_eq!((report.clean, report.aborted, report.unsent_bytes), (0, 0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Shutdown(pub(super) Answers<ShutdownReport>);

impl Shutdown {
    /// Waits until the loop has ended. `None` if it was dropped before its shutdown was over.
    ///
    /// Do not call this on the loop's own thread, which would wait for itself.
    pub fn wait(&self) -> Option<ShutdownReport> {
        self.0.next(None)
    }

    /// Waits until the loop has ended, for at most `timeout`; `None` then, too.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<ShutdownReport> {
        self.0.next(Some(timeout))
    }
}

/// Tells of the end, when each of the loops has told of its own.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    answerer: Answerer<ShutdownReport>,
    /// How many are still to tell, and what the others have told.
    sum: Arc<Mutex<(usize, ShutdownReport)>>,
}

impl Reporter {
    pub(super) fn new(loops: usize) -> (Self, Answers<ShutdownReport>) {
        let (answerer, reports) = answers();
        let sum = Arc::new(Mutex::new((loops, ShutdownReport::default())));
        (Self { answerer, sum }, reports)
    }

    /// Takes the report of one loop.
    pub(super) fn send(&self, report: &ShutdownReport) {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, all) = &mut *sum;
        *left = left.saturating_sub(1);
        all.add(report);
        if *left == 0 {
            self.answerer.send(all.clone());
        }
    }
}

/// What became of the connections when a loop was shut down. Those that closed by themselves while it
/// lasted are counted, too.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShutdownReport {
    /// Open connections that completed the closing handshake.
    pub clean: u64,
    /// Open connections that this side aborted: at the deadline, at
    /// [`Config::close_timeout`](crate::Config::close_timeout), or by another limit.
    pub aborted: u64,
    /// Open connections whose transport ended or broke before the closing handshake was complete.
    pub lost: u64,
    /// Requests that came during the shutdown, or still waited for an answer, and were answered 503.
    pub refused: u64,
    /// How many bytes, framing included, waited for open connections that were dropped.
    pub unsent_bytes: u64,
    /// How long the shutdown took.
    pub duration: Duration,
}

impl ShutdownReport {
    fn add(&mut self, other: &Self) {
        self.clean += other.clean;
        self.aborted += other.aborted;
        self.lost += other.lost;
        self.refused += other.refused;
        self.unsent_bytes += other.unsent_bytes;
        self.duration = self.duration.max(other.duration);
    }

    /// Whether every connection closed in good order, with nothing left unsent.
    pub fn was_clean(&self) -> bool {
        self.aborted == 0 && self.lost == 0 && self.unsent_bytes == 0
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clean, aborted, lost, refused, unsent_bytes, duration } = self;
        write!(
            f,
            "shut down in {duration:.1?}: {clean} closed, {aborted} aborted, {lost} lost, \
            {refused} refused, {unsent_bytes} bytes unsent"
        )
    }
}

/// What a handle asks for.
#[derive(Clone, Debug)]
pub(super) struct ShutdownOrder {
    /// Without it, nothing listens any more, and connections are waited for.
    pub(super) close: Option<CloseFrame>,
    /// Over how long the Closes are spread.
    pub(super) spread: Duration,
    pub(super) deadline: Duration,
    pub(super) report: Reporter,
}

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Draining {
    /// `None` while connections are only waited for.
    close: Option<CloseFrame>,
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

/// How a connection ended while the loop was being shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The application never knew of it.
    Unknown,
    /// This side has aborted it.
    Aborted,
    Other,
}

impl Draining {
    pub(super) fn new(now: Duration, close: Option<CloseFrame>) -> Self {
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

    /// Takes an order, the first one or another, which changes the deadline: these connections get a Close.
    pub(super) fn order(&mut self, now: Duration, order: ShutdownOrder, queue: Vec<PeerId>) {
        let ShutdownOrder { close, spread, deadline, report } = order;
        self.waiting.push(report);
        self.close = close;
        self.deadline = now.saturating_add(deadline);
        (self.begun, self.spread, self.closed) = (now, spread.min(deadline), 0);
        self.queue = queue;
    }

    /// Takes note of somebody who waits for the end, and changes nothing.
    pub(super) fn note_waiting(&mut self, report: Reporter) {
        self.waiting.push(report);
    }

    /// What a Close says, unless there are none.
    pub(super) fn close(&self) -> Option<&CloseFrame> {
        self.close.as_ref()
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        !self.is_over && self.close.is_some() && self.deadline <= now
    }

    /// Whether nobody is left whom it waits for, of so many connections.
    pub(super) fn is_done(&self, connections: usize) -> bool {
        !self.is_over && connections <= self.late
    }

    /// When there is something to do, if nothing else happens.
    pub(super) fn next(&self) -> Option<Duration> {
        let share = |count: usize| count as f64 / self.queue.len() as f64;
        let next_close = || self.begun.saturating_add(self.spread.mul_f64(share(self.closed)));
        if self.is_over || self.close.is_none() {
            None
        } else if self.closed < self.queue.len() {
            Some(next_close().min(self.deadline))
        } else {
            Some(self.deadline)
        }
    }

    /// Who gets a Close by now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<PeerId> {
        if self.is_over {
            return Vec::new();
        }
        let elapsed = now.saturating_sub(self.begun);
        let count = if elapsed >= self.spread {
            self.queue.len()
        } else {
            // One more than the share, so that the first goes at once.
            let share = elapsed.as_secs_f64() / self.spread.as_secs_f64();
            ((share * self.queue.len() as f64) as usize + 1).min(self.queue.len())
        };
        let due = self.queue.get(self.closed..count).unwrap_or_default().to_vec();
        self.closed = self.closed.max(count);
        due
    }

    /// Takes note of a connection that was accepted after the beginning.
    pub(super) fn note_late(&mut self) {
        self.late += 1;
    }

    /// Takes note of the end of one of those.
    pub(super) fn note_late_end(&mut self) {
        self.late -= 1;
    }

    /// Takes note of one that was refused before it could say anything.
    pub(super) fn note_refused(&mut self) {
        self.report.refused += 1;
    }

    /// Takes note of what an open connection leaves that is dropped.
    pub(super) fn note_unsent(&mut self, bytes: u64) {
        self.report.unsent_bytes += bytes;
    }

    /// Takes note of the end of a connection.
    pub(super) fn note_end(&mut self, departure: Departure, outcome: &Outcome) {
        match outcome {
            Outcome::Rejected(response) if response.status() == 503 => self.report.refused += 1,
            _ if departure == Departure::Unknown => {}
            Outcome::Clean { .. } => self.report.clean += 1,
            _ if departure == Departure::Aborted => self.report.aborted += 1,
            _ => self.report.lost += 1,
        }
    }

    /// It is over: the report, and those who wait for it.
    pub(super) fn finish(&mut self, now: Duration) -> (&ShutdownReport, Vec<Reporter>) {
        self.is_over = true;
        self.report.duration = now.saturating_sub(self.ordered_at);
        (&self.report, std::mem::take(&mut self.waiting))
    }

    /// What became of the connections, once it is over.
    pub(super) fn report(&self) -> Option<&ShutdownReport> {
        self.is_over.then_some(&self.report)
    }
}
