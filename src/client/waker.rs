use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token};

use super::closer::{Closable, CloseRequest};

/// Ends the waiting of a thread. Whoever uses it first sets down what the thread is to see.
#[derive(Debug)]
pub(super) struct Waker {
    system: mio::Waker,
    /// Whether the thread was woken and has not looked yet. Where mio has nothing but poll, a wake-up can be lost when
    /// the thread registers a socket.
    is_woken: AtomicBool,
}

impl Waker {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let system = mio::Waker::new(registry, token)?;
        Ok(Self { system, is_woken: AtomicBool::new(false) })
    }

    pub(super) fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            // It fails only when the poll is gone, and then nobody waits.
            let _ = self.system.wake();
        }
    }

    /// Whether the thread was woken; what comes from now on wakes it anew.
    pub(super) fn take_woken(&self) -> bool {
        self.is_woken.swap(false, Ordering::SeqCst)
    }
}

impl Closable for Waker {
    fn close(&self, _: &CloseRequest) {
        self.wake();
    }
}
