use super::slab::PeerId;

/// What a handler has made for its connections, each at the place of its connection: beside them, so that what
/// knows the connections does not have to know the type.
pub(super) struct Sessions<S> {
    places: Vec<Option<S>>,
}

impl<S> Default for Sessions<S> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<S> Sessions<S> {
    /// Gives a connection its session. Whoever ends the connection has to [`remove`](Self::remove) it.
    pub(super) fn insert(&mut self, id: PeerId, session: S) {
        let index = id.index();
        if index >= self.places.len() {
            self.places.resize_with(index + 1, || None);
        }
        self.places[index] = Some(session);
    }

    #[inline]
    pub(super) fn get(&self, id: PeerId) -> Option<&S> {
        self.places.get(id.index())?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut S> {
        self.places.get_mut(id.index())?.as_mut()
    }

    /// Drops the session of a connection that ends, if it has one.
    pub(super) fn remove(&mut self, id: PeerId) {
        if let Some(place) = self.places.get_mut(id.index()) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::event_loop::slab::Slab;

    #[test]
    fn a_session_is_dropped_with_its_connection_and_not_before() {
        let mut slab = Slab::new(3);
        let ids: Vec<_> = (0..5).filter_map(|_| slab.insert(())).collect();
        let session = Rc::new(());
        let mut sessions = Sessions::default();
        assert_eq!(sessions.get(ids[0]), None);
        for id in [ids[4], ids[1]] {
            sessions.insert(id, Rc::clone(&session));
        }
        let has: Vec<_> = ids.iter().map(|&id| sessions.get(id).is_some()).collect();
        assert_eq!(has, [false, true, false, false, true]);
        sessions.remove(ids[1]);
        sessions.remove(ids[2]);
        assert_eq!((Rc::strong_count(&session), sessions.get_mut(ids[1])), (2, None));
        drop(sessions);
        assert_eq!(Rc::strong_count(&session), 1);
    }
}
