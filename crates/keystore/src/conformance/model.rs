//! Random steps, each compared with the reference model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{D, Fixture, Freshness, Keystore, NOW, OpId, Revision, WatchEvent, WatchStream, all, key};
use crate::{Cond, Key, LeaseId, MemoryStore, StoreError, Txn, WallClock, Write};

const STEPS: u64 = 10_000;
const RUNS: u64 = 8;

/// SplitMix64, seeded.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// One of 24 keys that share prefixes, so that the bounds of ranges are tested.
    fn key(&mut self) -> Key {
        let name = ["a", "a/b", "a/b/c", "b", "b\u{0}", "c"].into_iter().nth(self.below(6) as usize);
        key(&format!("{}{}", name.unwrap_or_default(), "\u{0}x".repeat(self.below(4) as usize)))
    }

    fn distinct_keys(&mut self, most: u64) -> Vec<Key> {
        let keys: std::collections::BTreeSet<_> = (0..self.below(most + 1)).map(|_| self.key()).collect();
        keys.into_iter().collect()
    }

    fn txn(&mut self, revision: Revision, leases: &[LeaseId]) -> Txn {
        // From a small set of operations, so that some are repeated.
        let op = OpId(u128::from(self.below(revision.0 + 20)).to_be_bytes());
        let conds = self.distinct_keys(2).into_iter().map(|key| match self.below(3) {
            0 => Cond::Absent(key),
            1 => Cond::Present(key),
            _ => Cond::Unchanged(key, Revision(revision.0.saturating_sub(self.below(30)))),
        });
        let conds = conds.collect();
        let writes = self.distinct_keys(4).into_iter().map(|key| {
            if self.below(3) == 0 {
                return Write::Delete(key);
            }
            let value = vec![self.below(256) as u8; self.below(300) as usize].into();
            let lease = if self.below(6) == 0 { self.pick(leases) } else { None };
            Write::Put { key, value, lease }
        });
        Txn { op, conds, writes: writes.collect() }
    }

    fn pick(&mut self, leases: &[LeaseId]) -> Option<LeaseId> {
        let n = leases.len().max(1) as u64;
        leases.get(self.below(n) as usize).copied()
    }
}

/// Ten thousand steps in eight runs, with the store closed and opened again at random.
pub async fn random_steps_agree_with_the_model(f: &impl Fixture) {
    for seed in 0..RUNS {
        run(f, seed).await;
    }
}

async fn run(f: &impl Fixture, seed: u64) {
    let random = &mut Random(seed);
    let offset = Arc::new(AtomicU64::new(0));
    let wall = WallClock::new({
        let offset = Arc::clone(&offset);
        move || Duration::from_secs(offset.load(Ordering::Relaxed))
    });
    let mut store = f.open().await;
    let model = MemoryStore::new(store.identity(), wall);
    // Lease identifiers of the store and of the model. Revisions have to be equal.
    let mut leases: Vec<(LeaseId, LeaseId)> = Vec::new();
    let mut watched = (Revision(0), Revision(0));
    for step in 0..STEPS / RUNS {
        let what = format!("seed {seed}, step {step}");
        let now = model.get(&[], NOW, D).await.map(|s| s.at).unwrap_or_default();
        match random.below(100) {
            0..60 => {
                let ours: Vec<_> = leases.iter().map(|(ours, _)| *ours).collect();
                let txn = random.txn(now, &ours);
                let mut modelled = txn.clone();
                for write in &mut modelled.writes {
                    if let Write::Put { lease: Some(lease), .. } = write {
                        *lease =
                            leases.iter().find(|(ours, _)| ours == lease).map_or(*lease, |(_, model)| *model);
                    }
                }
                assert_eq!(store.commit(txn, D).await, model.commit(modelled, D).await, "{what}: commit");
            }
            60..70 => {
                let keys = random.distinct_keys(6);
                let f = if random.below(2) == 0 {
                    NOW
                } else {
                    Freshness::AtLeast(Revision(random.below(now.0 + 2)))
                };
                assert_eq!(store.get(&keys, f, D).await, model.get(&keys, f, D).await, "{what}: get");
            }
            70..84 => {
                let range = random.key()..if random.below(3) == 0 { all().end } else { random.key() };
                let limit = 1 + random.below(10) as usize;
                let at = (random.below(3) > 0).then(|| Revision(random.below(now.0 + 2)));
                let ours = store.scan(range.clone(), limit, at, NOW, D).await;
                assert_eq!(ours, model.scan(range, limit, at, NOW, D).await, "{what}: scan at {at:?}");
            }
            84..88 => {
                let ttl = Duration::from_secs(100_000);
                let ours = store.grant(ttl, D).await.unwrap_or_else(|e| panic!("{what}: {e}"));
                let modelled = model.grant(ttl, D).await.unwrap_or_else(|e| panic!("{what}: {e}"));
                leases.push((ours.id, modelled.id));
            }
            88..91 => {
                // Half of them stay in the list, so that ended leases are used too.
                if !leases.is_empty() {
                    let i = random.below(leases.len() as u64) as usize;
                    let (ours, modelled) = leases.swap_remove(i);
                    if random.below(2) == 0 {
                        leases.push((ours, modelled));
                    }
                    assert_eq!(
                        store.revoke(ours, D).await,
                        model.revoke(modelled, D).await,
                        "{what}: revoke"
                    );
                }
            }
            91..96 => watched = compare_watches(&store, &model, watched, &what).await,
            96..98 => {
                let time = Duration::from_secs(600 + random.below(3000));
                offset.fetch_add(time.as_secs(), Ordering::Relaxed);
                f.advance(time);
            }
            _ => {
                store = match f.reopen(store).await {
                    Some(store) => store,
                    None => return,
                };
            }
        }
    }
}

/// Watches both stores from the last watched revision up to now, and compares the transactions.
async fn compare_watches<S: Keystore>(
    store: &S,
    model: &MemoryStore,
    from: (Revision, Revision),
    what: &str,
) -> (Revision, Revision) {
    let ours = collect(store, from.0).await;
    let modelled = collect(model, from.1).await;
    assert_eq!(ours, modelled, "{what}: watch after {from:?}");
    let now = model.get(&[], NOW, D).await.map(|s| s.at).unwrap_or_default();
    (now, now)
}

async fn collect<S: Keystore>(store: &S, after: Revision) -> Result<Vec<crate::Batch>, StoreError> {
    let to = store.get(&[], NOW, D).await?.at;
    let mut watch = store.watch(all(), after).await?;
    let (mut batches, mut reached) = (Vec::new(), after);
    while reached < to {
        reached = match watch.next().await? {
            WatchEvent::Batch(batch) => {
                let at = batch.at;
                batches.push(batch);
                at
            }
            WatchEvent::Progress(at) => at,
        };
    }
    Ok(batches)
}

/// A wall clock for fixtures that is advanced explicitly.
#[derive(Debug, Default)]
pub struct MovableClock(Arc<std::sync::Mutex<Duration>>);

impl MovableClock {
    /// The clock for the store under test.
    #[must_use]
    pub fn wall(&self) -> WallClock {
        let now = Arc::clone(&self.0);
        WallClock::new(move || *now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Advances the clock.
    pub fn advance(&self, time: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }
}
