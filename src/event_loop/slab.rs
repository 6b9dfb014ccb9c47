use std::fmt;

/// The id of a connection of one event loop, or of several that [work together](crate::EventLoops); ids are never
/// reused for as long as the loops live.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    generation: u32,
    /// The number of the loop in the upper 8 bits, the place in its slab in the others.
    index: u32,
}

/// How many bits of an index are the place.
const PLACE_BITS: u32 = 24;

/// How many loops can work together. One number is never given, so that no token of a connection is one
/// of those that the loop keeps for itself.
pub(super) const MAX_LOOPS: usize = 255;

impl PeerId {
    /// The id as one number, for a log or a key. Ids of one loop differ, and so do those of loops that work
    /// together.
    pub fn as_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_u64(number: u64) -> Self {
        Self { generation: (number >> 32) as u32, index: number as u32 }
    }

    /// The number of the loop that has the connection.
    pub(super) fn loop_number(self) -> usize {
        (self.index >> PLACE_BITS) as usize
    }

    /// The place among the connections of the loop.
    pub(super) fn index(self) -> usize {
        (self.index & ((1 << PLACE_BITS) - 1)) as usize
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.loop_number() > 0 {
            write!(f, "{}/", self.loop_number())?;
        }
        write!(f, "{}.{}", self.index(), self.generation)
    }
}

/// Values under ids: a freed place is used again, under another id.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// The number of the loop, where an index has it: an id of another loop, less this, is a place beyond
    /// all that there are.
    base: u32,
    places: Vec<Place<T>>,
    /// The places that are free and whose generation is not used up.
    free: Vec<u32>,
    count: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// The connections of the loop with this number, below [`MAX_LOOPS`].
    pub(super) fn new(loop_number: usize) -> Self {
        debug_assert!(loop_number < MAX_LOOPS);
        Self {
            base: (loop_number as u32) << PLACE_BITS,
            places: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Puts a value in; `None` if there is no id left to give.
    pub(super) fn insert(&mut self, value: T) -> Option<PeerId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index =
                    u32::try_from(self.places.len()).ok().filter(|&i| i < 1 << PLACE_BITS)?;
                self.places.push(Place { generation: 0, value: None });
                index
            }
        };
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        self.count += 1;
        Some(PeerId { generation: place.generation, index: self.base | index })
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<T> {
        let place = self
            .places
            .get_mut((id.index ^ self.base) as usize)
            .filter(|p| p.generation == id.generation)?;
        let value = place.value.take()?;
        self.count -= 1;
        // A place whose generations are used up is left empty, so that no id comes back.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(id.index ^ self.base);
        }
        Some(value)
    }

    #[inline]
    pub(super) fn get(&self, id: PeerId) -> Option<&T> {
        let place = self.places.get((id.index ^ self.base) as usize)?;
        place.value.as_ref().filter(|_| place.generation == id.generation)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut T> {
        let place = self.places.get_mut((id.index ^ self.base) as usize)?;
        if place.generation == id.generation { place.value.as_mut() } else { None }
    }

    /// How many places there are, empty ones included.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// The id at a place, if it is in use: a way through all of them that may change them meanwhile.
    pub(super) fn id_at(&self, index: usize) -> Option<PeerId> {
        let place = self.places.get(index).filter(|place| place.value.is_some())?;
        Some(PeerId { generation: place.generation, index: self.base | index as u32 })
    }

    /// What is at a place, with its id.
    #[inline]
    pub(super) fn at(&self, index: usize) -> Option<(PeerId, &T)> {
        let place = self.places.get(index)?;
        let id = PeerId { generation: place.generation, index: self.base | index as u32 };
        Some((id, place.value.as_ref()?))
    }

    /// All ids in use, in no particular order that is promised.
    pub(super) fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.iter().map(|(id, _)| id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &T)> {
        let base = self.base;
        self.places.iter().enumerate().filter_map(move |(index, place)| {
            let id = PeerId { generation: place.generation, index: base | index as u32 };
            place.value.as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_never_given_again() {
        let mut slab = Slab::new(0);
        let mut seen = HashSet::new();
        let first = slab.insert(0).unwrap();
        for value in 1..1000 {
            let id = slab.insert(value).unwrap();
            assert!(seen.insert(id) && seen.insert(PeerId::from_u64(id.as_u64() ^ 1 << 63)));
            assert_eq!(slab.get(id), Some(&value));
            assert_eq!(slab.remove(id), Some(value));
            assert_eq!(slab.get(id), None);
            assert_eq!(slab.remove(id), None);
            assert_eq!(slab.get_mut(id), None);
        }
        assert_eq!((slab.len(), slab.places.len()), (1, 2));
        assert_eq!(slab.ids().collect::<Vec<_>>(), [first]);
    }

    #[test]
    fn an_id_of_another_loop_names_nothing_here() {
        let mut all: Vec<_> = [0, 1, 2, MAX_LOOPS - 1].map(Slab::new).into();
        let ids: Vec<_> = all.iter_mut().map(|slab| slab.insert(()).unwrap()).collect();
        for (slab, own) in all.iter_mut().zip(&ids) {
            for id in &ids {
                let here = (id == own).then_some(());
                assert_eq!(slab.get(*id).copied(), here);
                assert_eq!(slab.get_mut(*id).copied(), here);
            }
            assert_eq!(slab.ids().collect::<Vec<_>>(), [*own]);
            assert_eq!(slab.at(0), Some((*own, &())));
            assert_eq!(slab.at(1), None);
            assert_eq!((own.index(), PeerId::from_u64(own.as_u64())), (0, *own));
            assert_eq!(slab.remove(*own), Some(()));
            assert_eq!(slab.insert(()).unwrap().loop_number(), own.loop_number());
        }
        assert_eq!(
            ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["0.0", "1/0.0", "2/0.0", "254/0.0"]
        );
        assert_eq!(ids[3].loop_number(), 254);
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_left_empty() {
        let mut slab = Slab::new(0);
        let id = slab.insert(1).unwrap();
        slab.places[0].generation = u32::MAX;
        let last = PeerId { generation: u32::MAX, ..id };
        assert_eq!(slab.remove(last), Some(1));
        let next = slab.insert(2).unwrap();
        assert_eq!(next.index(), 1);
        assert_eq!(slab.get(last), None);
    }
}
