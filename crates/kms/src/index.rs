//! The index of an instance: which records, counts and aliases it has, and which value of each was written last.
//!
//! A store can return an older value than the one that was written last. A sealed value does not reveal that, because it
//! was authentic once. The index therefore lists the authentication tag of each value: no other value that ever was at
//! the place has the same one. The index is kept in buckets, so that writes of different keys rarely meet, and each bucket
//! counts its changes.

use keystore::{Bytes, Key, SecretId};
use serde::{Deserialize, Serialize};

use crate::record::{decode, encode};
use crate::seal::{InstanceKeys, secret_of};
use crate::{InstanceId, RecordError, layout};

/// Number of buckets of an instance: 12 bits of what names a record.
pub(crate) const BUCKETS: u16 = 1 << 12;

/// Of a bucket that lists no counts, as earlier versions wrote it.
const FORMAT: u8 = 1;
/// Of a bucket that lists counts.
const FORMAT_COUNTS: u8 = 2;
const MAC_LEN: usize = 32;

/// Authentication tag of a sealed value, its last 16 bytes.
pub(crate) type Tag = [u8; engine::AES_GCM_TAG_LEN];

/// A place that the index lists, within its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Item {
    kind: ItemKind,
    id: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum ItemKind {
    /// Record of a key; the id is the key's.
    Record,
    /// Alias; the id is the first half of the alias's MAC.
    Alias,
    /// Counts of a key's versions; the id is the key's.
    Counts,
}

impl Item {
    /// The item of a place in the store; `None` for a place that the index does not list.
    pub(crate) fn of(place: &Key) -> Option<Self> {
        if let Some(id) = layout::record_of(place) {
            return Some(Self { kind: ItemKind::Record, id: id.0.into_bytes() });
        }
        if let Some(id) = layout::counts_of(place) {
            return Some(Self { kind: ItemKind::Counts, id: id.0.into_bytes() });
        }
        layout::alias_of(place).map(|id| Self { kind: ItemKind::Alias, id })
    }

    /// Number of the bucket that lists the item.
    pub(crate) fn bucket(&self) -> u16 {
        let [first, second, ..] = self.id;
        u16::from_be_bytes([first, second]) >> 4
    }

    /// Whether the item is the counts of a key's versions.
    pub(crate) fn is_counts(&self) -> bool {
        self.kind == ItemKind::Counts
    }

    /// The key's id, if the item is the record of a key.
    pub(crate) fn record_id(&self) -> Option<crate::KeyId> {
        (self.kind == ItemKind::Record).then(|| crate::KeyId(uuid::Uuid::from_bytes(self.id)))
    }
}

/// The value that was last written at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    tag: Tag,
    /// The secret under whose key the value is sealed; 0: none.
    secret: u64,
}

impl Listed {
    /// A sealed value; `None` for one that is too short.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let secret = secret_of(value).map_or(0, |id| id.0);
        value.last_chunk().map(|tag| Self { tag: *tag, secret })
    }

    pub(crate) fn secret(&self) -> Option<SecretId> {
        (self.secret != 0).then_some(SecretId(self.secret))
    }
}

/// A part of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Number of changes of this bucket.
    pub(crate) sequence: u64,
    /// In ascending order.
    entries: Vec<(Item, Listed)>,
}

/// The fields as stored. A new field needs a new format number.
#[derive(Serialize, Deserialize)]
struct StoredBucket {
    sequence: u64,
    entries: Vec<(Item, Listed)>,
}

impl Bucket {
    /// The bucket that is written after this one, before its changes.
    pub(crate) fn successor(&self) -> Self {
        Self { sequence: self.sequence.saturating_add(1), entries: self.entries.clone() }
    }

