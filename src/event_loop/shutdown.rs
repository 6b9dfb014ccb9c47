use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A shutdown that was ordered: wait for its end, or drop this and let it go on.
///
/// ```
/// # use framewire::Server;
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut event_loop = Server::bind("127.0.0.1:0")?.on_message(|peer, message| { peer.send(message); })?;
/// let handle = event_loop.handle();
/// let stopper = std::thread::spawn(move || {
///     let shutdown = handle.shutdown(1012, "restart", Duration::from_secs(10)).unwrap();
///     shutdown.wait()
/// });
/// event_loop.run()?;
/// let report = stopper.join().unwrap().expect("the loop was run to its end");
/// assert_eq!((report.clean, report.terminated, report.unsent_bytes), (0, 0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Shutdown(pub(super) Receiver<ShutdownReport>);

impl Shutdown {
    /// Waits until the loop has ended. `None` if it was dropped before its shutdown was over.
    ///
    /// Do not call this on the loop's own thread, which would wait for itself.
    pub fn wait(&self) -> Option<ShutdownReport> {
        self.0.recv().ok()
    }

    /// The same, but waits for so long at the most; `None` then, too.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<ShutdownReport> {
        self.0.recv_timeout(timeout).ok()
    }
}

/// Tells of the end, when each of the loops has told of its own.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    sender: Sender<ShutdownReport>,
    /// How many are still to tell, and what the others have told.
    sum: Arc<Mutex<(usize, ShutdownReport)>>,
}

impl Reporter {
    pub(super) fn new(loops: usize) -> (Self, Receiver<ShutdownReport>) {
        let (sender, reports) = channel();
        let sum = Arc::new(Mutex::new((loops, ShutdownReport::default())));
        (Self { sender, sum }, reports)
    }

    /// Takes the report of one loop.
    pub(super) fn send(&self, report: &ShutdownReport) {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, all) = &mut *sum;
        *left = left.saturating_sub(1);
        all.add(report);
        if *left == 0 {
            // Who does not wait any more need not be told.
            let _ = self.sender.send(all.clone());
        }
    }
}

/// What became of the connections when a loop was shut down. Those that closed by themselves while it
/// lasted are counted, too.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Open connections that completed the closing handshake.
    pub clean: u64,
    /// Open connections that this side cut off: at the deadline, at
    /// [`Config::close_timeout`](crate::Config::close_timeout), or by another limit.
    pub terminated: u64,
    /// Open connections whose transport ended or broke before the closing handshake was complete.
    pub lost: u64,
    /// Clients that asked to be let in, or waited for an answer, and were answered 503.
    pub refused: u64,
    /// How many bytes, framing included, waited for open connections that were dropped.
    pub unsent_bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

impl ShutdownReport {
    fn add(&mut self, other: &Self) {
        self.clean += other.clean;
        self.terminated += other.terminated;
        self.lost += other.lost;
        self.refused += other.refused;
        self.unsent_bytes += other.unsent_bytes;
        self.duration = self.duration.max(other.duration);
    }

    /// Whether every connection closed in good order, with nothing left unsent.
    pub fn was_clean(&self) -> bool {
        self.terminated == 0 && self.lost == 0 && self.unsent_bytes == 0
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clean, terminated, lost, refused, unsent_bytes, duration } = self;
        write!(
            f,
            "shut down in {duration:.1?}: {clean} closed, {terminated} terminated, {lost} lost, \
            {refused} refused, {unsent_bytes} bytes unsent"
        )
    }
}
