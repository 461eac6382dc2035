//! How far the partner has come with this region's changes.

use super::site::{Region, RegionHandle};
use keystore::{Keystore as _, Revision};
use kms::replica::{ReplicaError, ReplicaState, SourcePosition};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// For one call of the store.
const CALL: Duration = Duration::from_secs(10);

/// A partner that follows is heard each second; one that is silent for longer than this is not connected, whatever becomes
/// of its connection.
const SILENCE: Duration = Duration::from_secs(5);

/// What the partner says about its copy of this region's store.
#[derive(Debug, Default)]
pub(super) struct Partner(watch::Sender<Progress>);

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// It has every change up to here durably.
    at: Option<SourcePosition>,
    /// Connections over which it follows; more than one while it connects again.
    connections: usize,
    /// When it was heard last.
    heard: Option<Instant>,
}

impl Partner {
    /// The partner follows from a position, or begins to copy everything.
    pub(super) fn follows(&self, from: Option<SourcePosition>) {
        self.0.send_modify(|progress| {
            progress.at = from;
            progress.connections += 1;
            progress.heard = Some(Instant::now());
        });
    }

    pub(super) fn has(&self, at: Option<SourcePosition>) {
        self.0.send_modify(|progress| {
            progress.at = at;
            progress.heard = Some(Instant::now());
        });
    }

    pub(super) fn has_left(&self) {
        self.0.send_modify(|progress| progress.connections = progress.connections.saturating_sub(1));
    }

    /// Whether the partner has a complete copy and gets every change now.
    pub(super) fn is_connected(&self) -> bool {
        let Progress { at, connections, heard } = *self.0.borrow();
        at.is_some() && connections > 0 && heard.is_some_and(|heard| heard.elapsed() < SILENCE)
    }

    /// The position that the partner has come to.
    fn at(&self) -> Option<SourcePosition> {
        self.0.borrow().at
    }

    /// Waits until the partner has a change; false if it has not got it `within` that time.
    pub(super) async fn gets(&self, change: SourcePosition, within: Duration) -> bool {
        let mut progress = self.0.subscribe();
        let has = |progress: &Progress| {
            progress.at.is_some_and(|at| at.source == change.source && at.revision >= change.revision)
        };
        timeout(within, progress.wait_for(has)).await.is_ok_and(|found| found.is_ok())
    }
}

/// Why a change is not known to be in both regions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReplicated {
    /// The other region has not got it in time.
    #[error("the other region does not have it yet: {}", where_it_is(.partner_at.as_ref()))]
    NotYet {
        /// How far the other region has come in this region's store.
        partner_at: Option<SourcePosition>,
    },
    /// It is not a change of this region's store, nor of the one that this region had followed until it took over.
    #[error(
        "it is a change of store {}, and this region has store {own}: it was lost, or is not a revision of this pair",
        .asked.source
    )]
    OtherStore {
        /// The change that was asked for.
        asked: SourcePosition,
        /// The store of this region.
        own: keystore::StoreIdentity,
    },
    /// The revision is higher than the store's newest.
    #[error("this region's store has no such revision yet; its newest is {}", .newest.0)]
    Future {
        /// The newest revision.
        newest: Revision,
    },
    /// The store cannot be read.
    #[error("this region's store cannot be read")]
    Store(#[from] ReplicaError),
}

fn where_it_is(partner_at: Option<&SourcePosition>) -> String {
    partner_at.map_or_else(|| "it has no complete copy".to_owned(), |at| format!("it is at {at}"))
}

impl Region {
    /// Waits until the partner has a change of this region.
    pub(super) async fn partner_gets(&self, change: SourcePosition, within: Duration) -> bool {
        self.partner.gets(change, within).await
    }
}

impl RegionHandle {
    /// Waits until a change is in both regions, at most as long as `within`.
    ///
    /// # Errors
    /// [`NotReplicated`].
    pub async fn wait_replicated(
        &self,
        change: SourcePosition,
        within: Duration,
    ) -> Result<(), NotReplicated> {
        let region = &self.region;
        let own = region.store().identity();
        if change.source == own {
            let newest = region.newest().await?;
            if change.revision > newest {
                return Err(NotReplicated::Future { newest });
            }
            if region.partner_gets(change, within).await {
                return Ok(());
            }
            return Err(NotReplicated::NotYet { partner_at: region.partner.at() });
        }
        // A change of the partner, from the time when it wrote.
        match ReplicaState::read(&region.store(), CALL).await? {
            ReplicaState::Following(at) | ReplicaState::Own(Some(at))
                if at.source == change.source && at.revision >= change.revision =>
            {
                Ok(())
            }
            ReplicaState::Empty
            | ReplicaState::Copying
            | ReplicaState::Following(_)
            | ReplicaState::Own(_) => Err(NotReplicated::OtherStore { asked: change, own }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Partner;
    use keystore::{Revision, StoreIdentity};
    use kms::replica::SourcePosition;
    use std::sync::Arc;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    const fn at(store: u8, revision: u64) -> SourcePosition {
        SourcePosition { source: StoreIdentity([store; 16]), revision: Revision(revision) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_waited_for_until_the_partner_has_it() {
        let partner = Arc::new(Partner::default());
        assert!(!partner.gets(at(1, 5), LONG).await);
        partner.follows(Some(at(1, 4)));
        assert!(!partner.gets(at(1, 5), LONG).await);
        assert!(partner.gets(at(1, 4), Duration::ZERO).await);
        let waits = tokio::spawn({
            let partner = Arc::clone(&partner);
            async move { partner.gets(at(1, 5), LONG).await }
        });
        tokio::task::yield_now().await;
        // The same number in another store is another change.
        partner.has(Some(at(2, 5)));
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        partner.has(Some(at(1, 7)));
        assert!(waits.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_partner_that_copies_everything_has_nothing_yet() {
        let partner = Partner::default();
        partner.follows(Some(at(1, 4)));
        assert!(partner.is_connected());
        tokio::time::advance(super::SILENCE).await;
        assert!(!partner.is_connected(), "it is silent");
        partner.has(Some(at(1, 4)));
        assert!(partner.is_connected());
        partner.has_left();
        assert!(!partner.is_connected());
        assert!(partner.gets(at(1, 4), Duration::ZERO).await, "what it has is durable");
        partner.follows(None);
        assert!(!partner.gets(at(1, 4), LONG).await);
    }
}
