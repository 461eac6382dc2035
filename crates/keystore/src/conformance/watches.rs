//! Watches.

use std::sync::Arc;
use std::time::Duration;

use super::{
    D, Fixture, Keystore, Revision, StoreError, WatchEvent, WatchStream, all, apply, bytes, current, delete,
    key, next_batch, page, put,
};
use crate::{Batch, PROGRESS_INTERVAL, WATCH_RETENTION};

fn changes_of(batch: &Batch) -> Vec<(String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    batch.changes.iter().map(|c| (text(&c.key.0), c.now.as_ref().map(|e| text(&e.value)))).collect()
}

pub async fn a_watch_starts_in_the_past(f: &impl Fixture) {
    let store = f.open().await;
    let mut revisions = Vec::new();
    for i in 0..5 {
        revisions.push(apply(&store, [], [put("a", &format!("{i}"))]).await);
    }
    let mut from_start = store.watch(all(), Revision(0)).await.unwrap();
    for at in &revisions {
        assert_eq!(next_batch(&mut from_start).await.unwrap().at, *at);
    }
    let mut from_middle = store.watch(all(), *revisions.get(2).unwrap()).await.unwrap();
    for at in revisions.iter().skip(3) {
        assert_eq!(next_batch(&mut from_middle).await.unwrap().at, *at);
    }
}

pub async fn a_watch_starts_now(f: &impl Fixture) {
    let store = f.open().await;
    let now = apply(&store, [], [put("a", "1")]).await;
    let mut watch = store.watch(all(), now).await.unwrap();
    let at = apply(&store, [], [put("b", "2")]).await;
    let batch = next_batch(&mut watch).await.unwrap();
    assert_eq!((batch.at, changes_of(&batch)), (at, vec![("b".into(), Some("2".into()))]));
}

pub async fn transactions_are_complete(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("b", "0")]).await;
    let mut watch = store.watch(all(), current(&store).await).await.unwrap();
    let at = apply(&store, [], [put("c", "1"), delete("b"), put("a", "1")]).await;
    let batch = next_batch(&mut watch).await.unwrap();
    assert_eq!(batch.at, at);
    assert_eq!(
        changes_of(&batch),
        [("a".into(), Some("1".into())), ("b".into(), None), ("c".into(), Some("1".into()))]
    );
    assert!(batch.changes.iter().flat_map(|c| &c.now).all(|e| e.modified == at));
}

pub async fn only_the_range_is_watched(f: &impl Fixture) {
    let store = f.open().await;
    let mut watch = store.watch(key("b")..key("c"), Revision(0)).await.unwrap();
    apply(&store, [], [put("a", "1"), put("c", "1")]).await;
    apply(&store, [], [put("a", "2"), put("b", "2"), put("bb", "2"), put("c", "2")]).await;
    let batch = next_batch(&mut watch).await.unwrap();
    assert_eq!(changes_of(&batch), [("b".into(), Some("2".into())), ("bb".into(), Some("2".into()))]);
}

pub async fn values_are_those_of_the_transaction(f: &impl Fixture) {
    let store = f.open().await;
    let created = apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [put("a", "2")]).await;
    apply(&store, [], [delete("a")]).await;
    let again = apply(&store, [], [put("a", "3")]).await;
    let mut watch = store.watch(all(), Revision(0)).await.unwrap();
    for (value, made) in [(Some("1"), created), (Some("2"), created), (None, created), (Some("3"), again)] {
        let batch = next_batch(&mut watch).await.unwrap();
        let now = batch.changes.first().unwrap().now.as_ref();
        assert_eq!(now.map(|e| (e.value.clone(), e.created)), value.map(|v| (bytes(v), made)));
    }
}