    /// The value that was last written at the item's place.
    pub(crate) fn listed(&self, item: &Item) -> Option<&Listed> {
        let at = self.entries.binary_search_by(|(listed, _)| listed.cmp(item)).ok()?;
        self.entries.get(at).map(|(_, value)| value)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &(Item, Listed)> {
        self.entries.iter()
    }

    /// Lists a value, or none any more.
    pub(crate) fn set(&mut self, item: Item, value: Option<Listed>) {
        match (self.entries.binary_search_by(|(listed, _)| listed.cmp(&item)), value) {
            (Ok(at), Some(value)) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = value;
                }
            }
            (Ok(at), None) => drop(self.entries.remove(at)),
            (Err(at), Some(value)) => self.entries.insert(at, (item, value)),
            (Err(_), None) => {}
        }
    }

    /// Format number ‖ body ‖ HMAC-SHA-256 over place and both.
    pub(crate) fn encode(&self, place: &Key, keys: &InstanceKeys) -> Vec<u8> {
        let stored = StoredBucket { sequence: self.sequence, entries: self.entries.clone() };
        let format = if self.lists_counts() { FORMAT_COUNTS } else { FORMAT };
        let mut value = [&[format][..], &encode(&stored)].concat();
        let tag = keys.header_tag(place, &value);
        value.extend_from_slice(&tag);
        value
    }

    pub(crate) fn decode(value: &[u8], place: &Key, keys: &InstanceKeys) -> Result<Self, RecordError> {
        let (body, tag) = value.split_last_chunk::<MAC_LEN>().ok_or(RecordError::Malformed)?;
        let (&format, fields) = body.split_first().ok_or(RecordError::Malformed)?;
        if ![FORMAT, FORMAT_COUNTS].contains(&format) {
            return Err(RecordError::Format { found: format, expected: FORMAT_COUNTS });
        }
        if !keys.header_is_authentic(place, body, tag) {
            return Err(RecordError::Forged);
        }
        let StoredBucket { sequence, entries } = decode(fields)?;
        Ok(Self { sequence, entries })
    }

    /// The sequence that a stored bucket claims to have, without its authentication; `None` if it does not decode.
    pub(crate) fn claimed_sequence(value: &[u8]) -> Option<u64> {
        let (body, _) = value.split_last_chunk::<MAC_LEN>()?;
        let (&format, fields) = body.split_first()?;
        if ![FORMAT, FORMAT_COUNTS].contains(&format) {
            return None;
        }
        decode::<StoredBucket>(fields).ok().map(|stored| stored.sequence)
    }

    fn lists_counts(&self) -> bool {
        self.entries.iter().any(|(item, _)| item.is_counts())
    }

    /// Checks the value that was read at the item's place.
    pub(crate) fn check(&self, item: &Item, value: Option<&Bytes>) -> Result<(), RecordError> {
        match (self.listed(item), value.map(|value| Listed::of(value))) {
            (None, None) => Ok(()),
            (Some(listed), Some(Some(found))) if *listed == found => Ok(()),
            (Some(_), Some(_)) => Err(RecordError::Older),
            (Some(_), None) => Err(RecordError::Missing),
            (None, Some(_)) => Err(RecordError::PutBack),
        }
    }
}

