//! Each limit at its value and one above.

use std::time::Duration;

use super::{Cond, D, Fixture, Keystore, NOW, all, apply, current, key, put, read, txn};
use crate::{
    Key, Limit, MAX_KEY_LEN, MAX_KEYS_PER_READ, MAX_KEYS_PER_TXN, MAX_LEASE_TTL, MAX_PAGE_ENTRIES,
    MAX_TXN_LEN, MAX_VALUE_LEN, StoreError, Txn, Write,
};

fn put_len(name: &str, len: usize) -> Write {
    Write::Put { key: key(name), value: vec![7; len].into(), lease: None }
}

async fn too_large(store: &impl Keystore, txn: Txn, limit: Limit) {
    assert_eq!(store.commit(txn, D).await, Err(StoreError::TooLarge { limit }));
}

pub async fn keys_per_transaction(f: &impl Fixture) {
    let store = f.open().await;
    let puts = |n: usize| (0..n).map(|i| put(&format!("k{i}"), "x")).collect::<Vec<_>>();
    let absents = |n: usize| (0..n).map(|i| Cond::Absent(key(&format!("k{i}")))).collect::<Vec<_>>();
    apply(&store, absents(MAX_KEYS_PER_TXN), puts(MAX_KEYS_PER_TXN)).await;
    too_large(&store, txn([], puts(MAX_KEYS_PER_TXN + 1)), Limit::KeysPerTxn).await;
    too_large(&store, txn(absents(MAX_KEYS_PER_TXN + 1), []), Limit::KeysPerTxn).await;
    too_large(&store, txn([Cond::Absent(key("other"))], puts(MAX_KEYS_PER_TXN)), Limit::KeysPerTxn).await;
}

pub async fn transaction_len(f: &impl Fixture) {
    let store = f.open().await;
    let most = |last: usize| {
        let mut writes: Vec<_> = (0..15).map(|i| put_len(&format!("{i:02}"), MAX_VALUE_LEN)).collect();
        writes.push(put_len("15", last));
        txn([], writes)
    };
    let rest = MAX_TXN_LEN - 15 * (MAX_VALUE_LEN + 2) - 2;
    store.commit(most(rest), D).await.unwrap();
    too_large(&store, most(rest + 1), Limit::TxnLen).await;
    assert_eq!(read(&store, "15").await.unwrap().value.len(), rest);
}

pub async fn value_len(f: &impl Fixture) {
    let store = f.open().await;
    apply(&store, [], [put_len("a", MAX_VALUE_LEN)]).await;
    assert_eq!(&*read(&store, "a").await.unwrap().value, &[7; MAX_VALUE_LEN][..]);
    too_large(&store, txn([], [put_len("a", MAX_VALUE_LEN + 1)]), Limit::ValueLen).await;
}

pub async fn key_len(f: &impl Fixture) {
    let store = f.open().await;
    let long = "k".repeat(MAX_KEY_LEN);
    apply(&store, [Cond::Absent(key(&long))], [put(&long, "1")]).await;
    assert!(read(&store, &long).await.is_some());
    for bad in [String::new(), "k".repeat(MAX_KEY_LEN + 1)] {
        too_large(&store, txn([], [put(&bad, "1")]), Limit::KeyLen).await;
        too_large(&store, txn([Cond::Absent(key(&bad))], []), Limit::KeyLen).await;
        let read = store.get(&[key(&bad)], NOW, D).await;
        assert_eq!(read, Err(StoreError::TooLarge { limit: Limit::KeyLen }));
    }
}

pub async fn duplicate_key(f: &impl Fixture) {
    let store = f.open().await;
    too_large(&store, txn([], [put("a", "1"), put("a", "2")]), Limit::DuplicateKey).await;
    too_large(&store, txn([], [put("a", "1"), Write::Delete(key("a"))]), Limit::DuplicateKey).await;
    too_large(&store, txn([Cond::Absent(key("a")), Cond::Absent(key("a"))], []), Limit::DuplicateKey).await;
    apply(&store, [Cond::Absent(key("a"))], [put("a", "1")]).await;
}

pub async fn keys_per_read(f: &impl Fixture) {
    let store = f.open().await;
    let keys: Vec<Key> = (0..=MAX_KEYS_PER_READ).map(|i| key(&format!("k{i}"))).collect();
    let (most, _) = keys.split_last_chunk::<1>().unwrap();
    assert_eq!(store.get(most, NOW, D).await.unwrap().entries.len(), MAX_KEYS_PER_READ);
    assert_eq!(store.get(&keys, NOW, D).await, Err(StoreError::TooLarge { limit: Limit::KeysPerRead }));
}

pub async fn page_entries(f: &impl Fixture) {
    let store = f.open().await;
    for chunk in 0..=MAX_PAGE_ENTRIES / 100 {
        let writes: Vec<_> = (0..100).map(|i| put(&format!("{:04}", chunk * 100 + i), "x")).collect();
        apply(&store, [], writes).await;
    }
    let page = store.scan(all(), MAX_PAGE_ENTRIES, None, NOW, D).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (MAX_PAGE_ENTRIES, Some(key("1000"))));
    for limit in [0, MAX_PAGE_ENTRIES + 1, usize::MAX] {
        let refused = store.scan(all(), limit, None, NOW, D).await;
        assert_eq!(refused, Err(StoreError::TooLarge { limit: Limit::PageEntries }));
    }
}

pub async fn lease_ttl(f: &impl Fixture) {
    let store = f.open().await;
    assert!(store.grant(MAX_LEASE_TTL, D).await.unwrap().ttl >= MAX_LEASE_TTL);
    for ttl in [MAX_LEASE_TTL + Duration::from_secs(1), Duration::MAX] {
        assert_eq!(store.grant(ttl, D).await, Err(StoreError::TooLarge { limit: Limit::LeaseTtl }));
    }
}

pub async fn a_transaction_that_is_too_large_changes_nothing(f: &impl Fixture) {
    let store = f.open().await;
    let before = current(&store).await;
    let bad = txn([], [put("a", "1"), put_len("b", MAX_VALUE_LEN + 1)]);
    let op = bad.op;
    too_large(&store, bad, Limit::ValueLen).await;
    assert_eq!((current(&store).await, read(&store, "a").await), (before, None));
    let good = store.commit(Txn { op, conds: Vec::new(), writes: vec![put("a", "1")] }, D).await;
    assert!(matches!(good, Ok(crate::Commit::Applied { replayed: false, .. })), "{good:?}");
}
