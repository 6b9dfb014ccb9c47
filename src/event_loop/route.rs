use std::num::NonZeroU16;
use std::sync::Arc;

use crate::protocol::Config;

use super::path_pattern::PathPattern;

/// The id of a route of [`Routes`](crate::Routes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(NonZeroU16);

impl RouteId {
    pub(super) fn of(index: usize) -> Option<Self> {
        NonZeroU16::new(u16::try_from(index).ok()?.checked_add(1)?).map(Self)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// Which connections something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    All,
    /// Those of one route, or those of none.
    Route(Option<RouteId>),
}

impl Scope {
    #[inline]
    pub(super) fn holds(self, route: Option<RouteId>) -> bool {
        match self {
            Self::All => true,
            Self::Route(own) => own == route,
        }
    }

    /// The route, if it is one.
    pub(super) fn route(self) -> Option<RouteId> {
        match self {
            Self::All => None,
            Self::Route(own) => own,
        }
    }
}

/// The route of a request.
pub(super) struct Route {
    pub(super) id: RouteId,
    pub(super) pattern: Arc<PathPattern>,
    /// The settings of its connections.
    pub(super) config: Config,
}
