use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A queue between threads that holds so many items and bytes.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Something was put in, or it was closed.
    filled: Condvar,
    /// Something was taken out, or it was closed.
    emptied: Condvar,
    max_items: usize,
    max_bytes: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(max_items: usize, max_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, closed: false };
        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            max_items,
            max_bytes,
        }
    }

    /// Nobody panics while holding it.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item in if there is room. One item has room whatever its length.
    pub(crate) fn try_push(&self, item: T, bytes: usize) -> Result<(), T> {
        let mut state = self.state();
        if state.closed || self.is_full(&state, bytes) {
            return Err(item);
        }
        self.put(&mut state, item, bytes);
        Ok(())
    }

    /// Puts an item in, and waits for room until the deadline; fails if there was none, or if the queue was closed.
    pub(crate) fn push(&self, item: T, bytes: usize, deadline: Option<Instant>) -> Result<(), T> {
        let mut state = self.state();
        while !state.closed && self.is_full(&state, bytes) {
            state = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Err(item),
                Some(left) => {
                    self.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.emptied.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        if state.closed {
            return Err(item);
        }
        self.put(&mut state, item, bytes);
        Ok(())
    }

    /// Puts an item in that is bounded by something else.
    pub(crate) fn push_beyond(&self, item: T) {
        let mut state = self.state();
        if !state.closed {
            self.put(&mut state, item, 0);
        }
    }

    /// Takes up to so many items, and waits for the first of them until the deadline. `None`: it is closed and empty.
    pub(crate) fn take(&self, most: usize, deadline: Option<Instant>) -> Option<Vec<T>> {
        let mut state = self.state();
        while state.items.is_empty() {
            if state.closed {
                return None;
            }
            state = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Some(Vec::new()),
                Some(left) => {
                    self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let count = most.min(state.items.len());
        let mut bytes = 0;
        let taken = state.items.drain(..count).map(|(item, length)| {
            bytes += length;
            item
        });
        let taken = taken.collect();
        state.bytes -= bytes;
        self.emptied.notify_all();
        Some(taken)
    }

    /// Waits until the deadline, or until it is closed; returns whether it is.
    pub(crate) fn wait_closed(&self, deadline: Instant) -> bool {
        let mut state = self.state();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return state.closed;
            }
            state =
                self.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes nothing more in. What is in it can still be taken out.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(crate) fn len(&self) -> usize {
        self.state().items.len()
    }

    fn is_full(&self, state: &State<T>, bytes: usize) -> bool {
        let fits = state.items.len() < self.max_items && state.bytes + bytes <= self.max_bytes;
        !fits && !state.items.is_empty()
    }

    fn put(&self, state: &mut State<T>, item: T, bytes: usize) {
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_bytes_are_bounded() {
        let queue = Queue::new(2, 10);
        assert_eq!(queue.try_push('a', 100), Ok(()), "one has room whatever its length");
        assert_eq!(queue.try_push('b', 1), Err('b'));
        assert_eq!(queue.take(9, None), Some(vec!['a']));
        assert_eq!((queue.try_push('c', 5), queue.try_push('d', 5)), (Ok(()), Ok(())));
        assert_eq!(queue.try_push('e', 0), Err('e'));
        queue.push_beyond('f');
        assert_eq!(queue.take(2, None), Some(vec!['c', 'd']));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn after_the_close_the_rest_can_be_taken() {
        let queue = Queue::new(2, 10);
        queue.push_beyond('a');
        queue.close();
        assert_eq!(queue.try_push('b', 0), Err('b'));
        assert_eq!(queue.push('b', 0, None), Err('b'));
        assert_eq!(queue.take(9, None), Some(vec!['a']));
        assert_eq!(queue.take(9, None), None);
        assert!(queue.is_closed());
    }

    #[test]
    fn who_waits_for_room_gets_it() {
        let queue = Queue::new(1, 10);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|number| queue.push(number, 1, None).unwrap()));
            let mut taken = Vec::new();
            while taken.len() < 100 {
                taken.extend(queue.take(9, None).unwrap());
            }
            assert!(taken.into_iter().eq(0..100));
        });
        assert_eq!(queue.push(1, 1, Some(Instant::now())), Ok(()));
        assert_eq!(queue.push(2, 1, Some(Instant::now())), Err(2));
    }
}
