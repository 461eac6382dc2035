//! Backups in memory, and stores to restore them into.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use keystore::{Deadline, Freshness, Key, Keystore, MemoryStore, StoreIdentity, WallClock};
use kms::backup::{BackupReader, RestoreError, Restored, restore};
use kms::{Call, Kms, SharedRng, Units};

use super::PATIENCE;

pub(crate) type File = BackupReader<Cursor<Vec<u8>>>;

/// The whole file.
pub(crate) async fn backup<S: Keystore, U: Units>(kms: &Kms<S, U>, call: &Call<'_>) -> Vec<u8> {
    parts(kms, call).await.concat()
}

/// Head and parts.
pub(crate) async fn parts<S: Keystore, U: Units>(kms: &Kms<S, U>, call: &Call<'_>) -> Vec<Vec<u8>> {
    let mut writer = kms.begin_backup(call, "us-south").await.unwrap();
    let mut parts = Vec::new();
    while let Some(part) = writer.next().await.unwrap() {
        parts.push(part);
    }
    parts
}

pub(crate) fn store(number: u8) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(StoreIdentity([number; 16]), WallClock::system()))
}

/// Opens a file and restores it.
pub(crate) async fn restored<S: Keystore, U: Units>(
    store: &S,
    units: &U,
    file: &[u8],
) -> Result<Restored, RestoreError> {
    let mut reader: File = BackupReader::open(Cursor::new(file.to_vec()))?;
    reader.unlock(units, PATIENCE).await?;
    restore(store, units, &SharedRng::default(), &mut reader, "file", None, None, PATIENCE).await
}

/// Everything in a store.
pub(crate) async fn content<S: Keystore>(store: &S) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut range, mut at, mut content) = (Key::with_prefix(b""), None, BTreeMap::new());
    loop {
        let page =
            store.scan(range.clone(), 1000, at, Freshness::Linearizable, Deadline(PATIENCE)).await.unwrap();
        at = Some(page.at);
        content.extend(page.entries.iter().map(|entry| (entry.key.0.to_vec(), entry.value.to_vec())));
        match page.next {
            Some(next) => range.start = next,
            None => return content,
        }
    }
}
