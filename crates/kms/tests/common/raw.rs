//! The store as someone sees it who can write it: raw entries, without a key.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, Payload as Message};
use hmac::{Hmac, KeyInit, Mac};
use keystore::{Bytes, Commit, Deadline, Freshness, Key, Keystore, SecretId, Txn, Write};
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

/// The keys of an instance that follow from its secret, as `docs/formats/keystore.md` has them.
pub(crate) struct Keys {
    records: [u8; 32],
    blobs: [u8; 32],
    own: [u8; 32],
}

impl Keys {
    pub(crate) fn of(secret: &[u8]) -> Self {
        let key = |label: &[u8]| hmac(secret, label);
        Self {
            records: key(b"hsm-sim record key v1"),
            blobs: key(b"hsm-sim blob record key v1"),
            own: key(b"hsm-sim own keys key v1"),
        }
    }

    pub(crate) fn own_key(&self, id: SecretId, secret: &[u8; 32]) -> [u8; 32] {
        hmac(&self.own, &list(&[&id.0.to_be_bytes(), secret]))
    }

    /// Opens a sealed value with every key that there is: those of the instance, and those of these secrets.
    pub(crate) fn open(
        &self,
        place: &Key,
        value: &[u8],
        secrets: &[(SecretId, [u8; 32])],
    ) -> Option<Vec<u8>> {
        let own = secrets.iter().map(|(id, secret)| (9, self.own_key(*id, secret)));
        let keys = [(1, self.records), (1, self.blobs)].into_iter().chain(own);
        keys.into_iter().find_map(|(front, key)| {
            let (front, rest) = value.split_at_checked(front)?;
            let aad = if front[0] == 1 { place.0.to_vec() } else { [&place.0, front].concat() };
            let (iv, body) = rest.split_first_chunk::<12>()?;
            let cipher = Aes256Gcm::new(&key.into());
            cipher.decrypt(&(*iv).into(), Message { msg: body, aad: &aad }).ok()
        })
    }

    /// Seals a value as an earlier version did.
    fn seal_earlier(&self, place: &Key, format: u8, plain: &[u8]) -> Vec<u8> {
        let is_blob = place.0.windows(3).any(|part| part == b"/b/");
        let key = if is_blob { self.blobs } else { self.records };
        let aad = if format == 1 { place.0.to_vec() } else { [&place.0[..], &[format]].concat() };
        let iv: [u8; 12] = super::random(12).try_into().unwrap();
        let cipher = Aes256Gcm::new(&key.into());
        let body = cipher.encrypt(&iv.into(), Message { msg: plain, aad: &aad }).unwrap();
        [&[format][..], &iv, &body].concat()
    }
}

/// The secret that a value names.
pub(crate) async fn secret_of<S: Keystore>(store: &S, value: &[u8]) -> Option<(SecretId, [u8; 32])> {
    let id = SecretId(u64::from_be_bytes(value[1..9].try_into().unwrap()));
    Some((id, *store.secret(id, Deadline(PATIENCE)).await.unwrap()?.expose()))
}

/// Turns an instance into one of an earlier version, without an index, and without keys of keys.
pub(crate) async fn make_earlier<S: Keystore>(store: &S, instance: InstanceId, secret: &[u8]) {
    let place = InstanceHeader::key(instance);
    let header = entries(store, &[std::str::from_utf8(&place.0).unwrap()]).await.remove(0).1;
    delete(store, &format!("{instance}/x/")).await;
    delete(store, &format!("{instance}/c/")).await;
    let keys = Keys::of(secret);
    let mut earlier = vec![(place.clone(), earlier_header(&place, &header, secret).into())];
    for (place, value) in entries(store, &[&format!("{instance}/k/"), &format!("{instance}/b/")]).await {
        let plain = keys.open(&place, &value, &[secret_of(store, &value).await.unwrap()]).unwrap();
        let format = if value[0] == 5 { 2 } else { 1 };
        let value = keys.seal_earlier(&place, format, &plain);
        earlier.push((place, value.into()));
    }
    put_back(store, &earlier).await;
    store.erase_owner(keystore::SecretOwner(instance.0.into_bytes()), Deadline(PATIENCE)).await.unwrap();
}
