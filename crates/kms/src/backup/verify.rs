//! Verifying a whole backup, without a store.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use keystore::{Key, SecretId};

use super::writer::range_of;
use super::{BackupError, BackupReader};
use crate::index::Bucket;
use crate::replica::EntryHash;
use crate::{InstanceHeader, InstanceMark, layout};

/// What a verified backup has.
#[derive(Debug)]
pub struct Verified {
    /// The header of the instance, whose tag is checked when it is restored.
    pub(super) header: (Key, keystore::Bytes),
    /// Secrets of keys.
    pub secrets: BTreeSet<SecretId>,
    /// Keys that were purged while the backup was being made: they have no secret, and do not come back.
    pub without_secret: u64,
}

impl<R: Read + Seek> BackupReader<R> {
    /// Reads the whole body, and goes back to its beginning. It has to be complete, of one instance, and what the header says.
    ///
    /// # Errors
    /// [`BackupError`].
    ///
    /// # Panics
    /// Before [`Self::unlock`].
    pub fn verify(&mut self) -> Result<Verified, BackupError> {
        self.rewind()?;
        let instance = self.header().instance;
        let (range, place) = (range_of(instance), layout::header(instance));
        let (mut hash, mut from, mut keys) = (EntryHash::default(), range.start, 0);
        let (mut header, mut secrets, mut without_secret, mut sequences) = (None, BTreeSet::new(), 0, 0_u64);
        while let Some(page) = self.next_page()? {
            if page.from != from || page.until <= page.from || page.until > range.end {
                return Err(BackupError::Content { what: "its parts do not follow each other" });
            }
            for entry in &page.entries {
                hash.add(&entry.key, &entry.value);
                keys += u64::from(layout::record_of(&entry.key).is_some());
                if entry.key == place {
                    header = Some((entry.key.clone(), entry.value.clone()));
                }
                if layout::bucket_of(&entry.key).is_some() {
                    sequences = sequences.saturating_add(Bucket::claimed_sequence(&entry.value).unwrap_or(0));
                }
            }
            for named in &page.secrets {
                match named.secret {
                    Some(_) => drop(secrets.insert(named.id)),
                    None => without_secret += 1,
                }
            }
            from = page.until;
        }
        if from != range.end {
            return Err(BackupError::Content { what: "its parts do not cover the instance" });
        }
        let (expected, found) = (self.header(), hash.finish());
        if (found.entries, found.sha256, keys) != (expected.entries, expected.sha256, expected.keys) {
            return Err(BackupError::Content { what: "the digest or the number of entries" });
        }
        let header = header.ok_or(BackupError::Content { what: "the instance has no header" })?;
        let mark = mark_of(&header.1, sequences)?;
        if mark != expected.mark {
            return Err(BackupError::Content { what: "how far the instance had come" });
        }
        self.rewind()?;
        Ok(Verified { header, secrets, without_secret })
    }
}

/// How far an instance has come, by the value of its header and the sum of the sequences of its buckets. Not authenticated.
pub(super) fn mark_of(header: &[u8], sequences: u64) -> Result<InstanceMark, BackupError> {
    let (header, ..) = InstanceHeader::decode(header)
        .map_err(|source| BackupError::Record { key: "hdr".to_owned(), source })?;
    let generation = header.generation.unwrap_or_default();
    let changes = generation.number.saturating_add(sequences);
    Ok(InstanceMark { born: generation.born, epoch: header.epoch, changes })
}
