use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Instant;

use mio::{Interest, Waker};

use super::wait::ConnectWait;

/// What comes of a task that cannot be called off: it has a thread of its own, which is left to itself when the time is
/// up, or the waiting is ended.
pub(super) fn run<T: Send + 'static>(
    name: &str,
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
    until: Option<Instant>,
    wait: &mut ConnectWait,
) -> io::Result<T> {
    let (answer, answered) = mpsc::sync_channel(1);
    let waker = wait.waker();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Dropped after the channel, by a task that panics too.
        let _wakes = WakeOnDrop(waker);
        let answer = answer;
        // Nobody listens any more if the time was up.
        let _ = answer.send(task());
    })?;
    loop {
        match answered.try_recv() {
            Ok(result) => return result,
            Err(TryRecvError::Disconnected) => return Err(io::Error::other("the thread panicked")),
            Err(TryRecvError::Empty) => {}
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        wait.wait(until, Interest::READABLE)?;
    }
}

struct WakeOnDrop(Arc<Waker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        let _ = self.0.wake();
    }
}
