use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What goes to a loop beside its commands, since it has a type of its own. For each there is a command that says when
/// its turn has come, so this queue wakes nobody and promises no order.
pub(super) struct SideQueue<T> {
    /// Until the loop has come to its end.
    waiting: Mutex<Option<VecDeque<T>>>,
}

impl<T> SideQueue<T> {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::new(Some(VecDeque::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts this behind the others; false if the loop has come to its end, and then it is dropped.
    pub(super) fn push(&self, value: T) -> bool {
        let mut value = Some(value);
        if let Some(waiting) = &mut *self.lock() {
            waiting.extend(value.take());
        }
        // What is dropped may be anything, even something that uses this queue: that is not done under the lock.
        value.is_none()
    }

    /// Takes the first of which this is so. The one that is asked for is at the front, or behind a few whose commands
    /// other threads have not given yet.
    pub(super) fn take(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut guard = self.lock();
        let waiting = guard.as_mut()?;
        let place = waiting.iter().position(is_wanted)?;
        waiting.swap_remove_front(place)
    }

    /// Takes none from now on, and drops those that are there.
    pub(super) fn end(&self) {
        let left = self.lock().take();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_has_come_early_waits_for_its_turn() {
        let queue = SideQueue::new();
        for value in [3, 1, 2] {
            assert!(queue.push(value));
        }
        let taken = [1, 2, 4, 3, 3].map(|wanted| queue.take(|&value| value == wanted));
        assert_eq!(taken, [Some(1), Some(2), None, Some(3), None]);
    }

    /// Puts itself into the queue when it is dropped.
    struct Returning(Arc<SideQueue<Self>>, Arc<Mutex<Vec<bool>>>);

    impl Drop for Returning {
        fn drop(&mut self) {
            if Arc::strong_count(&self.1) < 5 {
                let taken = self.0.push(Self(Arc::clone(&self.0), Arc::clone(&self.1)));
                self.1.lock().unwrap().push(taken);
            }
        }
    }

    #[test]
    fn after_its_end_all_is_dropped_and_not_under_the_lock() {
        let queue = Arc::new(SideQueue::new());
        let told = Arc::new(Mutex::new(Vec::new()));
        assert!(queue.push(Returning(Arc::clone(&queue), Arc::clone(&told))));
        queue.end();
        queue.end();
        let told = told.lock().unwrap();
        assert!(!told.is_empty() && told.iter().all(|&taken| !taken), "{told:?}");
        assert!(queue.take(|_| true).is_none());
    }
}
