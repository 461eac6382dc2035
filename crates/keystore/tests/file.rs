//! The store in a file: opening, identity, free space, disk failures, concurrency.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::support::{Disk, Fault, Random, open_on};
use keystore::conformance::model::MovableClock;
use keystore::{
    Commit, Deadline, Freshness, Key, Keystore, OpId, RedbOptions, RedbStore, Revision, StoreError,
    StoreIdentity, StoreOpenError, Txn, WatchStream, Write,
};

const D: Deadline = Deadline(Duration::from_secs(60));
const NOW: Freshness = Freshness::Linearizable;

fn op() -> OpId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    OpId(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
}

fn key(name: &str) -> Key {
    Key::from(name.as_bytes())
}

fn put(name: &str, len: usize) -> Txn {
    let write = Write::Put { key: key(name), value: vec![1; len].into(), lease: None };
    Txn { op: op(), conds: Vec::new(), writes: vec![write] }
}

fn delete(name: &str) -> Txn {
    Txn { op: op(), conds: Vec::new(), writes: vec![Write::Delete(key(name))] }
}

async fn apply(store: &RedbStore, txn: Txn) -> Revision {
    match store.commit(txn, D).await {
        Ok(Commit::Applied { at, .. }) => at,
        other => panic!("{other:?}"),
    }
}

fn options() -> RedbOptions {
    RedbOptions::default().reserve_bytes(0)
}

async fn open(path: &Path) -> RedbStore {
    RedbStore::open(path, options()).await.unwrap()
}

fn new_path() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    (dir, path)
}

/// Waits until the committer blocks in a flush.
async fn wait_until_stalled(disk: &Disk) {
    let disk = disk.clone();
    tokio::task::spawn_blocking(move || disk.wait_until_stalled()).await.unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn files_are_private() {
    let (dir, path) = new_path();
    open(&path).await.close().await.unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = open(&path).await;
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_second_handle_is_refused_with_the_process_id() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let refused = RedbStore::open(&path, options()).await.err().unwrap();
    assert!(
        matches!(&refused, StoreOpenError::InUse { process_id: Some(id), .. } if *id == std::process::id()),
        "{refused:?}"
    );
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())));
    drop(store);
    open(&path).await;
}

#[tokio::test]
async fn other_files_are_refused_and_unchanged() {
    let (_dir, path) = new_path();
    let foreign = {
        let other = path.with_extension("other");
        let db = redb::Database::create(&other).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
        txn.commit().unwrap();
        drop(db);
        std::fs::read(other).unwrap()
    };
    let same_name = {
        let other = path.with_extension("same");
        let db = redb::Database::create(&other).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(redb::TableDefinition::<u64, u64>::new("meta")).unwrap().insert(1, 2).unwrap();
        txn.commit().unwrap();
        drop(db);
        std::fs::read(other).unwrap()
    };
    for content in
        [b"".to_vec(), b"short".to_vec(), b"SQLite format 3\0 and more".repeat(400), foreign, same_name]
    {
        std::fs::write(&path, &content).unwrap();
        let refused = RedbStore::open(&path, options()).await.err().unwrap();
        assert!(matches!(refused, StoreOpenError::NotAKeystore { .. }), "{refused:?}");
        assert!(std::fs::read(&path).unwrap() == content, "the file was changed");
    }
    let missing = RedbStore::open(path.join("below/a/file"), options()).await.err().unwrap();
    assert!(matches!(missing, StoreOpenError::Io { .. }), "{missing:?}");
}

#[tokio::test]
async fn newer_format_is_named() {
    let (_dir, path) = new_path();
    open(&path).await.close().await.unwrap();
    let db = redb::Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut meta = txn.open_table(redb::TableDefinition::<&str, &[u8]>::new("meta")).unwrap();
        meta.insert("header", [0, 0, 0, 9, 1, 2, 3].as_slice()).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    let refused = RedbStore::open(&path, options()).await.err().unwrap();
    assert!(matches!(refused, StoreOpenError::NewerFormat { found: 9, .. }), "{refused:?}");
}

