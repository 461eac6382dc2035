//! The store as someone sees it who can write it: raw entries, without a key.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use hmac::{Hmac, KeyInit, Mac};
use keystore::{Bytes, Commit, Deadline, Freshness, Key, Keystore, Txn, Write};
use kms::{InstanceHeader, InstanceId};
use sha2::Sha256;

use super::{PATIENCE, op};

pub(crate) type Entries = Vec<(Key, Bytes)>;

/// All entries whose name has one of these parts.
pub(crate) async fn entries<S: Keystore>(store: &S, parts: &[&str]) -> Entries {
    let mut range = Key::with_prefix(b"v1/i/");
    let mut found = Vec::new();
    loop {
        let page = store.scan(range.clone(), 1000, None, Freshness::Linearizable, Deadline(PATIENCE)).await;
        let page = page.unwrap();
        found.extend(page.entries.into_iter().map(|entry| (entry.key, entry.value)));
        match page.next {
            Some(next) => range.start = next,
            None => break,
        }
    }
    found.retain(|(key, _)| {
        let name = std::str::from_utf8(&key.0).unwrap();
        parts.iter().any(|part| name.contains(part))
    });
    found
}

pub(crate) async fn write<S: Keystore>(store: &S, writes: Vec<Write>) {
    for writes in writes.chunks(90) {
        let txn = Txn { op: op(), conds: Vec::new(), writes: writes.to_vec() };
        assert!(matches!(store.commit(txn, Deadline(PATIENCE)).await, Ok(Commit::Applied { .. })));
    }
}

pub(crate) async fn put_back<S: Keystore>(store: &S, entries: &Entries) {
    let put =
        |(key, value): &(Key, Bytes)| Write::Put { key: key.clone(), value: value.clone(), lease: None };
    write(store, entries.iter().map(put).collect()).await;
}

pub(crate) async fn delete<S: Keystore>(store: &S, part: &str) {
    let gone = entries(store, &[part]).await.into_iter().map(|(key, _)| Write::Delete(key)).collect();
    write(store, gone).await;
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.chain_update(message).finalize().into_bytes().into()
}

/// The list that the service's MACs cover: each part after its length.
fn list(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes(), *part].concat()).collect()
}

/// Rewrites a header as an earlier version of the program wrote it: format 1, without a generation. `secret` is the
/// instance's.
pub(crate) fn earlier_header(place: &Key, value: &[u8], secret: &[u8]) -> Vec<u8> {
    assert_eq!(value[0], 3);
    // Eight bytes of the time of birth, one of the number, one for the absent next master key, and the MAC.
    let body = [&[1], &value[1..value.len() - 32 - 10]].concat();
    let mac = hmac(&hmac(secret, b"hsm-sim header key v1"), &list(&[&place.0, &body]));
    [&body[..], &mac].concat()
}

/// Turns an instance into one of an earlier version, without an index.
pub(crate) async fn make_earlier<S: Keystore>(store: &S, instance: InstanceId, secret: &[u8]) {
    let place = InstanceHeader::key(instance);
    let header = entries(store, &[std::str::from_utf8(&place.0).unwrap()]).await.remove(0).1;
    delete(store, &format!("{instance}/x/")).await;
    put_back(store, &vec![(place.clone(), earlier_header(&place, &header, secret).into())]).await;
}
