//! What a site keeps durably.

use crate::{Epoch, WallTime};

/// The durable state of a [`Site`](crate::Site). A change takes effect for others after it was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteRecord {
    /// The right to write that this site acts by: its own, or the partner's that it follows.
    pub epoch: Epoch,
    /// The highest epoch that this site has heard of. It differs from `epoch` only if it is this site's own and was never
    /// taken by what this record knows. If `epoch` is the partner's, this site was given the right, or got the lease, and
    /// ended before it saved that. If `epoch` is its own, a later record was lost, and the data may be as old as this one.
    pub highest: Epoch,
    /// Since when the partner, which has the right to write, has been lost.
    pub lost_since: Option<WallTime>,
}

impl SiteRecord {
    /// Of a new pair.
    pub const NEW: Self = Self { epoch: Epoch::FIRST, highest: Epoch::FIRST, lost_since: None };
}