/// After a bit flip the store opens with all its data, or it is refused and the file is unchanged.
#[tokio::test]
async fn damage_is_detected_and_the_file_unchanged() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    for i in 0..40 {
        apply(&store, put(&format!("{i}"), 2000)).await;
    }
    let good = store.scan(Key::with_prefix(b""), 1000, None, NOW, D).await.unwrap();
    store.close().await.unwrap();
    let image = std::fs::read(&path).unwrap();
    let random = &mut Random(1);
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..120 {
        let mut damaged = image.clone();
        // Half of the bit flips are in bytes that are not zero.
        let at = loop {
            let at = random.below(image.len() as u64) as usize;
            if round % 2 == 0 || image[at] != 0 {
                break at;
            }
        };
        damaged[at] ^= 1 << random.below(8);
        std::fs::write(&path, &damaged).unwrap();
        match RedbStore::open(&path, options()).await {
            Ok(store) => {
                let found = store.scan(Key::with_prefix(b""), 1000, None, NOW, D).await.unwrap();
                assert!(found == good, "byte {at}: opened with other data");
                harmless += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error, StoreOpenError::Damaged { .. } | StoreOpenError::NotAKeystore { .. }),
                    "byte {at}: {error:?}"
                );
                assert!(std::fs::read(&path).unwrap() == damaged, "byte {at}: the file was changed");
                refused += 1;
            }
        }
    }
    assert!(refused > 20 && harmless > 20, "{refused} refused, {harmless} harmless");
}

#[tokio::test]
async fn truncated_file_is_refused() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    apply(&store, put("a", 100)).await;
    store.close().await.unwrap();
    let image = std::fs::read(&path).unwrap();
    for len in [9, 100, 4096, image.len() / 2] {
        std::fs::write(&path, &image[..len]).unwrap();
        let refused = RedbStore::open(&path, options()).await.err().unwrap();
        assert!(matches!(refused, StoreOpenError::Damaged { .. }), "{len} bytes: {refused:?}");
        assert_eq!(std::fs::read(&path).unwrap().len(), len);
    }
}

#[tokio::test]
async fn identity_stays_until_the_data_go_back() {
    let (dir, path) = new_path();
    let store = open(&path).await;
    let first = store.identity();
    apply(&store, put("a", 10)).await;
    store.close().await.unwrap();
    let backup = std::fs::read(&path).unwrap();
    let store = open(&path).await;
    assert_eq!(store.identity(), first);
    let later = apply(&store, put("b", 10)).await;
    store.close().await.unwrap();
    // An older copy of the file is restored.
    std::fs::write(&path, &backup).unwrap();
    let store = open(&path).await;
    let second = store.identity();
    assert_ne!(second, first);
    let read = store.get(&[], Freshness::AtLeast(later), D).await;
    assert_eq!(read, Err(StoreError::IdentityChanged { now: second }));
    store.close().await.unwrap();
    assert_eq!(open(&path).await.identity(), second);
    // Opened as restored.
    let store = RedbStore::open(&path, options().restored(true)).await.unwrap();
    let third = store.identity();
    assert_ne!(third, second);
    store.close().await.unwrap();
    // The side file is invalid.
    std::fs::write(dir.path().join("store.redb.last"), "?").unwrap();
    let fourth = open(&path).await.identity();
    assert!(![first, second, third].contains(&fourth));
    // Another store.
    let other = open(&dir.path().join("other.redb")).await.identity();
    assert!(![first, second, third, fourth, StoreIdentity([0; 16])].contains(&other));
}

