//! Checking that everything of an instance opens, as after a test restore.

use keystore::{Keystore, MAX_KEYS_PER_READ};

use super::freshness::PagedRecord;
use super::{Kms, invalid, open_blob};
use crate::call::TimeBudget;
use crate::record::Lifecycle;
use crate::{Call, KmsError, RecordError, Units, VersionId, ask, layout};

/// Keys that a unit has to open.
const OPENED_BY_UNITS: u64 = 3;

/// What [`Kms::check_instance`] has opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedInstance {
    /// Records of keys.
    pub keys: u64,
    /// Key versions, each with its blob record.
    pub versions: u64,
    /// Versions whose key a crypto unit has opened.
    pub opened_by_units: u64,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Opens every record of an instance, checks it against the index, and has units open the keys of some versions. Changes
    /// nothing and uses no key.
    ///
    /// # Errors
    /// [`KmsError::RecordInvalid`] for the first record that is missing or does not open.
    pub async fn check_instance(&self, call: &Call<'_>) -> Result<CheckedInstance, KmsError> {
        let before = self.before_scan(call.instance);
        let view = self.view(call, TimeBudget::new(call.deadline), &[]).await?;
        let mut range = layout::records(call.instance);
        let mut checked = CheckedInstance::default();
        loop {
            // For each page: the whole may take longer than one call.
            let budget = TimeBudget::new(call.deadline);
            let page =
                self.record_page(call, budget, (&view.instance, view.at), range.clone(), &before).await?;
            for PagedRecord { id, record, own, .. } in page.records {
                checked.keys += 1;
                if matches!(record.lifecycle, Lifecycle::Purging) {
                    continue;
                }
                let versions: Vec<VersionId> = record.versions.iter().map(|version| version.id()).collect();
                for versions in versions.chunks(MAX_KEYS_PER_READ) {
                    let names: Vec<_> =
                        versions.iter().map(|version| layout::blob(call.instance, id, *version)).collect();
                    let fresh = keystore::Freshness::Linearizable;
                    let found = self.store().get(&names, fresh, budget.for_store()?).await?;
                    for (name, entry) in names.iter().zip(found.entries) {
                        let entry = entry.ok_or_else(|| invalid(name, RecordError::Missing))?;
                        let blob = open_blob(&own, &entry)?;
                        checked.versions += 1;
                        if checked.opened_by_units < OPENED_BY_UNITS {
                            let key = view.instance.header.serving(&blob.blobs);
                            // Any text does: what counts is whether the unit opens the key.
                            let nothing = [0; engine::AES_GCM_TAG_LEN];
                            let iv = [0; engine::AES_GCM_IV_LEN];
                            ask::decrypt(self.units(), key, iv, b"hsm-sim check v1", &nothing, budget)
                                .await?;
                            checked.opened_by_units += 1;
                        }
                    }
                }
            }
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(checked),
            }
        }
    }
}
