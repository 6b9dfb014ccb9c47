use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::slab::PeerId;

/// How many connections each address may have, and has.
#[derive(Debug)]
pub(super) struct Quota {
    limit: usize,
    counts: HashMap<Neighbourhood, usize>,
    /// Where each that is counted comes from; a socket whose peer is gone cannot tell any more.
    homes: HashMap<PeerId, Neighbourhood>,
}

/// What one customer of a network has: an IPv4 address, or 64 bits of IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Neighbourhood {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Neighbourhood {
    pub(super) fn of(address: IpAddr) -> Self {
        // A dual-stack socket tells IPv4 addresses in their IPv6 form.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [one, two, three, four, ..] = address.segments();
                Self::V6([one, two, three, four])
            }
        }
    }
}

impl Quota {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, counts: HashMap::new(), homes: HashMap::new() }
    }

    /// Whether this one is counted.
    pub(super) fn counts(&self, id: PeerId) -> bool {
        self.homes.contains_key(&id)
    }

    /// Whether one more may come from there.
    pub(super) fn has_room(&self, home: Neighbourhood) -> bool {
        self.counts.get(&home).copied().unwrap_or(0) < self.limit
    }

    pub(super) fn enter(&mut self, id: PeerId, home: Neighbourhood) {
        *self.counts.entry(home).or_default() += 1;
        self.homes.insert(id, home);
    }

    /// One has gone, that was perhaps counted.
    pub(super) fn leave(&mut self, id: PeerId) {
        let Some(home) = self.homes.remove(&id) else { return };
        if let Some(count) = self.counts.get_mut(&home) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&home);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::slab::Slab;

    fn home(address: &str) -> Neighbourhood {
        Neighbourhood::of(address.parse().unwrap())
    }

    #[test]
    fn neighbours_count_together() {
        assert_eq!(home("192.0.2.1"), home("::ffff:192.0.2.1"));
        assert_ne!(home("192.0.2.1"), home("192.0.2.2"));
        assert_eq!(home("2001:db8:1:2::1"), home("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(home("2001:db8:1:2::1"), home("2001:db8:1:3::1"));
    }

    #[test]
    fn who_has_gone_makes_room_and_leaves_nothing() {
        let (mut slab, mut quota) = (Slab::new(0), Quota::new(2));
        let ids: Vec<_> = (0..3).map(|n| slab.insert(n).unwrap()).collect();
        let (one, other) = (home("192.0.2.1"), home("2001:db8::1"));
        quota.enter(ids[0], one);
        assert!(quota.has_room(one));
        quota.enter(ids[1], one);
        assert!(!quota.has_room(one) && quota.has_room(other));
        quota.enter(ids[2], other);
        quota.leave(ids[0]);
        quota.leave(ids[0]);
        assert!(quota.has_room(one));
        quota.leave(ids[1]);
        quota.leave(ids[2]);
        assert!(quota.counts.is_empty() && quota.homes.is_empty());
        assert!(!Quota::new(0).has_room(one));
    }
}