#[tokio::test]
async fn a_full_store_accepts_only_deletions() {
    let (_dir, path) = new_path();
    let free = Arc::new(AtomicU64::new(1000));
    let options = RedbOptions::default().reserve_bytes(1000).free_space({
        let free = Arc::clone(&free);
        move || Ok(free.load(Ordering::Relaxed))
    });
    let store = RedbStore::open(&path, options).await.unwrap();
    let lease = store.grant(Duration::from_secs(60), D).await.unwrap();
    apply(&store, put("a", 10)).await;
    free.store(999, Ordering::Relaxed);
    let refused = put("b", 10);
    assert_eq!(store.commit(refused.clone(), D).await, Err(StoreError::Full));
    assert_eq!(store.grant(Duration::from_secs(60), D).await, Err(StoreError::Full));
    apply(&store, delete("a")).await;
    store.revoke(lease.id, D).await.unwrap();
    free.store(1000, Ordering::Relaxed);
    assert!(matches!(store.commit(refused, D).await, Ok(Commit::Applied { replayed: false, .. })));
}

#[tokio::test]
async fn a_full_store_answers_repeated_commits() {
    let (_dir, path) = new_path();
    let free = Arc::new(AtomicU64::new(1000));
    let options = RedbOptions::default().reserve_bytes(1000).free_space({
        let free = Arc::clone(&free);
        move || Ok(free.load(Ordering::Relaxed))
    });
    let store = RedbStore::open(&path, options).await.unwrap();
    let done = put("a", 10);
    let at = apply(&store, done.clone()).await;
    free.store(999, Ordering::Relaxed);
    // `Full` would mean that nothing was applied.
    assert_eq!(store.commit(done, D).await, Ok(Commit::Applied { at, replayed: true }));
}

/// A store whose disk failed during a commit, the transaction before, and the one of unknown outcome.
async fn fail_during_commit(fault: Fault) -> (RedbStore, Txn, Txn) {
    for step in 0..100 {
        let disk = Disk::default();
        let store = open_on(disk.clone(), options()).await.unwrap();
        let (applied, unknown) = (put("a", 10), put("a", 20));
        apply(&store, applied.clone()).await;
        disk.fail_at(step, fault);
        if store.commit(unknown.clone(), D).await == Err(StoreError::Unknown) {
            return (store, applied, unknown);
        }
    }
    panic!("no fault led to an unknown outcome");
}

