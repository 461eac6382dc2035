//! Reads of keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{D, Fixture, Freshness, Keystore, NOW, apply, current, key, put, read, txn};
use crate::{Revision, StoreError};

pub async fn entries_are_in_the_order_of_the_request(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1"), put("c", "3")]).await;
    let got = store.get(&[key("c"), key("b"), key("a"), key("c")], NOW, D).await.unwrap();
    let values: Vec<_> = got.entries.iter().map(|e| e.as_ref().map(|e| e.value.to_vec())).collect();
    assert_eq!(values, [Some(b"3".to_vec()), None, Some(b"1".to_vec()), Some(b"3".to_vec())]);
    assert!(store.get(&[], NOW, D).await.unwrap().entries.is_empty());
}

/// Calls `reader` until `writer` has committed 60 times.
async fn while_writing<S: Keystore, R: Future<Output = ()>>(store: &Arc<S>, reader: impl Fn() -> R) {
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (Arc::clone(store), Arc::clone(&done));
        async move {
            for i in 0..60 {
                let value = format!("{i}");
                apply(&*store, [], [put("a", &value), put("b", &value)]).await;
            }
            done.store(true, Ordering::Release);
        }
    });
    while !done.load(Ordering::Acquire) {
        reader().await;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

pub async fn keys_of_one_read_have_one_revision(f: &impl Fixture) {
    let store = Arc::new(f.open().await);
    while_writing(&store, || async {
        let got = store.get(&[key("a"), key("b")], NOW, D).await.unwrap();
        let versions: Vec<_> =
            got.entries.iter().map(|e| e.as_ref().map(|e| (e.value.clone(), e.modified))).collect();
        assert_eq!(versions.first(), versions.last());
        assert!(versions.iter().flatten().all(|(_, modified)| *modified <= got.at));
    })
    .await;
}

pub async fn an_acknowledged_commit_is_visible(f: &impl Fixture) {
    let store = Arc::new(f.open().await);
    for i in 0..50 {
        let at = apply(&*store, [], [put("a", &format!("{i}"))]).await;
        let reader = Arc::clone(&store);
        let seen = tokio::spawn(async move { read(&*reader, "a").await.unwrap() }).await.unwrap();
        assert_eq!(seen.modified, at);
    }
}

pub async fn at_least_includes_the_own_commit(f: &impl Fixture) {
    let store = f.open().await;
    for i in 0..20 {
        let at = apply(&store, [], [put("a", &format!("{i}"))]).await;
        let got = store.get(&[key("a")], Freshness::AtLeast(at), D).await.unwrap();
        assert!(got.at >= at);
        assert!(got.entries.first().unwrap().as_ref().unwrap().modified >= at);
    }
}

pub async fn at_least_never_returns_an_older_state(f: &impl Fixture) {
    let store = Arc::new(f.open().await);
    let last = std::cell::Cell::new(Revision(0));
    while_writing(&store, || async {
        let got = store.get(&[key("a")], Freshness::AtLeast(Revision(0)), D).await.unwrap();
        assert!(got.at >= last.get(), "{:?} after {:?}", got.at, last.get());
        last.set(got.at);
    })
    .await;
}

pub async fn a_future_revision_means_another_identity(f: &impl Fixture) {
    let store = f.open().await;
    let now = store.identity();
    let next = Revision(current(&store).await.0 + 1000);
    let read = store.get(&[key("a")], Freshness::AtLeast(next), D).await;
    assert_eq!(read, Err(StoreError::IdentityChanged { now }));
    store.commit(txn([], []), D).await.unwrap();
}
