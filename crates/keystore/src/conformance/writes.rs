//! Effects of transactions on keys and revisions.

use std::sync::Arc;

use super::{
    Cond, D, Fixture, Keystore, all, apply, bytes, current, delete, key, next_batch, page, put, read, txn,
};
use crate::{Commit, Revision, Txn};

pub async fn a_put_is_read_back(f: &impl Fixture) {
    let store = f.open().await;
    assert_eq!(read(&store, "a").await, None);
    let at = apply(&store, [], [put("a", "1")]).await;
    let entry = read(&store, "a").await.unwrap();
    assert_eq!((entry.key, entry.value, entry.created, entry.modified), (key("a"), bytes("1"), at, at));
}

pub async fn an_update_keeps_the_created_revision(f: &impl Fixture) {
    let store = f.open().await;
    let created = apply(&store, [], [put("a", "1")]).await;
    let modified = apply(&store, [], [put("a", "2")]).await;
    let entry = read(&store, "a").await.unwrap();
    assert_eq!((entry.value, entry.created, entry.modified), (bytes("2"), created, modified));
}

pub async fn delete_removes_the_key(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1"), put("b", "2")]).await;
    apply(&store, [], [delete("a")]).await;
    assert_eq!(read(&store, "a").await, None);
    assert!(read(&store, "b").await.is_some());
}

pub async fn deleting_a_missing_key_is_not_watched(f: &impl Fixture) {
    let store = f.open().await;
    let mut watch = store.watch(all(), Revision(0)).await.unwrap();
    apply(&store, [], [delete("a")]).await;
    let at = apply(&store, [], [put("b", "1"), delete("c")]).await;
    let batch = next_batch(&mut watch).await.unwrap();
    assert_eq!((batch.at, batch.changes.len()), (at, 1));
}

pub async fn a_re_created_key_has_a_new_created_revision(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [delete("a")]).await;
    let again = apply(&store, [], [put("a", "2")]).await;
    let entry = read(&store, "a").await.unwrap();
    assert_eq!((entry.created, entry.modified), (again, again));
}

pub async fn an_empty_value_is_stored(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "")]).await;
    assert!(read(&store, "a").await.unwrap().value.is_empty());
    apply(&store, [Cond::Present(key("a"))], []).await;
}

pub async fn all_writes_of_a_transaction_have_one_revision(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("c", "0")]).await;
    let at = apply(&store, [], [put("b", "1"), put("a", "1"), delete("c")]).await;
    let entries = page(&store, all(), 10, None).await.entries;
    assert_eq!(super::names(&entries), ["a", "b"]);
    assert!(entries.iter().all(|e| e.modified == at));
}

pub async fn revisions_only_increase(f: &impl Fixture) {
    let store = f.open().await;
    let mut last = current(&store).await;
    for i in 0..20 {
        let at = apply(&store, [], [put(&format!("{}", i % 3), "x")]).await;
        assert!(at > last);
        assert!(current(&store).await >= at);
        last = at;
    }
}

pub async fn an_empty_transaction_takes_a_revision(f: &impl Fixture) {
    let store = f.open().await;
    let first = apply(&store, [], []).await;
    assert!(apply(&store, [Cond::Absent(key("a"))], []).await > first);
}

pub async fn a_contended_counter_loses_no_increment(f: &impl Fixture) {
    const WRITERS: usize = 8;
    const STEPS: usize = 10;
    let store = Arc::new(f.open().await);
    apply(&*store, [], [put("n", "0")]).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut done = 0;
                while done < STEPS {
                    let now = read(&*store, "n").await.unwrap();
                    let n: usize = String::from_utf8_lossy(&now.value).parse().unwrap();
                    let step =
                        txn([Cond::Unchanged(key("n"), now.modified)], [put("n", &format!("{}", n + 1))]);
                    if let Commit::Applied { .. } = store.commit(step, D).await.unwrap() {
                        done += 1;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(read(&*store, "n").await.unwrap().value, bytes(&format!("{}", WRITERS * STEPS)));
}

pub async fn a_dropped_commit_is_applied_as_a_whole_or_not(f: &impl Fixture) {
    let store = f.open().await;
    for i in 0..20 {
        let (a, b) = (format!("a{i}"), format!("b{i}"));
        let txn: Txn = txn([], [put(&a, "1"), put(&b, "1")]);
        {
            let mut commit = std::pin::pin!(store.commit(txn.clone(), D));
            // The future is polled once, which starts the commit, and dropped.
            std::future::poll_fn(|cx| {
                let _started = commit.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
        }
        // When a later commit is complete, the commits queued before are complete.
        apply(&store, [], [put("fence", "x")]).await;
        let both = store.get(&[key(&a), key(&b)], super::NOW, D).await.unwrap();
        let there = both.entries.iter().flatten().count();
        assert!(there != 1, "a transaction is applied in part");
        let again = store.commit(txn, D).await.unwrap();
        assert!(matches!(again, Commit::Applied { replayed, .. } if replayed == (there == 2)), "{again:?}");
    }
}
