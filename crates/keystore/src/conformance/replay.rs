//! Repeated operations.

use std::sync::Arc;
use std::time::Duration;

use super::{Cond, D, Fixture, Keystore, apply, bytes, current, delete, key, put, read, txn};
use crate::{Commit, OP_RETENTION, Txn, WATCH_RETENTION};

pub async fn a_repeated_commit_returns_the_first_outcome(f: &impl Fixture) {
    let store = f.open().await;
    let txn = txn([], [put("a", "1")]);
    let first = store.commit(txn.clone(), D).await.unwrap();
    let Commit::Applied { at, replayed: false } = first else { panic!("{first:?}") };
    apply(&store, [], [put("a", "2")]).await;
    let before = current(&store).await;
    assert_eq!(store.commit(txn, D).await, Ok(Commit::Applied { at, replayed: true }));
    assert_eq!((read(&store, "a").await.unwrap().value, current(&store).await), (bytes("2"), before));
}

pub async fn a_repeated_commit_ignores_changed_conditions(f: &impl Fixture) {
    let store = f.open().await;
    let txn = txn([Cond::Absent(key("a"))], [put("a", "1")]);
    let Commit::Applied { at, .. } = store.commit(txn.clone(), D).await.unwrap() else { panic!("refused") };
    assert_eq!(store.commit(txn, D).await, Ok(Commit::Applied { at, replayed: true }));
}

pub async fn a_refused_commit_may_be_repeated(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1")]).await;
    let txn = txn([Cond::Absent(key("a"))], [put("a", "2")]);
    assert!(matches!(store.commit(txn.clone(), D).await, Ok(Commit::Refused { .. })));
    apply(&store, [], [delete("a")]).await;
    assert!(matches!(store.commit(txn, D).await, Ok(Commit::Applied { replayed: false, .. })));
}

pub async fn concurrent_repeats_are_applied_once(f: &impl Fixture) {
    let store = Arc::new(f.open().await);
    for _ in 0..10 {
        let txn = txn([], [put("a", "1")]);
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let (store, txn) = (Arc::clone(&store), txn.clone());
                tokio::spawn(async move { store.commit(txn, D).await.unwrap() })
            })
            .collect();
        let mut revisions = Vec::new();
        let mut firsts = 0;
        for one in tries {
            let Commit::Applied { at, replayed } = one.await.unwrap() else { panic!("refused") };
            revisions.push(at);
            firsts += usize::from(!replayed);
        }
        revisions.dedup();
        assert_eq!((firsts, revisions.len()), (1, 1));
        assert_eq!(read(&*store, "a").await.unwrap().modified, *revisions.first().unwrap());
    }
}

/// Advances the clock and commits, because stores trim their history during commits.
async fn advance(f: &impl Fixture, store: &impl Keystore, time: Duration) {
    f.advance(time);
    apply(store, [], []).await;
}

pub async fn operations_are_remembered_for_a_day(f: &impl Fixture) {
    let store = f.open().await;
    let txn: Txn = txn([], [put("a", "1")]);
    store.commit(txn.clone(), D).await.unwrap();
    advance(f, &store, OP_RETENTION).await;
    assert!(matches!(store.commit(txn, D).await, Ok(Commit::Applied { replayed: true, .. })));
}

pub async fn operations_are_remembered_longer_than_history(f: &impl Fixture) {
    let store = f.open().await;
    let txn: Txn = txn([], [put("a", "1")]);
    store.commit(txn.clone(), D).await.unwrap();
    advance(f, &store, WATCH_RETENTION + Duration::from_secs(1)).await;
    assert!(matches!(store.commit(txn, D).await, Ok(Commit::Applied { replayed: true, .. })));
}