pub async fn progress_without_changes(f: &impl Fixture) {
    let store = f.open().await;
    let now = apply(&store, [], [put("a", "1")]).await;
    let mut watch = store.watch(all(), now).await.unwrap();
    for _ in 0..2 {
        let event = tokio::time::timeout(3 * PROGRESS_INTERVAL, watch.next()).await;
        let Ok(Ok(WatchEvent::Progress(at))) = event else { panic!("{event:?}") };
        assert!(at >= now);
    }
}

pub async fn progress_past_changes_of_other_ranges(f: &impl Fixture) {
    let store = f.open().await;
    let mut watch = store.watch(key("b")..key("c"), Revision(0)).await.unwrap();
    let at = apply(&store, [], [put("a", "1")]).await;
    loop {
        match watch.next().await.unwrap() {
            WatchEvent::Progress(to) if to >= at => break,
            WatchEvent::Progress(_) => {}
            WatchEvent::Batch(batch) => panic!("not in the range: {batch:?}"),
        }
    }
}

pub async fn compacted_at_the_start(f: &impl Fixture) {
    let store = f.open().await;
    let old = apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [put("a", "2")]).await;
    f.advance(WATCH_RETENTION + Duration::from_secs(1));
    let new = apply(&store, [], [put("a", "3")]).await;
    let refused = store.watch(all(), old).await.err();
    let Some(StoreError::Compacted { oldest }) = refused else { panic!("{refused:?}") };
    // Scan, then watch from the scan's revision, as the error's documentation says.
    let mut watch = store.watch(all(), oldest).await.unwrap();
    assert_eq!(next_batch(&mut watch).await.unwrap().at, new);
    let scanned = page(&store, all(), 10, None).await.at;
    store.watch(all(), scanned).await.unwrap();
}

pub async fn compacted_while_watching(f: &impl Fixture) {
    let store = f.open().await;
    let mut slow = store.watch(all(), Revision(0)).await.unwrap();
    apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [put("a", "2")]).await;
    f.advance(WATCH_RETENTION + Duration::from_secs(1));
    apply(&store, [], [put("a", "3")]).await;
    assert!(matches!(next_batch(&mut slow).await, Err(StoreError::Compacted { .. })));
}

pub async fn a_future_revision_means_another_identity(f: &impl Fixture) {
    let store = f.open().await;
    let unheard = Revision(current(&store).await.0 + 1000);
    assert_eq!(
        store.watch(all(), unheard).await.err(),
        Some(StoreError::IdentityChanged { now: store.identity() })
    );
}

pub async fn every_transaction_once_under_load(f: &impl Fixture) {
    const WRITERS: usize = 4;
    const EACH: usize = 40;
    let store = Arc::new(f.open().await);
    let writers: Vec<_> = (0..WRITERS)
        .map(|w| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for i in 0..EACH {
                    mine.push(
                        apply(&*store, [], [put(&format!("{w}"), &format!("{i}")), put("all", "x")]).await,
                    );
                }
                mine
            })
        })
        .collect();
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(store.watch(all(), Revision(0)).await.unwrap());
        tokio::task::yield_now().await;
    }
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    expected.sort();
    for mut watch in watches {
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let batch = next_batch(&mut watch).await.unwrap();
            assert_eq!(batch.changes.len(), 2);
            seen.push(batch.at);
        }
        assert_eq!(seen, expected);
    }
}

pub async fn a_dropped_next_loses_no_event(f: &impl Fixture) {
    let store = f.open().await;
    let mut watch = store.watch(all(), Revision(0)).await.unwrap();
    for i in 0..20 {
        if i % 2 == 0 {
            // The future is polled once and dropped before there is an event.
            let mut next = std::pin::pin!(watch.next());
            let waiting = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx))).await;
            assert!(!matches!(waiting, std::task::Poll::Ready(Ok(WatchEvent::Batch(_)))));
        }
        let at = apply(&store, [], [put("a", &format!("{i}"))]).await;
        assert_eq!(next_batch(&mut watch).await.unwrap().at, at);
    }
    assert!(store.get(&[], super::NOW, D).await.is_ok());
}
