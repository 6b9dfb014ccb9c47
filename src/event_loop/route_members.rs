use std::collections::BTreeSet;

use super::route::{RouteId, Scope};

/// The places of the connections of each route, in order: what is for one route goes past all others.
///
/// A connection is here from when it gets its route until it is forgotten, open or not.
#[derive(Debug, Default)]
pub(super) struct RouteMembers {
    routes: Vec<BTreeSet<usize>>,
}

impl RouteMembers {
    pub(super) fn add(&mut self, route: RouteId, place: usize) {
        if self.routes.len() <= route.index() {
            self.routes.resize_with(route.index() + 1, BTreeSet::new);
        }
        self.routes[route.index()].insert(place);
    }

    pub(super) fn remove(&mut self, route: RouteId, place: usize) {
        if let Some(places) = self.routes.get_mut(route.index()) {
            places.remove(&place);
        }
    }

    /// The first place from this one on, of so many, at which there may be a connection within this scope. Those
    /// without a route have no list of their own: they are all there are, mostly.
    #[inline]
    pub(super) fn next(&self, scope: Scope, from: usize, places: usize) -> Option<usize> {
        match scope.route() {
            None => (from < places).then_some(from),
            Some(route) => self.routes.get(route.index())?.range(from..).next().copied(),
        }
    }

    /// How many places there are within this scope, of so many.
    pub(super) fn count(&self, scope: Scope, places: usize) -> usize {
        match scope.route() {
            None => places,
            Some(route) => self.routes.get(route.index()).map_or(0, BTreeSet::len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_has_its_own_places() {
        let [one, other, third] = [0, 3, 7].map(|index| RouteId::of(index).unwrap());
        let scope = |route| Scope::Route(Some(route));
        let mut members = RouteMembers::default();
        for (route, place) in [(one, 5), (other, 1), (one, 2), (one, 9), (other, 4), (one, 5)] {
            members.add(route, place);
        }
        members.remove(one, 9);
        members.remove(one, 1);
        members.remove(third, 1);
        let all = |scope| {
            let next = |&place: &usize| members.next(scope, place + 1, 7);
            std::iter::successors(members.next(scope, 0, 7), next).collect::<Vec<_>>()
        };
        assert_eq!(all(scope(one)), [2, 5]);
        assert_eq!(all(scope(other)), [1, 4]);
        assert_eq!(all(scope(third)), [0; 0]);
        assert_eq!(all(Scope::All), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(all(Scope::Route(None)), [0, 1, 2, 3, 4, 5, 6]);
        let counts = [scope(one), scope(third), Scope::All].map(|scope| members.count(scope, 7));
        assert_eq!(counts, [2, 0, 7]);
    }
}
