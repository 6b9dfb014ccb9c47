use std::cmp::Ordering;

/// The subprotocols that a server speaks, the most wanted first.
#[derive(Clone, Debug, Default)]
pub(super) struct Subprotocols {
    names: Vec<Box<str>>,
    /// Places in `names`, in the order of the names: a head has room for thousands of offers, which
    /// would otherwise be compared with each name.
    by_name: Vec<usize>,
}

impl Subprotocols {
    pub(super) fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<Box<str>> =
            names.into_iter().map(|name| name.into().into_boxed_str()).collect();
        let mut by_name: Vec<usize> = (0..names.len()).collect();
        by_name.sort_by(|&one, &other| names[one].cmp(&names[other]));
        Self { names, by_name }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// A name that stands twice.
    pub(super) fn duplicate(&self) -> Option<&str> {
        let mut pairs = self.by_name.windows(2);
        let pair = pairs.find(|pair| self.names[pair[0]] == self.names[pair[1]])?;
        Some(&self.names[pair[0]])
    }

    /// The most wanted one of those that are offered.
    pub(super) fn choose<'o>(&self, offered: impl Iterator<Item = &'o str>) -> Option<&str> {
        self.choose_by(offered, str::cmp)
    }

    fn choose_by<'o>(
        &self,
        offered: impl Iterator<Item = &'o str>,
        mut compare: impl FnMut(&str, &str) -> Ordering,
    ) -> Option<&str> {
        if self.names.is_empty() {
            return None;
        }
        let mut best = None;
        for offer in offered {
            let found = self.by_name.binary_search_by(|&at| compare(&self.names[at], offer));
            let rank = found.ok().map(|found| self.by_name[found]);
            best = match (best, rank) {
                (Some(best), Some(rank)) => Some(rank.min(best)),
                (best, rank) => best.or(rank),
            };
            if best == Some(0) {
                break;
            }
        }
        best.map(|best| &*self.names[best])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_of_the_offered_is_chosen() {
        let spoken = Subprotocols::new(["c", "a", "b"]);
        for (offered, chosen) in [
            (&["a", "b", "c"][..], Some("c")),
            (&["b", "a"], Some("a")),
            (&["x", "b", "y"], Some("b")),
            (&["x", "A", ""], None),
            (&[], None),
        ] {
            assert_eq!(spoken.choose(offered.iter().copied()), chosen, "{offered:?}");
        }
        assert_eq!(Subprotocols::default().choose(["a"].into_iter()), None);
        assert_eq!(spoken.iter().collect::<Vec<_>>(), ["c", "a", "b"]);
    }

    #[test]
    fn duplicates_are_found() {
        assert_eq!(Subprotocols::new(["b", "a", "c"]).duplicate(), None);
        assert_eq!(Subprotocols::new(["b", "a", "c", "a"]).duplicate(), Some("a"));
    }

    /// Each offer is read once, and compared with a handful of the names.
    #[test]
    fn work_does_not_grow_with_the_product() {
        let spoken = Subprotocols::new((0..100).map(|number| format!("spoken-{number}")));
        let offers: Vec<String> = (0..8000).map(|number| format!("offer-{number}")).collect();
        let (mut read, mut compared) = (0, 0);
        let offered = offers.iter().map(|offer| offer.as_str()).inspect(|_| read += 1);
        let chosen = spoken.choose_by(offered, |one, other| {
            compared += 1;
            one.cmp(other)
        });
        assert_eq!((chosen, read), (None, 8000));
        assert!(compared <= 8 * 8000, "{compared} comparisons");
    }
}
