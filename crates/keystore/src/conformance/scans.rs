//! Reads of ranges.

use std::sync::Arc;
use std::time::Duration;

use super::{D, Fixture, Keystore, NOW, all, apply, current, delete, key, names, page, put};
use crate::{MAX_PAGE_LEN, Revision, StoreError, WATCH_RETENTION, Write};

pub async fn a_range_is_half_open(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], ["a", "b", "ba", "b\u{1}", "c"].map(|k| put(k, k))).await;
    assert_eq!(names(&page(&store, key("b")..key("c"), 10, None).await.entries), ["b", "b\u{1}", "ba"]);
    assert_eq!(names(&page(&store, key("")..key("b"), 10, None).await.entries), ["a"]);
    assert_eq!(names(&page(&store, all(), 10, None).await.entries), ["a", "b", "b\u{1}", "ba", "c"]);
}

pub async fn empty_and_inverted_ranges(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1"), put("b", "1")]).await;
    for range in [key("a")..key("a"), key("b")..key("a"), key("c")..key("d")] {
        for at in [None, Some(current(&store).await), Some(Revision(0))] {
            let page = page(&store, range.clone(), 10, at).await;
            assert_eq!((page.entries.len(), page.next), (0, None));
        }
    }
}

pub async fn pages_together_are_the_whole_range(f: &impl Fixture) {
    let store = f.open().await;
    let mut expected: Vec<_> = (0..25).map(|i| format!("k{i}")).collect();
    apply(&store, [], expected.iter().map(|k| put(k, k)).collect::<Vec<_>>()).await;
    expected.sort();
    for limit in [1, 7, 24, 25, 26] {
        let mut found = Vec::new();
        let (mut range, mut at) = (all(), None);
        loop {
            let page = page(&store, range.clone(), limit, at).await;
            assert!(page.entries.len() == limit || page.next.is_none());
            found.extend(names(&page.entries));
            let Some(next) = page.next else { break };
            (range.start, at) = (next, Some(page.at));
        }
        assert_eq!(found, expected, "in pages of {limit}");
    }
}

pub async fn pages_have_one_revision_during_writes(f: &impl Fixture) {
    let store = Arc::new(f.open().await);
    let fill = |value: &str| (0..40).map(|i| put(&format!("{i:02}"), value)).collect::<Vec<_>>();
    apply(&*store, [], fill("start")).await;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for round in 0..30 {
                apply(&*store, [], fill(&format!("{round}"))).await;
                apply(&*store, [], [delete(&format!("{:02}", round)), put(&format!("x{round}"), "new")])
                    .await;
                apply(&*store, [], [put(&format!("{:02}", round), &format!("{round}"))]).await;
            }
        }
    });
    while !writer.is_finished() {
        let first = page(&*store, all(), 1, None).await;
        let whole = page(&*store, all(), 1000, Some(first.at)).await;
        let (mut range, mut found) = (all(), Vec::new());
        loop {
            let page = page(&*store, range.clone(), 7, Some(first.at)).await;
            assert_eq!(page.at, first.at);
            found.extend(page.entries);
            let Some(next) = page.next else { break };
            range.start = next;
        }
        assert_eq!(found, whole.entries);
        assert!(found.iter().all(|e| e.modified <= first.at));
        let values: std::collections::BTreeSet<_> =
            found.iter().filter(|e| !e.key.0.starts_with(b"x")).map(|e| e.value.clone()).collect();
        assert_eq!(values.len(), 1, "values of several transactions in one state");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

pub async fn a_past_state_is_complete(f: &impl Fixture) {
    let store = f.open().await;
    let mut states = vec![(current(&store).await, Vec::new())];
    let steps = [
        vec![put("b", "1"), put("d", "1")],
        vec![put("a", "1"), put("b", "2")],
        vec![delete("b"), put("c", "1")],
        vec![put("b", "3"), delete("d")],
        vec![put("b", "4"), put("b2", "1")],
        vec![delete("a"), delete("b"), delete("b2"), delete("c")],
        vec![put("d", "2")],
    ];
    for writes in steps {
        let at = apply(&store, [], writes).await;
        states.push((at, page(&store, all(), 100, None).await.entries));
    }
    for (at, entries) in states {
        let past = page(&store, all(), 100, Some(at)).await;
        assert_eq!((past.at, past.entries), (at, entries));
    }
}

pub async fn a_page_is_limited_in_bytes(f: &impl Fixture) {
    let store = f.open().await;
    let len = 60_000;
    for i in 0..20 {
        let value = vec![1; len].into();
        apply(&store, [], [Write::Put { key: key(&format!("{i:02}")), value, lease: None }]).await;
    }
    let fit = MAX_PAGE_LEN / (len + 2);
    let first = page(&store, all(), 1000, None).await;
    assert_eq!((first.entries.len(), first.next), (fit, Some(key(&format!("{fit}")))));
    let rest = page(&store, key(&format!("{fit}"))..all().end, 1000, Some(first.at)).await;
    assert_eq!((rest.entries.len(), rest.next), (20 - fit, None));
}

pub async fn compacted_history_is_reported(f: &impl Fixture) {
    let store = f.open().await;
    let old = apply(&store, [], [put("a", "1")]).await;
    let kept = apply(&store, [], [put("a", "2"), put("gone", "1")]).await;
    apply(&store, [], [delete("gone")]).await;
    f.advance(WATCH_RETENTION + Duration::from_secs(1));
    let new = apply(&store, [], [put("a", "3")]).await;
    let refused = store.scan(all(), 10, Some(old), NOW, D).await;
    let Err(StoreError::Compacted { oldest }) = refused else { panic!("{refused:?}") };
    assert!(oldest > kept && oldest < new, "history begins at {oldest:?}");
    assert_eq!(names(&page(&store, all(), 10, Some(oldest)).await.entries), ["a"]);
    assert_eq!(page(&store, all(), 10, Some(oldest)).await.entries.first().unwrap().modified, kept);
}

pub async fn a_future_revision_means_another_identity(f: &impl Fixture) {
    let store = f.open().await;
    let unheard = Revision(current(&store).await.0 + 1000);
    let refused = store.scan(all(), 10, Some(unheard), NOW, D).await;
    assert_eq!(refused, Err(StoreError::IdentityChanged { now: store.identity() }));
}