/// Place and number of a bucket in the store.
pub(crate) fn place(instance: InstanceId, bucket: u16) -> Key {
    layout::index(instance, bucket)
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Item, Listed};
    use crate::seal::InstanceKeys;
    use crate::{InstanceId, KeyId, RecordError, layout};
    use keystore::Key;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use unit_api::proof::InstanceSecret;
    use uuid::Uuid;

    const INSTANCE: InstanceId = InstanceId(Uuid::from_u128(7));

    fn keys() -> InstanceKeys {
        InstanceKeys::derived_from(InstanceSecret::from_slice(&[7; 32]).unwrap())
    }

    fn item(n: u128) -> Item {
        Item::of(&layout::record(INSTANCE, KeyId(Uuid::from_u128(n)))).unwrap()
    }

    /// Existing stores depend on these bytes.
    #[test]
    fn wire_a_bucket_is_the_documented_one() {
        let mut bucket = Bucket { sequence: 300, ..Bucket::default() };
        let alias = Item::of(&layout::alias(INSTANCE, &[0xab; 32])).unwrap();
        bucket.set(alias, Some(Listed { tag: [5; 16], secret: 0 }));
        bucket.set(item(3), Some(Listed { tag: [4; 16], secret: 200 }));
        let place = super::place(INSTANCE, 0xabc);
        assert_eq!(&*place.0, format!("v1/i/{INSTANCE}/x/abc").as_bytes());
        let value = bucket.encode(&place, &keys());
        let id = 3_u128.to_be_bytes();
        let entries = [&[0][..], &id, &[4; 16], &[0xc8, 1], &[1], &[0xab; 16], &[5; 16], &[0]].concat();
        let body = [&[1, 0xac, 2, 2][..], &entries].concat();
        let (found, mac) = value.split_last_chunk::<32>().unwrap();
        assert_eq!(found, body);
        assert_eq!(*mac, keys().header_tag(&place, &body));
        assert_eq!(Bucket::decode(&value, &place, &keys()).unwrap(), bucket);
    }

    #[test]
    fn a_bucket_opens_only_unchanged_at_its_place() {
        let mut bucket = Bucket::default();
        bucket.set(item(1), Some(Listed { tag: [1; 16], secret: 1 }));
        let place = super::place(INSTANCE, 0);
        let value = bucket.encode(&place, &keys());
        let moved = Bucket::decode(&value, &super::place(INSTANCE, 1), &keys());
        assert_eq!(moved.unwrap_err(), RecordError::Forged);
        for at in 0..value.len() {
            let mut bad = value.clone();
            bad[at] ^= 1;
            assert!(Bucket::decode(&bad, &place, &keys()).is_err(), "byte {at}");
            assert!(Bucket::decode(&value[..at], &place, &keys()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn only_records_and_aliases_are_listed() {
        let id = KeyId(Uuid::from_u128(0xabcd << 112));
        assert_eq!(Item::of(&layout::record(INSTANCE, id)).unwrap().bucket(), 0xabc);
        assert_eq!(item(9).record_id(), Some(KeyId(Uuid::from_u128(9))));
        let alias = Item::of(&layout::alias(INSTANCE, &[0x12; 32])).unwrap();
        assert_eq!((alias.bucket(), alias.record_id()), (0x121, None));
        let others = [
            layout::header(INSTANCE),
            layout::journal(INSTANCE),
            layout::blob(INSTANCE, id, id.first_version()),
            layout::index(INSTANCE, 5),
            layout::meta(),
            Key::from(*b"v1/i/"),
        ];
        for place in others {
            assert_eq!(Item::of(&place), None, "{place:?}");
        }
    }

    proptest! {
        #[test]
        fn prop_a_bucket_is_a_map(
            changes in prop::collection::vec((0..8_u128, prop::option::of(0..4_u8)), 0..40),
        ) {
            let (mut bucket, mut model) = (Bucket::default(), BTreeMap::new());
            for (id, tag) in changes {
                let value = tag.map(|tag| Listed { tag: [tag; 16], secret: u64::from(tag) });
                bucket.set(item(id), value);
                match value {
                    Some(value) => model.insert(item(id), value),
                    None => model.remove(&item(id)),
                };
            }
            prop_assert!(bucket.entries().eq(model.clone().into_iter().collect::<Vec<_>>().iter()));
            for id in 0..8 {
                prop_assert_eq!(bucket.listed(&item(id)), model.get(&item(id)));
            }
        }

        #[test]
        fn prop_any_bytes_decode_or_are_refused(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let keys = keys();
            let place = super::place(INSTANCE, 0);
            prop_assert!(Bucket::decode(&value, &place, &keys).is_err());
            // Also what authenticates.
            let signed = [&value[..], &keys.header_tag(&place, &value)].concat();
            let _ = Bucket::decode(&signed, &place, &keys);
        }
    }
}
