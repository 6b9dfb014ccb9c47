use std::collections::HashMap;

use crate::handshake::ProxyHeaderReader;

use super::caller::Told;
use super::slab::PeerId;

/// What is known of callers beside their sockets. Where no proxy is configured there is nothing in it, and a
/// connection costs nothing.
#[derive(Debug, Default)]
pub(super) struct Callers {
    told: HashMap<PeerId, Told>,
    awaited: HashMap<PeerId, Awaited>,
}

/// A connection whose header of the PROXY protocol has not come.
#[derive(Debug)]
enum Awaited {
    Header(ProxyHeaderReader),
    /// It was rejected, and the handler was told so.
    Rejected,
}

impl Callers {
    /// What proxies tell of this one.
    pub(super) fn told(&self, id: PeerId) -> Told {
        if self.told.is_empty() {
            Told::default()
        } else {
            self.told.get(&id).cloned().unwrap_or_default()
        }
    }

    pub(super) fn told_mut(&mut self, id: PeerId) -> &mut Told {
        self.told.entry(id).or_default()
    }

    /// Waits for the header of this one.
    pub(super) fn await_header(&mut self, id: PeerId) {
        self.awaited.insert(id, Awaited::Header(ProxyHeaderReader::new()));
    }

    /// What reads the header of this one.
    pub(super) fn reader(&mut self, id: PeerId) -> Option<&mut ProxyHeaderReader> {
        match self.awaited.get_mut(&id)? {
            Awaited::Header(reader) => Some(reader),
            Awaited::Rejected => None,
        }
    }

    /// The header of this one has come, or none will.
    pub(super) fn end_wait(&mut self, id: PeerId) {
        self.awaited.remove(&id);
    }

    /// This one was rejected before it could say anything.
    pub(super) fn reject(&mut self, id: PeerId) {
        self.awaited.insert(id, Awaited::Rejected);
    }

    pub(super) fn is_rejected(&self, id: PeerId) -> bool {
        matches!(self.awaited.get(&id), Some(Awaited::Rejected))
    }

    /// Forgets this one.
    pub(super) fn remove(&mut self, id: PeerId) {
        // Called for every connection that ends, while the maps are mostly empty.
        if !self.told.is_empty() {
            self.told.remove(&id);
        }
        if !self.awaited.is_empty() {
            self.awaited.remove(&id);
        }
    }
}
