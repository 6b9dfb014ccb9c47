use std::collections::HashMap;
use std::io;

use mio::event::Source;
use mio::{Interest, Token};

use super::readiness::Readiness;
use super::route::Scope;
use super::selector::Registry;
use super::slab::MAX_LOOPS;

/// The id of a source of events that the application has registered with an event loop, until it is deregistered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u64);

/// An event of a source that the application has registered; see
/// [`Peers::register_source`](crate::Peers::register_source). What has failed, the next read or write tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceEvent {
    id: SourceId,
    token: u64,
    readiness: Readiness,
}

impl SourceEvent {
    /// The id that the source got when it was registered.
    #[must_use]
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The number that the source was registered with.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the source can be read; read until [`io::ErrorKind::WouldBlock`], or no further event comes. See
    /// [`mio::event::Event::is_readable`].
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.readiness.is_readable
    }

    /// Whether the source can be written; see [`mio::event::Event::is_writable`].
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.readiness.is_writable
    }

    /// Whether the other end has ended its direction; see [`mio::event::Event::is_read_closed`].
    #[must_use]
    pub fn is_read_closed(&self) -> bool {
        self.readiness.is_read_closed
    }

    /// Whether urgent data is there; see [`mio::event::Event::is_priority`].
    #[must_use]
    pub fn is_priority(&self) -> bool {
        self.readiness.is_priority
    }
}

/// What the application has registered.
#[derive(Debug, Default)]
pub(super) struct Sources {
    registered: HashMap<u64, (u64, Scope)>,
    /// The number that is given next.
    next: u64,
}

/// How many bits of a number stand where a connection has its place.
const PLACE_BITS: u32 = 24;

/// How many numbers there are. Their tokens are of the loop whose number is never given, and are not those that the loop
/// has for its listeners and to be woken, which are the last ones.
const NUMBERS: u64 = if usize::BITS < 64 { (1 << PLACE_BITS) - (1 << 16) } else { 1 << 55 };

fn token_of(number: u64) -> Token {
    let place = number & ((1 << PLACE_BITS) - 1);
    let token = number >> PLACE_BITS << 32 | (MAX_LOOPS as u64) << PLACE_BITS | place;
    Token(token as usize)
}

/// The number of a source, if the token may be one.
fn number_of(token: Token) -> Option<u64> {
    let token = token.0 as u64;
    let own = (token as u32) >> PLACE_BITS == MAX_LOOPS as u32;
    own.then_some(token >> 32 << PLACE_BITS | token & ((1 << PLACE_BITS) - 1))
}

impl Sources {
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        source: &mut (impl Source + ?Sized),
        token: u64,
        interest: Interest,
        scope: Scope,
    ) -> io::Result<SourceId> {
        if self.registered.len() as u64 >= NUMBERS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let mut number = self.next % NUMBERS;
        while self.registered.contains_key(&number) {
            number = (number + 1) % NUMBERS;
        }
        registry.register(source, token_of(number), interest)?;
        self.next = number + 1;
        self.registered.insert(number, (token, scope));
        Ok(SourceId(number))
    }

    pub(super) fn reregister(
        &self,
        registry: &Registry,
        id: SourceId,
        source: &mut (impl Source + ?Sized),
        interest: Interest,
    ) -> io::Result<()> {
        self.check(id)?;
        registry.reregister(source, token_of(id.0), interest)
    }

    pub(super) fn deregister(
        &mut self,
        registry: &Registry,
        id: SourceId,
        source: &mut (impl Source + ?Sized),
    ) -> io::Result<()> {
        self.check(id)?;
        self.registered.remove(&id.0);
        registry.deregister(source)
    }

    fn check(&self, id: SourceId) -> io::Result<()> {
        let is_known = self.registered.contains_key(&id.0);
        if is_known { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// The event of a source, if it is one, with the connections that the source was registered for.
    #[cold]
    pub(super) fn event(&self, readiness: Readiness) -> Option<(Scope, SourceEvent)> {
        let number = number_of(readiness.token)?;
        let &(token, scope) = self.registered.get(&number)?;
        Some((scope, SourceEvent { id: SourceId(number), token, readiness }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::slab::{PeerId, Slab};

    #[test]
    fn tokens_of_sources_are_those_of_nobody_else() {
        for number in [0, 1, (1 << PLACE_BITS) - (1 << 16) - 1, NUMBERS - 1] {
            assert_eq!(number_of(token_of(number)), Some(number));
            // The highest tokens are the loop's own.
            assert!(token_of(number).0 < usize::MAX - 65_535);
            let as_peer = PeerId::from_u64(token_of(number).0 as u64);
            assert_eq!(as_peer.loop_number(), MAX_LOOPS);
        }
        for loop_number in [0, MAX_LOOPS - 1] {
            let id = Slab::new(loop_number).insert(()).unwrap();
            assert_eq!(number_of(Token(id.as_u64() as usize)), None);
        }
    }
}
