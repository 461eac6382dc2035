//! Claims: while a node holds the claim on a job, no other node over the same store does its work.
//!
//! A claim is a key of the store that hangs on a lease: `v1/jobs/<job>`, with the name of the node as its value. The node
//! renews the lease while it lives. When it dies, the key vanishes within the lease's time and another node takes over.
//!
//! A claim avoids double work; it is not what keeps data right. A node that has lost its claim without knowing it can
//! still have a transaction under way, so every transaction of a job has its own conditions on what it has read.

use super::JobTiming;
use crate::node::WritableStore;
use keystore::{Commit, Cond, Deadline, Freshness, Key, Keystore, LeaseId, OpId, StoreError, Txn, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// A job whose work is done by one node at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Removal of keys whose time to be restored is over.
    Sweeper,
    /// Batches of a rotation of the master key.
    Rotation,
    /// Daily backups.
    Backup,
}

impl Job {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sweeper => "sweeper",
            Self::Rotation => "rotation",
            Self::Backup => "backup",
        }
    }

    fn key(self) -> Key {
        Key::from(format!("v1/jobs/{}", self.name()).into_bytes())
    }
}

/// Why it is not known whether a job is claimed. A claim that was made all the same ends with its lease.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// The store did not serve.
    #[error("the keystore did not serve")]
    Store(#[from] StoreError),
    /// The operating system returned no random bytes.
    #[error("the system's source of random bytes failed")]
    Random(#[from] getrandom::Error),
}

/// The right to do a job. Dropped without [`Claim::release`], it ends with its lease.
pub(crate) struct Claim {
    store: WritableStore,
    lease: LeaseId,
    /// When the claim ends unless it is renewed. Closed once it can no longer be renewed.
    valid_until: watch::Receiver<Instant>,
    renewer: AbortHandle,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewer.abort();
    }
}

impl Claim {
    /// Claims a job for the node `holder`; `None` while another node holds it.
    ///
    /// A claim that bears the same holder's name was left by an earlier process of this node, and is taken over at once.
    pub(crate) async fn acquire(
        store: &WritableStore,
        job: Job,
        holder: &str,
        timing: &JobTiming,
    ) -> Result<Option<Self>, ClaimError> {
        let (key, deadline) = (job.key(), Deadline(timing.lease));
        let found = store.get(std::slice::from_ref(&key), Freshness::Linearizable, deadline).await?;
        let cond = match found.entries.into_iter().flatten().next() {
            None => Cond::Absent(key.clone()),
            Some(entry) if *entry.value == *holder.as_bytes() => Cond::Unchanged(key.clone(), entry.modified),
            Some(_) => return Ok(None),
        };
        let mut op = [0; 16];
        getrandom::fill(&mut op)?;
        // The lease lasts at least its time from here.
        let sent = Instant::now();
        let lease = store.grant(timing.lease, deadline).await?;
        let value = Arc::from(holder.as_bytes());
        let writes = vec![Write::Put { key, value, lease: Some(lease.id) }];
        match store.commit(Txn { op: OpId(op), conds: vec![cond], writes }, deadline).await {
            Ok(Commit::Applied { .. }) => Ok(Some(Self::hold(store, lease.id, sent, timing))),
            Ok(Commit::Refused { .. }) | Err(StoreError::LeaseGone) => {
                // Nothing hangs on the lease. If it cannot be revoked now, it ends by itself.
                let _ = store.revoke(lease.id, deadline).await;
                Ok(None)
            }
            Err(error) => {
                let _ = store.revoke(lease.id, deadline).await;
                Err(error.into())
            }
        }
    }

    fn hold(store: &WritableStore, lease: LeaseId, sent: Instant, timing: &JobTiming) -> Self {
        let (sender, valid_until) = watch::channel(sent + timing.lease);
        let renewer = tokio::spawn(renew(store.clone(), lease, timing.lease, sender)).abort_handle();
        Self { store: store.clone(), lease, valid_until, renewer }
    }

    /// Does work while the claim is held; `None` if the claim is lost first, and the work is dropped then.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.lost() => None,
            done = work => Some(done),
        }
    }

    /// Waits until the claim has ended without being renewed.
    async fn lost(&self) {
        let mut valid_until = self.valid_until.clone();
        loop {
            let until = *valid_until.borrow_and_update();
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                changed = valid_until.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Gives the claim up, so that another node need not wait for the end of the lease.
    pub(crate) async fn release(self, patience: Duration) {
        self.renewer.abort();
        // If this fails, the lease ends by itself.
        let _ = self.store.revoke(self.lease, Deadline(patience)).await;
    }
}

/// Renews a lease, three times in its time, until it is gone.
async fn renew(store: WritableStore, lease: LeaseId, ttl: Duration, valid_until: watch::Sender<Instant>) {
    let pause = ttl / 3;
    loop {
        tokio::time::sleep(pause).await;
        let (sent, until) = (Instant::now(), *valid_until.borrow());
        match timeout_at(until, store.renew(lease, Deadline(ttl))).await {
            Ok(Ok(_)) => {
                valid_until.send_replace(sent + ttl);
            }
            // There is time for another attempt as long as the lease lasts.
            Ok(Err(error)) if error != StoreError::LeaseGone && Instant::now() < until => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claim, Job, JobTiming};
    use crate::StoreConfig;
    use crate::node::WritableStore;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::{Instant, advance};

    const LEASE: Duration = Duration::from_secs(6);

    fn timing() -> JobTiming {
        JobTiming { lease: LEASE, ..JobTiming::default() }
    }

    async fn store() -> WritableStore {
        let store = Arc::new(StoreConfig::Memory.open().await.unwrap());
        store.into()
    }

    async fn claim(store: &WritableStore, holder: &str) -> Option<Claim> {
        Claim::acquire(store, Job::Sweeper, holder, &timing()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_node_holds_a_job_and_another_gets_it_when_it_is_released() {
        let store = store().await;
        let first = claim(&store, "a").await.unwrap();
        assert!(claim(&store, "b").await.is_none());
        assert!(Claim::acquire(&store, Job::Rotation, "b", &timing()).await.unwrap().is_some());
        // It is renewed as long as it is held.
        tokio::time::sleep(LEASE * 5).await;
        assert!(claim(&store, "b").await.is_none());
        assert_eq!(first.run(async { 7 }).await, Some(7));
        first.release(LEASE).await;
        assert!(claim(&store, "b").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_node_s_job_is_free_within_its_lease() {
        let store = store().await;
        let began = Instant::now();
        drop(claim(&store, "a").await.unwrap());
        while claim(&store, "b").await.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = began.elapsed();
        assert!(took >= LEASE && took <= LEASE + Duration::from_millis(200), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_comes_back_takes_its_own_job_over_at_once() {
        let store = store().await;
        drop(claim(&store, "a").await.unwrap());
        let again = claim(&store, "a").await.unwrap();
        // The end of the lease of before changes nothing.
        tokio::time::sleep(LEASE * 2).await;
        assert!(claim(&store, "b").await.is_none());
        again.release(LEASE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_dropped_when_the_claim_is_lost() {
        let store = store().await;
        let held = claim(&store, "a").await.unwrap();
        // A renewer that has died stands for one that does not get through to the store.
        held.renewer.abort();
        let began = Instant::now();
        assert_eq!(held.run(std::future::pending::<()>()).await, None);
        assert!(began.elapsed() <= LEASE);
        advance(LEASE).await;
    }
}
