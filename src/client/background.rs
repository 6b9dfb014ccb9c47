use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use mio::Interest;

use super::wait::ConnectWait;

/// A task that cannot be called off: it has a thread of its own, which is left to itself when nobody wants its result
/// any more. Here is the place for that, of which the thread has the other end until it is over.
pub(super) struct Task<T>(Arc<Mutex<Option<T>>>);

impl<T: Send + 'static> Task<T> {
    /// Begins it; `wake` is called when the result is there.
    pub(super) fn spawn(
        name: &str,
        task: impl FnOnce() -> T + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let result = Arc::new(Mutex::new(None));
        let place = Arc::clone(&result);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // It wakes when it is dropped, which is after the place is, and also if the task panics.
            let _wakes = CallOnDrop(wake);
            let place = place;
            let done = task();
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        })?;
        Ok(Self(result))
    }

    /// What came of it, once it is over; an error if it panicked.
    pub(super) fn result(&self) -> Option<io::Result<T>> {
        // First this, or the thread might put it there between the two.
        let is_over = Arc::strong_count(&self.0) == 1;
        let result = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match result {
            Some(result) => Some(Ok(result)),
            None if is_over => Some(Err(io::Error::other("the thread panicked"))),
            None => None,
        }
    }
}

struct CallOnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for CallOnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What comes of a [`Task`], unless the time is up before, or the waiting is ended.
pub(super) fn run<T: Send + 'static>(
    name: &str,
    task: impl FnOnce() -> io::Result<T> + Send + 'static,
    until: Option<Instant>,
    wait: &mut ConnectWait,
) -> io::Result<T> {
    let waker = wait.waker();
    let task = Task::spawn(name, task, move || {
        waker.wake();
    })?;
    loop {
        if let Some(result) = task.result() {
            return result?;
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        wait.wait(until, Interest::READABLE)?;
    }
}
