//! The errors of the contract on a store in memory, and [`AnyStore`].

use std::time::Duration;

use keystore::{
    AnyStore, Commit, Deadline, Freshness, Key, Keystore, LeaseId, MemoryStore, OpId, RedbOptions, RedbStore,
    Revision, StoreError, StoreIdentity, Txn, WallClock, WatchEvent, WatchStream, Write,
};

const D: Deadline = Deadline(Duration::from_secs(60));
const NOW: Freshness = Freshness::Linearizable;

fn key() -> Key {
    Key::from(*b"a")
}

fn put(op: u8) -> Txn {
    let write = Write::Put { key: key(), value: vec![op].into(), lease: None };
    Txn { op: OpId([op; 16]), conds: Vec::new(), writes: vec![write] }
}

fn memory() -> MemoryStore {
    MemoryStore::new(StoreIdentity([1; 16]), WallClock::system())
}

#[tokio::test]
async fn errors_other_than_unknown_apply_nothing() {
    let store = memory();
    let errors = [
        StoreError::Unavailable { retry_after: Duration::from_secs(1), reason: "no quorum".into() },
        StoreError::Full,
        StoreError::ReadOnly { epoch: 7, retry_after: Duration::from_secs(30), reason: "standby".into() },
        StoreError::IdentityChanged { now: StoreIdentity([2; 16]) },
        StoreError::Corrupt("bit rot".into()),
    ];
    for error in errors {
        store.set_fault(Some(error.clone()));
        assert_eq!(store.commit(put(1), D).await, Err(error.clone()));
        assert_eq!(store.grant(Duration::from_secs(1), D).await, Err(error.clone()));
        let read = store.get(&[key()], NOW, D).await;
        let reads_succeed = matches!(error, StoreError::Full | StoreError::ReadOnly { .. });
        assert_eq!(read.is_ok(), reads_succeed, "{error}");
        store.set_fault(None);
        assert_eq!(store.get(&[key()], NOW, D).await.unwrap().at, Revision(0));
    }
}

#[tokio::test]
async fn a_full_store_accepts_deletions() {
    let store = memory();
    store.commit(put(1), D).await.unwrap();
    store.set_fault(Some(StoreError::Full));
    let delete = Txn { op: OpId([2; 16]), conds: Vec::new(), writes: vec![Write::Delete(key())] };
    assert!(matches!(store.commit(delete, D).await, Ok(Commit::Applied { .. })));
}

#[tokio::test]
async fn a_repeated_commit_succeeds_on_a_full_or_read_only_store() {
    for fault in [
        StoreError::Full,
        StoreError::ReadOnly { epoch: 7, retry_after: Duration::from_secs(1), reason: "standby".into() },
    ] {
        let store = memory();
        store.set_fault(Some(StoreError::Unknown));
        assert_eq!(store.commit(put(1), D).await, Err(StoreError::Unknown));
        store.set_fault(Some(fault));
        assert_eq!(store.commit(put(1), D).await, Ok(Commit::Applied { at: Revision(1), replayed: true }));
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_resolved_by_a_retry() {
    let store = memory();
    store.set_fault(Some(StoreError::Unknown));
    assert_eq!(store.commit(put(1), D).await, Err(StoreError::Unknown));
    store.set_fault(None);
    assert_eq!(store.commit(put(1), D).await, Ok(Commit::Applied { at: Revision(1), replayed: true }));
}

#[test]
fn temporary_errors_are_retryable() {
    let unavailable = StoreError::Unavailable { retry_after: Duration::ZERO, reason: "".into() };
    assert!(unavailable.is_retryable() && StoreError::Unknown.is_retryable());
    for permanent in [
        StoreError::Full,
        StoreError::ReadOnly { epoch: 1, retry_after: Duration::from_secs(1), reason: "standby".into() },
        StoreError::Compacted { oldest: Revision(1) },
        StoreError::IdentityChanged { now: StoreIdentity([0; 16]) },
        StoreError::LeaseGone,
        StoreError::Corrupt(String::new()),
    ] {
        assert!(!permanent.is_retryable(), "{permanent}");
    }
}

#[test]
fn values_are_not_printed() {
    let txn = Txn {
        op: OpId([1; 16]),
        conds: Vec::new(),
        writes: vec![Write::Put { key: key(), value: b"hunter2".as_slice().into(), lease: Some(LeaseId(3)) }],
    };
    let shown = format!("{txn:?}");
    assert!(shown.contains("value_len: 7") && !shown.contains("104"), "{shown}");
}

#[tokio::test]
async fn any_store_behaves_like_the_store_inside() {
    let dir = tempfile::tempdir().unwrap();
    let options = RedbOptions::default().reserve_bytes(0);
    let redb = RedbStore::open(dir.path().join("store.redb"), options).await.unwrap();
    for store in [AnyStore::Memory(memory()), AnyStore::Redb(redb)] {
        let lease = store.grant(Duration::from_secs(60), D).await.unwrap();
        assert_eq!(store.renew(lease.id, D).await, Ok(lease));
        let mut watch = store.watch(Key::with_prefix(b""), Revision(0)).await.unwrap();
        let Ok(Commit::Applied { at, .. }) = store.commit(put(1), D).await else { panic!("not applied") };
        assert_eq!(store.get(&[key()], Freshness::AtLeast(at), D).await.unwrap().at, at);
        assert_eq!(store.scan(Key::with_prefix(b""), 9, None, NOW, D).await.unwrap().entries.len(), 1);
        loop {
            if let WatchEvent::Batch(batch) = watch.next().await.unwrap() {
                assert_eq!(batch.at, at);
                break;
            }
        }
        store.revoke(lease.id, D).await.unwrap();
        assert_eq!(store.renew(lease.id, D).await, Err(StoreError::LeaseGone));
    }
}
