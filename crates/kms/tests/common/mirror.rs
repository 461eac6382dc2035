//! A mirror on simulated disks, whose power can be cut, and the stream to it.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use keystore::{Deadline, Freshness, Key, Keystore, RedbOptions, RedbStore, Revision};
use kms::replica::{
    Applied, Event, Replica, ReplicaError, ReplicaOptions, ReplicaState, Source, SourceOptions,
};

use super::PATIENCE;
use super::disk::{Disk, Fault, Random};

pub(crate) const D: Deadline = Deadline(PATIENCE);

/// A mirror of a store, with what was sent to it.
pub(crate) struct Mirror<S: Keystore> {
    pub(crate) data: Disk,
    pub(crate) secrets: Disk,
    pub(crate) store: Arc<RedbStore>,
    pub(crate) replica: Replica<Arc<RedbStore>>,
    pub(crate) source: Source<Arc<S>>,
    home: Arc<S>,
    /// Everything that was sent, encoded.
    pub(crate) sent: Vec<Vec<u8>>,
}

async fn open(data: &Disk, secrets: &Disk) -> Arc<RedbStore> {
    let options = RedbOptions::default().without_threads().cache_bytes(1024 * 1024);
    Arc::new(RedbStore::open_with_backends(data.clone(), secrets.clone(), options).await.unwrap())
}

fn options() -> SourceOptions {
    SourceOptions::default().with_digest_every(Duration::from_secs(1 << 30))
}

impl<S: Keystore> Mirror<S> {
    pub(crate) async fn of(home: &Arc<S>) -> Self {
        let (data, secrets) = (Disk::default(), Disk::default());
        let store = open(&data, &secrets).await;
        let replica = Replica::open(Arc::clone(&store), ReplicaOptions::default()).await.unwrap();
        assert_eq!(replica.state(), ReplicaState::Empty);
        let source = Source::new(Arc::clone(home), replica.position(), options());
        Self { data, secrets, store, replica, source, home: Arc::clone(home), sent: Vec::new() }
    }

    /// The next event, as it is after its way over a wire.
    pub(crate) async fn next(&mut self) -> Event {
        let event = self.source.next().await.unwrap();
        let bytes = event.encode();
        self.sent.push(bytes.to_vec());
        Event::decode(&bytes).unwrap()
    }

    /// Passes one event on.
    pub(crate) async fn step(&mut self) -> Result<Applied, ReplicaError> {
        let event = self.next().await;
        self.replica.apply(&event).await
    }

    /// Starts the stream again.
    pub(crate) fn reconnect(&mut self) {
        self.source = Source::new(Arc::clone(&self.home), self.replica.position(), options());
    }

    /// From here on, the nth operation of one of the disks, and all later ones, fail.
    pub(crate) fn cut_power_at(&self, n: u64, of_secrets: bool) {
        let disk = if of_secrets { &self.secrets } else { &self.data };
        disk.fail_at(n, Fault::PowerCut);
    }

    /// Starts the machine again after a loss of power.
    pub(crate) async fn restart(&mut self, random: &mut Random) {
        self.data = Disk::with(self.data.after_power_loss(random));
        self.secrets = Disk::with(self.secrets.after_power_loss(random));
        self.store = open(&self.data, &self.secrets).await;
        self.replica = Replica::open(Arc::clone(&self.store), ReplicaOptions::default()).await.unwrap();
        self.reconnect();
    }

    /// Passes everything on until both sides are equal. Returns the number of entries.
    pub(crate) async fn catch_up(&mut self) -> u64 {
        loop {
            let event = self.next().await;
            let is_at_end = match &event {
                Event::Progress { at, newest, .. } => at.revision == *newest,
                _ => false,
            };
            self.replica.apply(&event).await.unwrap();
            if is_at_end {
                break;
            }
        }
        self.source.request_digest();
        match self.step().await.unwrap() {
            Applied::Equal { entries, without_secret: 0 } => entries,
            other => panic!("{other:?}"),
        }
    }

    /// The revisions of the source that were applied since the last copy, in the order in which the mirror has them.
    pub(crate) async fn applied(&self) -> Vec<u64> {
        use keystore::{WatchEvent, WatchStream};
        let place = Key::from(*b"v1/repl/pos");
        let newest = self.store.get(&[], Freshness::Linearizable, D).await.unwrap().at;
        let mut watch = self.store.watch(Key::with_prefix(&place.0), Revision(0)).await.unwrap();
        let mut applied = Vec::new();
        loop {
            match watch.next().await.unwrap() {
                WatchEvent::Batch(batch) => {
                    let value = &batch.changes[0].now.as_ref().unwrap().value;
                    match value[1] {
                        0 => applied.clear(),
                        _ => applied.push(revision_of(value)),
                    }
                }
                WatchEvent::Progress(_) => {}
            }
            let position =
                self.store.get(std::slice::from_ref(&place), Freshness::Linearizable, D).await.unwrap();
            let last = position.entries[0].as_ref().unwrap();
            if applied.last() == Some(&revision_of(&last.value)) {
                return applied;
            }
            assert!(last.modified <= newest);
        }
    }
}

/// The revision in a position's record, as `docs/formats/keystore.md` has it.
fn revision_of(value: &[u8]) -> u64 {
    let digits = value.iter().skip(18);
    let mut revision = 0;
    for (n, byte) in digits.enumerate() {
        revision |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            break;
        }
    }
    revision
}