#[tokio::test]
async fn a_commit_that_failed_during_a_flush_stays_unknown() {
    for fault in [Fault::IoError, Fault::NoRoom] {
        let (store, applied, unknown) = fail_during_commit(fault).await;
        assert_eq!(store.commit(unknown, D).await, Err(StoreError::Unknown), "{fault:?}");
        assert_eq!(store.commit(applied, D).await, Ok(Commit::Applied { at: Revision(1), replayed: true }));
        let other = store.commit(put("b", 10), D).await;
        match fault {
            Fault::NoRoom => assert_eq!(other, Err(StoreError::Full)),
            _ => assert!(matches!(other, Err(StoreError::Corrupt(_))), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_missed_deadline_is_unknown_only_for_a_started_commit() {
    let disk = Disk::default();
    let store = Arc::new(open_on(disk.clone(), options()).await.unwrap());
    let syncs = disk.syncs();
    disk.stall(true);
    let begun = put("begun", 10);
    let waiting = put("waiting", 10);
    let first = tokio::spawn({
        let (store, txn) = (Arc::clone(&store), begun.clone());
        async move { store.commit(txn, D).await }
    });
    wait_until_stalled(&disk).await;
    // Deadlines pass at once from here on: nothing else happens.
    tokio::time::pause();
    let second = store.commit(waiting.clone(), D).await;
    assert!(matches!(second, Err(StoreError::Unavailable { .. })), "{second:?}");
    assert_eq!(first.await.unwrap(), Err(StoreError::Unknown));
    tokio::time::resume();
    assert!(store.get(&[key("begun")], NOW, D).await.unwrap().entries[0].is_none());
    disk.stall(false);
    assert!(matches!(store.commit(begun, D).await, Ok(Commit::Applied { replayed: true, .. })));
    assert!(matches!(store.commit(waiting, D).await, Ok(Commit::Applied { replayed: false, .. })));
    assert!(disk.syncs() > syncs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_commits_share_flushes() {
    let disk = Disk::default();
    let store = Arc::new(open_on(disk.clone(), options()).await.unwrap());
    let before = disk.syncs();
    disk.stall(true);
    let asked = Arc::new(AtomicU64::new(0));
    let commits: Vec<_> = (0..256)
        .map(|i| {
            let (store, asked) = (Arc::clone(&store), Arc::clone(&asked));
            tokio::spawn(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                apply(&store, put(&format!("{i}"), 100)).await
            })
        })
        .collect();
    // While the first batch blocks in its flush, the others are queued.
    while asked.load(Ordering::Relaxed) < 256 {
        tokio::task::yield_now().await;
    }
    disk.stall(false);
    for commit in commits {
        commit.await.unwrap();
    }
    let flushes = disk.syncs() - before;
    assert!(flushes <= 16, "{flushes} flushes for 256 commits");
}

#[tokio::test]
async fn reads_do_not_wait_for_commits() {
    let disk = Disk::default();
    let store = Arc::new(open_on(disk.clone(), options()).await.unwrap());
    apply(&store, put("a", 10)).await;
    disk.stall(true);
    let begun = tokio::spawn({
        let store = Arc::clone(&store);
        async move { apply(&store, put("a", 20)).await }
    });
    wait_until_stalled(&disk).await;
    let keys = [key("a"), key("b")];
    let mut get = std::pin::pin!(store.get(&keys, NOW, D));
    let at_once = std::future::poll_fn(|cx| Poll::Ready(get.as_mut().poll(cx))).await;
    let Poll::Ready(Ok(snapshot)) = at_once else { panic!("{at_once:?}") };
    assert_eq!(snapshot.entries[0].as_ref().unwrap().value.len(), 10);
    disk.stall(false);
    begun.await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_its_store() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let mut watch = store.watch(Key::with_prefix(b""), Revision(0)).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(watch.next().await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn leases_survive_a_dropped_handle() {
    let (_dir, path) = new_path();
    let store = open(&path).await;
    let lease = store.grant(Duration::from_secs(60), D).await.unwrap();
    drop(store);
    let store = open(&path).await;
    assert_eq!(store.renew(lease.id, D).await, Ok(lease));
}

/// Overwriting one key for years does not make the file grow.
#[tokio::test]
async fn old_history_is_deleted() {
    let disk = Disk::default();
    let clock = MovableClock::default();
    let options = options().without_threads().wall_clock(clock.wall());
    let store = open_on(disk.clone(), options).await.unwrap();
    let mut len = 0;
    for i in 0..3000 {
        clock.advance(Duration::from_secs(600));
        apply(&store, put("a", 4000)).await;
        if i == 1000 {
            len = disk.written().len();
        }
    }
    assert!(disk.written().len() <= len, "{len} bytes after 1000, {} after 3000", disk.written().len());
}

/// As in a simulation.
#[tokio::test(start_paused = true)]
async fn without_threads_time_can_be_paused() {
    let options = options().without_threads();
    let store = open_on(Disk::default(), options).await.unwrap();
    let lease = store.grant(Duration::from_secs(3600), D).await.unwrap();
    let write = Write::Put { key: key("a"), value: vec![1].into(), lease: Some(lease.id) };
    apply(&store, Txn { op: op(), conds: Vec::new(), writes: vec![write] }).await;
    tokio::time::sleep(Duration::from_secs(3599)).await;
    assert!(store.get(&[key("a")], NOW, D).await.unwrap().entries[0].is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(store.get(&[key("a")], NOW, D).await.unwrap().entries[0].is_none());
}
