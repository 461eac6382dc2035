//! The secrets that values name.

use std::collections::BTreeMap;

use keystore::{Bytes, Key, SecretId, SecretOwner};

use crate::layout;
use crate::seal::secret_of;
use crate::service::secret_owner;

/// The secret that the record of a key names. Its blob records name the same one.
pub(super) fn secret_named(key: &Key, value: &[u8]) -> Option<(SecretId, SecretOwner)> {
    layout::record_of(key)?;
    Some((secret_of(value)?, secret_owner(layout::instance_of(key)?)))
}

/// The secrets that the records of keys among these entries name.
pub(crate) fn secrets_named<'a>(
    entries: impl Iterator<Item = (&'a Key, &'a Bytes)>,
) -> BTreeMap<SecretId, SecretOwner> {
    entries.filter_map(|(key, value)| secret_named(key, value)).collect()
}
