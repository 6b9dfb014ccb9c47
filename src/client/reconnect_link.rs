use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::closer::{Closable, CloseRequest};
use super::split::ClientWriter;

/// What the threads of a client that connects again tell each other: which connection is the present one.
#[derive(Default)]
pub(super) struct Link {
    state: Mutex<LinkState>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct LinkState {
    /// What sends over the present connection, and which connection that is.
    pub(super) writer: Option<ClientWriter>,
    pub(super) number: u64,
    /// No other connection is made, unless whoever receives asks for one.
    pub(super) is_given_up: bool,
}

impl Closable for Link {
    fn close(&self, _: &CloseRequest) {
        self.change(|_| ());
    }
}

impl Link {
    pub(super) fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and has all threads look at it.
    pub(super) fn change(&self, change: impl FnOnce(&mut LinkState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// There is a new connection.
    pub(super) fn connected(&self, writer: ClientWriter) {
        self.change(|state| {
            state.writer = Some(writer);
            state.number += 1;
        });
    }

    /// Sleeps until something has changed, or until the time has come. Waking for nothing is allowed.
    pub(super) fn wait<'l>(
        &'l self,
        state: MutexGuard<'l, LinkState>,
        until: Option<Instant>,
    ) -> MutexGuard<'l, LinkState> {
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let result = self.changed.wait_timeout(state, left);
                result.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}
