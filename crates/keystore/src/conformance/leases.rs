//! Leases: their duration, their keys, and their end.

use std::time::{Duration, Instant};

use super::{
    D, Fixture, Keystore, StoreError, all, apply, current, delete, next_batch, put, put_on, read, txn,
};
use crate::LeaseId;

/// Long enough for a few commits on a busy machine.
const TTL: Duration = Duration::from_millis(900);
const LONG: Duration = Duration::from_secs(60);

pub async fn keys_are_deleted_with_their_lease(f: &impl Fixture) {
    let store = f.open().await;
    let lease = store.grant(TTL, D).await.unwrap();
    apply(&store, [], [put_on(lease.id, "a"), put("b", "stays")]).await;
    let mut watch = store.watch(all(), current(&store).await).await.unwrap();
    let batch = next_batch(&mut watch).await.unwrap();
    assert!(matches!(&batch.changes[..], [change] if change.key == super::key("a") && change.now.is_none()));
    assert_eq!(read(&store, "a").await, None);
    assert!(read(&store, "b").await.is_some());
}

pub async fn a_lease_never_ends_early(f: &impl Fixture) {
    let store = f.open().await;
    let sent = Instant::now();
    let lease = store.grant(TTL, D).await.unwrap();
    assert!(lease.ttl >= TTL);
    apply(&store, [], [put_on(lease.id, "a")]).await;
    let mut watch = store.watch(all(), current(&store).await).await.unwrap();
    next_batch(&mut watch).await.unwrap();
    assert!(sent.elapsed() >= lease.ttl, "ended after {:?}", sent.elapsed());
}

pub async fn renewal_extends_a_lease(f: &impl Fixture) {
    let store = f.open().await;
    let lease = store.grant(TTL, D).await.unwrap();
    apply(&store, [], [put_on(lease.id, "a")]).await;
    let begun = Instant::now();
    let mut renewed = begun;
    while begun.elapsed() < 2 * TTL {
        let sent = Instant::now();
        // On a machine that stalls for a TTL, the lease may end; it must not end early.
        match store.renew(lease.id, D).await {
            Ok(again) => assert_eq!(again.id, lease.id),
            Err(refused) => {
                assert_eq!(refused, StoreError::LeaseGone);
                assert!(renewed.elapsed() >= TTL, "ended {:?} after a renewal", renewed.elapsed());
                return;
            }
        }
        renewed = sent;
        if read(&store, "a").await.is_none() {
            assert!(renewed.elapsed() >= TTL, "ended {:?} after a renewal", renewed.elapsed());
            return;
        }
        tokio::time::sleep(TTL / 10).await;
    }
    let mut watch = store.watch(all(), current(&store).await).await.unwrap();
    next_batch(&mut watch).await.unwrap();
    assert!(renewed.elapsed() >= TTL);
}

pub async fn all_keys_of_a_lease_are_deleted_at_once(f: &impl Fixture) {
    let store = f.open().await;
    let lease = store.grant(TTL, D).await.unwrap();
    apply(&store, [], [put_on(lease.id, "a"), put_on(lease.id, "b")]).await;
    apply(&store, [], [put_on(lease.id, "c"), put("d", "stays")]).await;
    let mut watch = store.watch(all(), current(&store).await).await.unwrap();
    let batch = next_batch(&mut watch).await.unwrap();
    assert_eq!(batch.changes.len(), 3);
    assert!(batch.changes.iter().all(|c| c.now.is_none()));
}

pub async fn a_put_without_lease_detaches_the_key(f: &impl Fixture) {
    let store = f.open().await;
    let lease = store.grant(LONG, D).await.unwrap();
    apply(&store, [], [put_on(lease.id, "a"), put_on(lease.id, "b")]).await;
    apply(&store, [], [put("a", "stays")]).await;
    store.revoke(lease.id, D).await.unwrap();
    assert!(read(&store, "a").await.is_some());
    assert_eq!(read(&store, "b").await, None);
}

pub async fn a_put_attaches_the_key_to_the_new_lease(f: &impl Fixture) {
    let store = f.open().await;
    let one = store.grant(LONG, D).await.unwrap();
    let two = store.grant(LONG, D).await.unwrap();
    assert_ne!(one.id, two.id);
    apply(&store, [], [put_on(one.id, "a")]).await;
    apply(&store, [], [put_on(two.id, "a")]).await;
    store.revoke(one.id, D).await.unwrap();
    assert!(read(&store, "a").await.is_some());
    store.revoke(two.id, D).await.unwrap();
    assert_eq!(read(&store, "a").await, None);
}

pub async fn a_delete_detaches_the_key(f: &impl Fixture) {
    let store = f.open().await;
    let lease = store.grant(LONG, D).await.unwrap();
    apply(&store, [], [put_on(lease.id, "a")]).await;
    apply(&store, [], [delete("a")]).await;
    apply(&store, [], [put("a", "stays")]).await;
    let before = current(&store).await;
    store.revoke(lease.id, D).await.unwrap();
    assert!(read(&store, "a").await.is_some());
    let mut watch = store.watch(all(), before).await.unwrap();
    let next = apply(&store, [], [put("b", "1")]).await;
    assert_eq!(next_batch(&mut watch).await.unwrap().at, next);
}

pub async fn a_revoked_lease_ends_at_once(f: &impl Fixture) {
    let store = f.open().await;
    let lease = store.grant(LONG, D).await.unwrap();
    let before = apply(&store, [], [put_on(lease.id, "a"), put_on(lease.id, "b")]).await;
    let mut watch = store.watch(all(), before).await.unwrap();
    store.revoke(lease.id, D).await.unwrap();
    assert_eq!(read(&store, "a").await, None);
    assert_eq!(next_batch(&mut watch).await.unwrap().changes.len(), 2);
}

pub async fn an_ended_lease_is_gone(f: &impl Fixture) {
    let store = f.open().await;
    let lease = store.grant(LONG, D).await.unwrap();
    store.revoke(lease.id, D).await.unwrap();
    for id in [lease.id, LeaseId(u64::MAX >> 1)] {
        assert_eq!(store.renew(id, D).await, Err(StoreError::LeaseGone));
        assert_eq!(store.revoke(id, D).await, Err(StoreError::LeaseGone));
        let before = current(&store).await;
        let refused = store.commit(txn([], [put("b", "1"), put_on(id, "a")]), D).await;
        assert_eq!(refused, Err(StoreError::LeaseGone));
        assert_eq!((read(&store, "b").await, current(&store).await), (None, before));
    }
}
