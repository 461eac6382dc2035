//! The names of records in the store.
//!
//! | key | value |
//! |---|---|
//! | `v1/meta` | [`StoreMeta`](crate::StoreMeta) |
//! | `v1/i/<instance>/hdr` | [`InstanceHeader`](crate::InstanceHeader), authenticated |
//! | `v1/i/<instance>/rot` | the journal of the rotation of the master key, authenticated |
//! | `v1/i/<instance>/restore` | while the instance is being restored, [from what](crate::backup::RestoreOrder); there is no header then |
//! | `v1/i/<instance>/k/<key>` | the key's record, sealed |
//! | `v1/i/<instance>/b/<key>/<version>` | the version's key blob, while the master key is being rotated under both master keys, and a standard key's material, sealed |
//! | `v1/i/<instance>/c/<key>` | the [counts](crate::invocations) of the key's versions, sealed |
//! | `v1/i/<instance>/a/<MAC of the alias>` | the key's id, sealed |
//! | `v1/i/<instance>/x/<bucket>` | a part of the [index](crate::index), authenticated |
//! | `v1/repl/pos` | in a mirror, its [position](crate::replica) in the store that it mirrors |

use std::fmt::Write as _;
use std::ops::Range;

use keystore::Key;

use crate::replica::POSITION_ROOM;
use crate::{InstanceId, KeyId, VersionId};

/// Most keys of one transaction of the service: a mirror writes its position in the same transaction.
pub(crate) const MAX_KEYS_PER_TXN: usize = keystore::MAX_KEYS_PER_TXN - 1;
/// Most bytes of one transaction of the service, keys of conditions and writes together with values; as above.
pub(crate) const MAX_TXN_LEN: usize = keystore::MAX_TXN_LEN - POSITION_ROOM;

const META: &[u8] = b"v1/meta";
const INSTANCES: &[u8] = b"v1/i/";
/// Length of a UUID in a name.
const UUID_LEN: usize = uuid::fmt::Hyphenated::LENGTH;

fn key(text: String) -> Key {
    Key::from(text.into_bytes())
}

pub(crate) fn meta() -> Key {
    Key::from(META)
}

/// How far a mirror has come.
pub(crate) fn position() -> Key {
    Key::from(*b"v1/repl/pos")
}

/// The range of all instances.
pub(crate) fn instances() -> Range<Key> {
    Key::with_prefix(INSTANCES)
}

/// A range that contains everything that is replicated, and a little more.
pub(crate) fn replicated() -> Range<Key> {
    Key::from(INSTANCES)..Key::from([META, &[0]].concat())
}

/// Whether a mirror has this key: the store's own record, and everything of instances.
#[must_use]
pub fn is_replicated(name: &Key) -> bool {
    name.0.starts_with(INSTANCES) || *name.0 == *META
}

/// The instance to which a name belongs.
pub(crate) fn instance_of(name: &Key) -> Option<InstanceId> {
    let id: &[u8; UUID_LEN] = name.0.strip_prefix(INSTANCES)?.first_chunk()?;
    uuid::Uuid::try_parse_ascii(id).ok().map(InstanceId)
}

/// The range of an instance.
pub(crate) fn instance(instance: InstanceId) -> Range<Key> {
    Key::with_prefix(format!("v1/i/{instance}/").as_bytes())
}

pub(crate) fn header(instance: InstanceId) -> Key {
    key(format!("v1/i/{instance}/hdr"))
}

pub(crate) fn journal(instance: InstanceId) -> Key {
    key(format!("v1/i/{instance}/rot"))
}

/// From what the instance is being restored.
pub(crate) fn restore(instance: InstanceId) -> Key {
    key(format!("v1/i/{instance}/restore"))
}

pub(crate) fn record(instance: InstanceId, id: KeyId) -> Key {
    key(format!("v1/i/{instance}/k/{id}"))
}

pub(crate) fn records(instance: InstanceId) -> Range<Key> {
    Key::with_prefix(format!("v1/i/{instance}/k/").as_bytes())
}

/// The key whose record has this name.
pub(crate) fn record_of(name: &Key) -> Option<KeyId> {
    let id: &[u8; UUID_LEN] = within_instance(name)?.strip_prefix(b"/k/")?.try_into().ok()?;
    uuid::Uuid::try_parse_ascii(id).ok().map(KeyId)
}

/// First half of the MAC of the alias that has this name.
pub(crate) fn alias_of(name: &Key) -> Option<[u8; 16]> {
    let mac: &[u8; 64] = within_instance(name)?.strip_prefix(b"/a/")?.try_into().ok()?;
    let half = std::str::from_utf8(mac.first_chunk::<32>()?).ok()?;
    u128::from_str_radix(half, 16).ok().map(u128::to_be_bytes)
}

/// What follows the instance in a name.
fn within_instance(name: &Key) -> Option<&[u8]> {
    name.0.strip_prefix(INSTANCES)?.get(UUID_LEN..)
}

pub(crate) fn blob(instance: InstanceId, id: KeyId, version: VersionId) -> Key {
    key(format!("v1/i/{instance}/b/{id}/{version}"))
}

/// The counts of a key's versions.
pub(crate) fn counts(instance: InstanceId, id: KeyId) -> Key {
    key(format!("v1/i/{instance}/c/{id}"))
}

/// The key whose counts have this name.
pub(crate) fn counts_of(name: &Key) -> Option<KeyId> {
    let id: &[u8; UUID_LEN] = within_instance(name)?.strip_prefix(b"/c/")?.try_into().ok()?;
    uuid::Uuid::try_parse_ascii(id).ok().map(KeyId)
}

/// The record of the key to whose blob records this name belongs.
pub(crate) fn record_of_blob(instance: InstanceId, name: &Key) -> Option<Key> {
    let id: &[u8; UUID_LEN] = within_instance(name)?.strip_prefix(b"/b/")?.first_chunk()?;
    uuid::Uuid::try_parse_ascii(id).ok().map(|id| record(instance, KeyId(id)))
}

pub(crate) fn blobs(instance: InstanceId) -> Range<Key> {
    Key::with_prefix(format!("v1/i/{instance}/b/").as_bytes())
}

pub(crate) fn alias(instance: InstanceId, mac: &[u8; 32]) -> Key {
    let mut text = format!("v1/i/{instance}/a/");
    for byte in mac {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    key(text)
}

/// The range of all aliases.
pub(crate) fn aliases(instance: InstanceId) -> Range<Key> {
    Key::with_prefix(format!("v1/i/{instance}/a/").as_bytes())
}

/// A bucket of the index, by its number below 4096.
pub(crate) fn index(instance: InstanceId, bucket: u16) -> Key {
    key(format!("v1/i/{instance}/x/{bucket:03x}"))
}

/// The number of the bucket that has this name.
pub(crate) fn bucket_of(name: &Key) -> Option<u16> {
    let digits: &[u8; 3] = within_instance(name)?.strip_prefix(b"/x/")?.try_into().ok()?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The buckets of the index from `first` to `last`.
pub(crate) fn buckets(instance: InstanceId, first: u16, last: u16) -> Range<Key> {
    index(instance, first)..Key::with_prefix(&index(instance, last).0).end
}

/// A name as text, for messages.
pub(crate) fn show(key: &Key) -> String {
    key.0.escape_ascii().to_string()
}
