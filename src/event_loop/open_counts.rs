use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::route::{RouteId, Scope};

/// How many connections are open in all loops that work together, and for which routes. It changes when one opens
/// or ends, so that nobody who publishes has to look at all of them.
#[derive(Debug, Default)]
pub(super) struct OpenCounts {
    all: AtomicUsize,
    /// By the index of the route and one; the first are those that are for none.
    routes: Mutex<Vec<usize>>,
}

impl OpenCounts {
    /// Counts one more.
    pub(super) fn add(&self, route: Option<RouteId>) {
        self.all.fetch_add(1, Ordering::SeqCst);
        let index = index(route);
        // Nothing that is done under the lock can leave it half done.
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if routes.len() <= index {
            routes.resize(index + 1, 0);
        }
        routes[index] += 1;
    }

    /// Counts one less, which was [added](Self::add).
    pub(super) fn remove(&self, route: Option<RouteId>) {
        self.all.fetch_sub(1, Ordering::SeqCst);
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = routes.get_mut(index(route)) {
            *count -= 1;
        }
    }

    /// How many are within a scope.
    #[inline]
    pub(super) fn within(&self, scope: Scope) -> usize {
        match scope {
            Scope::All => self.all.load(Ordering::SeqCst),
            Scope::Route(route) => {
                let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
                routes.get(index(route)).copied().unwrap_or(0)
            }
        }
    }
}

fn index(route: Option<RouteId>) -> usize {
    route.map_or(0, |route| route.index() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_has_a_count_of_its_own() {
        let (first, second) = (RouteId::of(0), RouteId::of(1));
        let counts = OpenCounts::default();
        for route in [None, second, second, first] {
            counts.add(route);
        }
        counts.remove(first);
        let scopes = [Scope::All, Scope::Route(None), Scope::Route(first), Scope::Route(second)];
        assert_eq!(scopes.map(|scope| counts.within(scope)), [3, 1, 0, 2]);
        assert_eq!(counts.within(Scope::Route(RouteId::of(7))), 0);
    }
}
