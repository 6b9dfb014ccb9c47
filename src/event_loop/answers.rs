use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What comes back of an order to several loops: they answer, one thread waits.
#[derive(Debug)]
pub(super) struct Answers<T>(Arc<Shared<T>>);

/// One that may answer. When all of them have been dropped there are no more answers.
#[derive(Debug)]
pub(super) struct Answerer<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    answers: VecDeque<T>,
    answerers: usize,
}

/// Both ends.
pub(super) fn answers<T>() -> (Answerer<T>, Answers<T>) {
    let state = Mutex::new(State { answers: VecDeque::new(), answerers: 1 });
    let shared = Arc::new(Shared { state, changed: Condvar::new() });
    (Answerer(Arc::clone(&shared)), Answers(shared))
}

impl<T> Shared<T> {
    /// The lock is never held while anything of the application's is called.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Answerer<T> {
    pub(super) fn send(&self, answer: T) {
        self.0.lock().answers.push_back(answer);
        self.0.changed.notify_all();
    }
}

impl<T> Clone for Answerer<T> {
    fn clone(&self) -> Self {
        self.0.lock().answerers += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        self.0.lock().answerers -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Answers<T> {
    /// Waits for the next answer, for so long at most; `None` if none has come by then, or none can come any more.
    pub(super) fn next(&self, timeout: Option<Duration>) -> Option<T> {
        // A time that no clock reaches is none.
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.0.lock();
        while state.answers.is_empty() && state.answerers > 0 {
            state = match until {
                None => self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.0.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.answers.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn answers_come_until_nobody_is_left_to_give_one() {
        let (answerer, answers) = answers();
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let answerer = answerer.clone();
                thread::spawn(move || answerer.send(number))
            })
            .collect();
        drop(answerer);
        let mut came: Vec<_> = std::iter::from_fn(|| answers.next(None)).collect();
        came.sort_unstable();
        assert_eq!(came, [0, 1, 2, 3]);
        assert_eq!(answers.next(None), None);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn nobody_waits_longer_than_is_wanted() {
        let (answerer, answers) = answers();
        assert_eq!(answers.next(Some(Duration::ZERO)), None);
        assert_eq!(answers.next(Some(Duration::from_millis(1))), None);
        answerer.send(7);
        assert_eq!(answers.next(Some(Duration::ZERO)), Some(7));
        answerer.send(8);
        assert_eq!(answers.next(Some(Duration::MAX)), Some(8));
        drop(answerer);
        assert_eq!(answers.next(Some(Duration::MAX)), None);
    }
}
