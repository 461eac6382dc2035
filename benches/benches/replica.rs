//! Measures a transaction that is passed on to a mirror, next to one that is committed locally; and a copy of 70,000 keys.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use keystore::{
    Commit, Deadline, Key, Keystore, OpId, RedbOptions, RedbStore, SecretId, SecretOwner, Txn, Write,
};
use kms::replica::{Applied, Event, Replica, ReplicaOptions, Source, SourceOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const D: Deadline = Deadline(Duration::from_secs(60));
const OWNER: SecretOwner = SecretOwner([0; 16]);
/// Keys of the copy.
const KEYS: u128 = 70_000;
/// Values of records and blob records, in bytes.
const VALUE_LEN: usize = 400;

fn place(kind: char, n: u128) -> Key {
    let hex = format!("{n:032x}");
    let id: Vec<String> = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .iter()
        .filter_map(|(from, to)| hex.get(*from..*to).map(str::to_owned))
        .collect();
    let id = id.join("-");
    let text = match kind {
        'b' => format!("v1/i/00000000-0000-0000-0000-000000000000/b/{id}/{id}"),
        _ => format!("v1/i/00000000-0000-0000-0000-000000000000/{kind}/{id}"),
    };
    Key::from(text.into_bytes())
}

/// A sealed value that names a secret, as far as the store sees.
fn value(id: SecretId) -> Vec<u8> {
    let mut value = vec![0x5a; VALUE_LEN];
    value.splice(..9, [3].into_iter().chain(id.0.to_be_bytes()));
    value
}

/// A creation: a record, its blob record, and its part of the index.
fn creation(n: u128, id: SecretId) -> Vec<Write> {
    let put = |key: Key, value: Vec<u8>| Write::Put { key, value: value.into(), lease: None };
    let bucket =
        Key::from(format!("v1/i/00000000-0000-0000-0000-000000000000/x/{:03x}", n % 4096).into_bytes());
    vec![put(place('k', n), value(id)), put(place('b', n), value(id)), put(bucket, vec![1; 900])]
}

async fn commit(store: &RedbStore, n: u128, writes: Vec<Write>) {
    let txn = Txn { op: OpId(n.to_be_bytes()), conds: Vec::new(), writes };
    assert!(matches!(store.commit(txn, D).await, Ok(Commit::Applied { replayed: false, .. })));
}

async fn open(folder: &Path, name: &str) -> Arc<RedbStore> {
    Arc::new(RedbStore::open(folder.join(name), RedbOptions::default()).await.unwrap())
}

/// A pair of stores in a folder.
struct Pair {
    _folder: TempDir,
    home: Arc<RedbStore>,
    source: Source<Arc<RedbStore>>,
    replica: Replica<Arc<RedbStore>>,
    next: u128,
}

impl Pair {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = open(folder.path(), "home.redb").await;
        let mirror = open(folder.path(), "mirror.redb").await;
        let source = Source::new(Arc::clone(&home), None, SourceOptions::default());
        let replica = Replica::open(mirror, ReplicaOptions::default()).await.unwrap();
        Self { _folder: folder, home, source, replica, next: 0 }
    }

    async fn create(&mut self) {
        let (id, _) = self.home.draw_secret(OWNER, D).await.unwrap();
        self.next += 1;
        commit(&self.home, self.next, creation(self.next, id)).await;
    }

    async fn fill(&mut self) {
        while self.next < KEYS {
            let mut writes = Vec::new();
            for _ in 0..45 {
                let (id, _) = self.home.draw_secret(OWNER, D).await.unwrap();
                self.next += 1;
                writes.extend(creation(self.next, id).into_iter().take(2));
            }
            commit(&self.home, self.next, writes).await;
        }
    }

    /// Passes one event on, as over a connection.
    async fn step(&mut self) -> Applied {
        let event = Event::decode(&self.source.next().await.unwrap().encode()).unwrap();
        self.replica.apply(&event).await.unwrap()
    }

    async fn until(&mut self, end: Applied) {
        while self.step().await != end {}
    }
}

fn replica(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut pair = runtime.block_on(Pair::new());
    runtime.block_on(pair.until(Applied::Copied));
    let mut group = c.benchmark_group("replica");
    group.bench_function("limit: a creation, committed locally", |b| {
        b.iter_custom(|count| {
            runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..count {
                    pair.create().await;
                }
                let took = began.elapsed();
                for _ in 0..count {
                    pair.until(Applied::Applied).await;
                }
                took
            })
        });
    });
    group.bench_function("a creation, passed on to a mirror", |b| {
        b.iter_custom(|count| {
            runtime.block_on(async {
                for _ in 0..count {
                    pair.create().await;
                }
                let began = Instant::now();
                for _ in 0..count {
                    pair.until(Applied::Applied).await;
                }
                began.elapsed()
            })
        });
    });
    group.sample_size(10);
    group.bench_function("a copy of 70,000 keys", |b| {
        b.iter_batched(
            || {
                let mut pair = runtime.block_on(Pair::new());
                runtime.block_on(pair.fill());
                pair
            },
            |mut pair| runtime.block_on(pair.until(Applied::Copied)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, replica);
criterion_main!(benches);
