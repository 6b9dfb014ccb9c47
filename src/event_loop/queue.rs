use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What other threads have for a loop: commands; and what goes beside them, since it has a type of its own. For each of
/// the latter there is a command that says when its turn has come. A queue wakes nobody.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Until the loop has come to its end.
    waiting: Mutex<Option<VecDeque<T>>>,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::new(Some(VecDeque::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts this behind the others. It comes back if the loop has come to its end.
    pub(super) fn push(&self, value: T) -> Result<(), T> {
        match &mut *self.lock() {
            Some(waiting) => waiting.push_back(value),
            None => return Err(value),
        }
        Ok(())
    }

    /// Takes the first of which this is so. What is wanted is at the front; or, if it goes beside a command, behind a few
    /// whose commands other threads have not given yet.
    pub(super) fn take(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut guard = self.lock();
        let waiting = guard.as_mut()?;
        let place = waiting.iter().position(is_wanted)?;
        waiting.swap_remove_front(place)
    }

    /// Takes none from now on, and drops those that are there.
    pub(super) fn end(&self) {
        // What is dropped may be anything, even something that uses this queue: that is not done under the lock.
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
        let queue = Queue::new();
        for value in [3, 1, 2] {
            assert_eq!(queue.push(value), Ok(()));
        }
        let taken = [1, 2, 4, 3, 3].map(|wanted| queue.take(|&value| value == wanted));
        assert_eq!(taken, [Some(1), Some(2), None, Some(3), None]);
    }

    #[test]
    fn commands_come_in_their_order() {
        let queue = Queue::new();
        for value in 0..100 {
            assert_eq!(queue.push(value), Ok(()));
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(|_| true)).collect();
        assert!(taken.into_iter().eq(0..100));
        queue.end();
        assert_eq!(queue.push(7), Err(7));
    }

    /// Puts itself into the queue when it is dropped.
    struct Returning(Arc<Queue<Self>>, Arc<Mutex<Vec<bool>>>);

    impl Drop for Returning {
        fn drop(&mut self) {
            if Arc::strong_count(&self.1) < 5 {
                let taken = self.0.push(Self(Arc::clone(&self.0), Arc::clone(&self.1)));
                self.1.lock().unwrap().push(taken.is_ok());
            }
        }
    }

    #[test]
    fn after_its_end_all_is_dropped_and_not_under_the_lock() {
        let queue = Arc::new(Queue::new());
        let told = Arc::new(Mutex::new(Vec::new()));
        assert!(queue.push(Returning(Arc::clone(&queue), Arc::clone(&told))).is_ok());
        queue.end();
        queue.end();
        let told = told.lock().unwrap();
        assert!(!told.is_empty() && told.iter().all(|&taken| !taken), "{told:?}");
        assert!(queue.take(|_| true).is_none());
    }
}
