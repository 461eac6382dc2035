//! Conditions of each kind, holding and failing.

use std::sync::Arc;

use super::{Cond, D, Fixture, Keystore, apply, current, delete, key, put, read, refuse, txn};
use crate::{Commit, Revision};

pub async fn absent_holds_for_a_missing_key(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [Cond::Absent(key("a"))], [put("a", "1")]).await;
    apply(&store, [], [delete("a")]).await;
    apply(&store, [Cond::Absent(key("a"))], []).await;
}

pub async fn absent_is_refused_for_an_existing_key(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1")]).await;
    assert_eq!(refuse(&store, [Cond::Absent(key("a"))]).await, (0, read(&store, "a").await));
}

pub async fn present_holds_for_an_existing_key(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "")]).await;
    apply(&store, [Cond::Present(key("a"))], [put("b", "2")]).await;
}

pub async fn present_is_refused_for_a_missing_key(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1"), put("ab", "1")]).await;
    apply(&store, [], [delete("a")]).await;
    assert_eq!(refuse(&store, [Cond::Present(key("a"))]).await, (0, None));
}

pub async fn unchanged_holds_at_its_revision(f: &impl Fixture) {
    let store = f.open().await;
    let at = apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [put("b", "1")]).await;
    apply(&store, [Cond::Unchanged(key("a"), at)], [put("a", "2")]).await;
}

pub async fn unchanged_is_refused_after_a_write(f: &impl Fixture) {
    let store = f.open().await;
    let at = apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [put("a", "1")]).await;
    let (index, now) = refuse(&store, [Cond::Unchanged(key("a"), at)]).await;
    assert_eq!((index, &now), (0, &read(&store, "a").await));
    assert!(now.unwrap().modified > at);
}

pub async fn unchanged_is_refused_after_deletion(f: &impl Fixture) {
    let store = f.open().await;
    let at = apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [delete("a")]).await;
    assert_eq!(refuse(&store, [Cond::Unchanged(key("a"), at)]).await, (0, None));
    assert_eq!(refuse(&store, [Cond::Unchanged(key("a"), Revision(0))]).await, (0, None));
}

pub async fn unchanged_is_refused_after_re_creation(f: &impl Fixture) {
    let store = f.open().await;
    let at = apply(&store, [], [put("a", "1")]).await;
    apply(&store, [], [delete("a")]).await;
    apply(&store, [], [put("a", "1")]).await;
    assert_eq!(refuse(&store, [Cond::Unchanged(key("a"), at)]).await.0, 0);
}

pub async fn the_first_failed_condition_is_reported(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1"), put("c", "3")]).await;
    let conds =
        [Cond::Present(key("a")), Cond::Absent(key("b")), Cond::Absent(key("c")), Cond::Present(key("d"))];
    assert_eq!(refuse(&store, conds).await, (2, read(&store, "c").await));
}

pub async fn all_conditions_have_to_hold(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put("a", "1")]).await;
    assert_eq!(refuse(&store, [Cond::Present(key("a")), Cond::Present(key("b"))]).await, (1, None));
    assert_eq!(refuse(&store, [Cond::Present(key("b")), Cond::Present(key("a"))]).await, (0, None));
    apply(&store, [Cond::Present(key("a")), Cond::Absent(key("b"))], [put("b", "2")]).await;
}

pub async fn a_refused_transaction_changes_nothing(f: &impl Fixture) {
    let store = f.open().await;
    let before = apply(&store, [], [put("a", "1")]).await;
    let refused = store
        .commit(
            txn(
                [Cond::Absent(key("a"))],
                [put("a", "2"), put("b", "2"), delete("a")].into_iter().take(2).collect::<Vec<_>>(),
            ),
            D,
        )
        .await
        .unwrap();
    assert!(matches!(refused, Commit::Refused { index: 0, at, .. } if at == before), "{refused:?}");
    assert_eq!(current(&store).await, before);
    assert_eq!(read(&store, "b").await, None);
    assert_eq!(&*read(&store, "a").await.unwrap().value, b"1");
}

pub async fn one_of_many_concurrent_creations_is_applied(f: &impl Fixture) {
    let store = Arc::new(f.open().await);
    let contenders: Vec<_> = (0..16)
        .map(|i| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let me = format!("{i}");
                (i, store.commit(txn([Cond::Absent(key("a"))], [put("a", &me)]), D).await.unwrap())
            })
        })
        .collect();
    let mut winners = Vec::new();
    for contender in contenders {
        if let (i, Commit::Applied { at, .. }) = contender.await.unwrap() {
            winners.push((i, at));
        }
    }
    let [(i, at)] = winners[..] else { panic!("winners: {winners:?}") };
    let entry = read(&*store, "a").await.unwrap();
    assert_eq!((entry.value, entry.modified), (super::bytes(&format!("{i}")), at));
}
