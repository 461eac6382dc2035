//! The names of records in the store.
//!
//! | key | value |
//! |---|---|
//! | `v1/meta` | [`StoreMeta`](crate::StoreMeta) |
//! | `v1/i/<instance>/hdr` | [`InstanceHeader`](crate::InstanceHeader), authenticated |
//! | `v1/i/<instance>/rot` | the journal of the rotation of the master key, authenticated |
//! | `v1/i/<instance>/k/<key>` | the key's record, sealed |
//! | `v1/i/<instance>/b/<key>/<version>` | the version's key blob, while the master key is being rotated under both master keys, and a standard key's material, sealed |
//! | `v1/i/<instance>/a/<MAC of the alias>` | the key's id, sealed |

use std::fmt::Write as _;
use std::ops::Range;

use keystore::Key;

use crate::{InstanceId, KeyId, VersionId};

fn key(text: String) -> Key {
    Key::from(text.into_bytes())
}

pub(crate) fn meta() -> Key {
    key("v1/meta".to_owned())
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

pub(crate) fn record(instance: InstanceId, id: KeyId) -> Key {
    key(format!("v1/i/{instance}/k/{id}"))
}

pub(crate) fn records(instance: InstanceId) -> Range<Key> {
    Key::with_prefix(format!("v1/i/{instance}/k/").as_bytes())
}

/// The key's id in the name of its record.
pub(crate) fn record_id(name: &Key) -> Option<KeyId> {
    let (_, id) = name.0.split_last_chunk::<{ uuid::fmt::Hyphenated::LENGTH }>()?;
    uuid::Uuid::try_parse_ascii(id).ok().map(KeyId)
}

pub(crate) fn blob(instance: InstanceId, id: KeyId, version: VersionId) -> Key {
    key(format!("v1/i/{instance}/b/{id}/{version}"))
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

/// A name as text, for messages.
pub(crate) fn show(key: &Key) -> String {
    key.0.escape_ascii().to_string()
}
