//! Making a backup.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use keystore::{Deadline, Freshness, Key, Keystore, MAX_PAGE_ENTRIES, Revision};
use zeroize::Zeroizing;

use super::head::{BodyKey, Head, is_name};
use super::{BackupError, BackupHeader};
use crate::call::TimeBudget;
use crate::index::Bucket;
use crate::replica::{EntryHash, Event, SourcePosition, copy_page, yield_now};
use crate::service::Kms;
use crate::{Call, InstanceId, InstanceMark, KmsError, RecordError, Units, layout};

/// Marks the last part, in its length.
pub(super) const LAST: u32 = 1 << 31;
/// Precedes the rest of the associated data of a part.
const PART_LABEL: &[u8] = b"hsm-sim backup part v1";

/// The cipher of a backup's body, and what each part is bound to.
pub(super) struct BodyCipher {
    cipher: Aes256Gcm,
    checksum: [u8; 32],
}

impl BodyCipher {
    pub(super) fn new(key: &BodyKey, head: &Head) -> Self {
        Self { cipher: Aes256Gcm::new(key.expose().into()), checksum: head.checksum }
    }

    /// The key is used for one file, so that the number of a part makes its IV unique.
    fn iv(number: u64) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut iv = [0; 12];
        iv.iter_mut().rev().zip(number.to_be_bytes().iter().rev()).for_each(|(to, from)| *to = *from);
        iv.into()
    }

    fn aad(&self, number: u64, is_last: bool) -> Vec<u8> {
        [PART_LABEL, &self.checksum, &number.to_be_bytes(), &[u8::from(is_last)]].concat()
    }

    /// Encrypts a part where it is.
    pub(super) fn seal(&self, number: u64, is_last: bool, part: &mut Vec<u8>) {
        let aad = self.aad(number, is_last);
        self.cipher
            .encrypt_in_place(&Self::iv(number), &aad, part)
            .expect("GCM refuses only what is longer than 64 GiB");
    }

    /// Decrypts a part where it is. Returns whether it is authentic; the buffer is of no use otherwise.
    pub(super) fn open(&self, number: u64, is_last: bool, part: &mut Vec<u8>) -> bool {
        self.cipher.decrypt_in_place(&Self::iv(number), &self.aad(number, is_last), part).is_ok()
    }
}

/// Yields the bytes of a backup, a part at a time. It has no part of the instance in memory but the one that it returns.
pub struct BackupWriter<'a, S, U> {
    kms: &'a Kms<S, U>,
    deadline: Deadline,
    header: BackupHeader,
    cipher: BodyCipher,
    at: Revision,
    /// The head, until it was returned.
    head: Option<Vec<u8>>,
    /// Start of the next part; `None` after the last.
    next: Option<Key>,
    number: u64,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Begins a backup of an instance as it is now: reads it once for its digest, and has a unit encrypt the key of the file.
    ///
    /// `region` is the name of the region, up to [`MAX_REGION_LEN`](super::MAX_REGION_LEN) printable ASCII characters.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn begin_backup(
        &self,
        call: &Call<'_>,
        region: &str,
    ) -> Result<BackupWriter<'_, S, U>, BackupError> {
        if !is_name(region) {
            return Err(BackupError::RegionName);
        }
        let budget = TimeBudget::new(call.deadline);
        let open = self.open_at(call, budget).await?;
        let mut header = BackupHeader {
            instance: call.instance,
            region: region.to_owned(),
            at: SourcePosition { source: self.store().identity(), revision: open.at },
            made_at: jiff::Timestamp::from_millisecond(self.time().as_millisecond()).unwrap_or_default(),
            mark: InstanceMark { born: open.born, epoch: open.header.epoch, changes: open.number },
            keys: 0,
            entries: 0,
            sha256: [0; 32],
            pattern: open.header.pattern(),
            next_pattern: None,
            root_blob: Vec::new(),
            next_root_blob: None,
        };
        header.set_root(&open.header);
        let (mut hash, mut range) = (EntryHash::default(), layout::instance(call.instance));
        loop {
            let (fresh, deadline) = (Freshness::Linearizable, Deadline(call.deadline));
            let page =
                self.store().scan(range.clone(), MAX_PAGE_ENTRIES, Some(open.at), fresh, deadline).await?;
            for entry in &page.entries {
                hash.add(&entry.key, &entry.value);
                header.keys += u64::from(layout::record_of(&entry.key).is_some());
                if layout::bucket_of(&entry.key).is_some() {
                    let sequence =
                        Bucket::claimed_sequence(&entry.value).ok_or_else(|| damaged(&entry.key))?;
                    header.mark.changes = header.mark.changes.saturating_add(sequence);
                }
            }
            match page.next {
                Some(next) => range.start = next,
                None => break,
            }
            yield_now().await;
        }
        let digest = hash.finish();
        (header.entries, header.sha256) = (digest.entries, digest.sha256);
        let budget = TimeBudget::new(call.deadline);
        let key = BodyKey::draw(self.units(), budget).await?;
        let (head, bytes) = Head::seal(header, &key, self.units(), budget).await?;
        let cipher = BodyCipher::new(&key, &head);
        Ok(BackupWriter {
            kms: self,
            deadline: Deadline(call.deadline),
            next: Some(layout::instance(call.instance).start),
            header: head.header,
            cipher,
            at: open.at,
            head: Some(bytes),
            number: 0,
        })
    }
}

impl<S: Keystore, U: Units> BackupWriter<'_, S, U> {
    /// The header of the backup.
    #[must_use]
    pub const fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The next bytes of the file, at most about 2 MiB; `None` at its end. Nothing in them is secret.
    ///
    /// # Errors
    /// [`BackupError::Store`]. The store keeps a revision for an hour at least; a backup that takes longer fails.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let Some(from) = self.next.clone() else { return Ok(None) };
        let end = range_of(self.header.instance).end;
        let page = copy_page(self.kms.store(), self.at, from..end.clone(), self.deadline).await?;
        let is_last = page.until == end;
        let next = page.until.clone();
        let part = seal_part(&self.cipher, self.number, is_last, Event::CopyPage(page).encode());
        self.next = (!is_last).then_some(next);
        self.number += 1;
        Ok(Some(part))
    }
}

/// Length with the mark of the last part ‖ ciphertext ‖ tag.
pub(super) fn seal_part(
    cipher: &BodyCipher,
    number: u64,
    is_last: bool,
    mut plain: Zeroizing<Vec<u8>>,
) -> Vec<u8> {
    // Room for the tag, so that no copy of the plaintext is left behind.
    let mut part = Vec::with_capacity(plain.len() + engine::AES_GCM_TAG_LEN);
    part.append(&mut plain);
    cipher.seal(number, is_last, &mut part);
    let len = u32::try_from(part.len()).unwrap_or(LAST - 1) | if is_last { LAST } else { 0 };
    [&len.to_be_bytes()[..], &part].concat()
}

/// The names of an instance.
pub(super) fn range_of(instance: InstanceId) -> std::ops::Range<Key> {
    layout::instance(instance)
}

fn damaged(key: &Key) -> BackupError {
    KmsError::RecordInvalid { key: layout::show(key), why: RecordError::Malformed }.into()
}

/// The header only.
impl<S, U> std::fmt::Debug for BackupWriter<'_, S, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupWriter").field("header", &self.header).finish_non_exhaustive()
    }
}
