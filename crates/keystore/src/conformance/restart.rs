//! What survives closing and opening a store. The cases pass for stores whose data ends with them.

use std::time::{Duration, Instant};

use super::{
    D, Fixture, Keystore, Revision, all, apply, current, delete, key, next_batch, page, put, put_on, txn,
};
use crate::{Commit, Cond};

pub async fn entries_survive(f: &impl Fixture) {
    let store = f.open().await;
    for i in 1..30 {
        apply(&store, [], [put(&format!("{i}"), "x"), delete(&format!("{}", i / 2))]).await;
    }
    let (identity, before) = (store.identity(), page(&store, all(), 1000, None).await);
    let Some(store) = f.reopen(store).await else { return };
    assert_eq!((store.identity(), page(&store, all(), 1000, None).await), (identity, before));
}

pub async fn history_survives(f: &impl Fixture) {
    let store = f.open().await;
    let first = apply(&store, [], [put("a", "1")]).await;
    let second = apply(&store, [], [put("a", "2"), put("b", "1")]).await;
    let Some(store) = f.reopen(store).await else { return };
    let third = apply(&store, [], [delete("a")]).await;
    let mut watch = store.watch(all(), Revision(0)).await.unwrap();
    for at in [first, second, third] {
        assert_eq!(next_batch(&mut watch).await.unwrap().at, at);
    }
    let past = page(&store, all(), 10, Some(first)).await;
    assert_eq!((super::names(&past.entries), past.at), (vec!["a".into()], first));
}

pub async fn operations_survive(f: &impl Fixture) {
    let store = f.open().await;
    let txn = txn([Cond::Absent(key("a"))], [put("a", "1")]);
    let Commit::Applied { at, .. } = store.commit(txn.clone(), D).await.unwrap() else { panic!("refused") };
    let Some(store) = f.reopen(store).await else { return };
    assert_eq!(store.commit(txn, D).await, Ok(Commit::Applied { at, replayed: true }));
}

pub async fn leases_get_their_full_ttl_again(f: &impl Fixture) {
    let ttl = Duration::from_millis(400);
    let store = f.open().await;
    let lease = store.grant(ttl, D).await.unwrap();
    let Ok(Commit::Applied { at, .. }) = store.commit(txn([], [put_on(lease.id, "a")]), D).await else {
        return;
    };
    let reopened = Instant::now();
    let Some(store) = f.reopen(store).await else { return };
    let mut watch = store.watch(all(), at).await.unwrap();
    assert_eq!(next_batch(&mut watch).await.unwrap().changes.len(), 1);
    assert!(reopened.elapsed() >= ttl);
}

pub async fn revisions_continue(f: &impl Fixture) {
    let mut store = f.open().await;
    let mut last = current(&store).await;
    for _ in 0..4 {
        let at = apply(&store, [], [put("a", "1")]).await;
        assert!(at > last);
        last = at;
        let Some(again) = f.reopen(store).await else { return };
        store = again;
        assert_eq!(current(&store).await, last);
    }
}
