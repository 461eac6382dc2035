//! Reading keys: one, or many.

use std::cmp::Ordering;

use keystore::Keystore;

use super::create::payload_aad;
use super::freshness::PagedRecord;
use super::{Kms, invalid};
use crate::call::TimeBudget;
use crate::record::Version;
use crate::{
    Call, Key, KeyAction, KeyMetadata, KeyOrigin, KeyQuery, KeyRef, KeyVersion, KmsError, Payload,
    RecordError, SortBy, SortProperty, Units, ask, layout,
};

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Returns a key, with the material of a standard key that is not destroyed.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn get_key(&self, call: &Call<'_>, key: &KeyRef) -> Result<Key, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        self.unmoved(|| self.get_within(call, budget, key)).await
    }

    async fn get_within(&self, call: &Call<'_>, budget: TimeBudget, key: &KeyRef) -> Result<Key, KmsError> {
        let loaded = self.load(call, budget, key, |id| vec![id.first_version()]).await?;
        let metadata = self.shown(&loaded);
        if loaded.record.check(KeyAction::ReadPayload, loaded.state).is_err() {
            return Ok(Key { metadata, payload: None });
        }
        self.check_rotation_profile(&loaded.instance, "reading a standard key's material")?;
        let version = loaded.id.first_version();
        let blob = self.blob(call, budget, &loaded, version).await?;
        let place = layout::blob(call.instance, loaded.id, version);
        let sealed = blob.payload.ok_or_else(|| invalid(&place, RecordError::Malformed))?;
        let aad = payload_aad(call, loaded.id);
        let opened = ask::decrypt(
            &self.units,
            loaded.instance.header.serving(&blob.blobs),
            sealed.iv,
            &aad,
            &sealed.ciphertext,
            budget,
        )
        .await?;
        let payload = opened.ok_or_else(|| invalid(&place, RecordError::Forged))?;
        Ok(Key { metadata, payload: Some(Payload::new(payload)) })
    }

    /// Returns a key without its material.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn metadata(&self, call: &Call<'_>, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        self.metadata_within(call, TimeBudget::new(call.deadline), key).await
    }

    /// Lists the key's versions, newest first.
    ///
    /// # Errors
    /// [`KmsError::WrongState`] for a key that is not active, unless `all_states`.
    pub async fn list_versions(
        &self,
        call: &Call<'_>,
        key: &KeyRef,
        all_states: bool,
    ) -> Result<Vec<KeyVersion>, KmsError> {
        let loaded = self.load(call, TimeBudget::new(call.deadline), key, |_| Vec::new()).await?;
        if !all_states {
            loaded.record.check(KeyAction::ListVersions, loaded.state)?;
        }
        Ok(loaded.record.versions.iter().rev().map(Version::shown).collect())
    }

    /// Lists one page of the keys that match the query, all at one revision.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn list_keys(&self, call: &Call<'_>, query: &KeyQuery) -> Result<Vec<KeyMetadata>, KmsError> {
        // The store returns keys by id: without another order, nothing after the page is read.
        let enough = match query.sort.as_slice() {
            [] => query.offset.saturating_add(query.limit),
            _ => usize::MAX,
        };
        let mut keys = self.matching(call, query, enough).await?;
        keys.sort_by(|a, b| compare(a, b, &query.sort));
        Ok(keys.into_iter().skip(query.offset).take(query.limit).collect())
    }

    /// Counts the keys that match, regardless of the query's offset and limit.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn count_keys(&self, call: &Call<'_>, query: &KeyQuery) -> Result<usize, KmsError> {
        Ok(self.matching(call, query, usize::MAX).await?.len())
    }

    async fn matching(
        &self,
        call: &Call<'_>,
        query: &KeyQuery,
        enough: usize,
    ) -> Result<Vec<KeyMetadata>, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        let before = self.before_scan(call.instance);
        let view = self.view(call, budget, &[]).await?;
        let (now, timers) = (self.now(), &self.options.timers);
        let mut range = layout::records(call.instance);
        let mut keys = Vec::new();
        while keys.len() < enough {
            let page =
                self.record_page(call, budget, (&view.instance, view.at), range.clone(), &before).await?;
            for PagedRecord { id, record, .. } in page.records {
                let Some(state) = record.state(now, timers) else { continue };
                if query.states.contains(state) && query.kind.is_none_or(|kind| kind == record.kind()) {
                    keys.push(record.metadata(id, state, now, timers));
                }
            }
            match page.next {
                Some(next) => range.start = next,
                None => break,
            }
        }
        Ok(keys)
    }
}

fn compare(a: &KeyMetadata, b: &KeyMetadata, sort: &[SortBy]) -> Ordering {
    let by_property = |by: &SortBy| {
        let order = match by.property {
            SortProperty::Id => a.id.cmp(&b.id),
            SortProperty::State => a.state.cmp(&b.state),
            SortProperty::Kind => is_standard(a).cmp(&is_standard(b)),
            SortProperty::Origin => is_imported(a).cmp(&is_imported(b)),
            SortProperty::CreatedAt => a.created_at.cmp(&b.created_at),
            SortProperty::UpdatedAt => a.updated_at.cmp(&b.updated_at),
            SortProperty::RotatedAt => a.rotated_at.cmp(&b.rotated_at),
            SortProperty::DeletedAt => deleted_at(a).cmp(&deleted_at(b)),
            SortProperty::ExpiresAt => a.expires_at.cmp(&b.expires_at),
        };
        if by.descending { order.reverse() } else { order }
    };
    sort.iter().map(by_property).find(|order| order.is_ne()).unwrap_or_else(|| a.id.cmp(&b.id))
}

fn is_standard(key: &KeyMetadata) -> bool {
    key.kind == crate::KeyKind::Standard
}

fn is_imported(key: &KeyMetadata) -> bool {
    key.origin == KeyOrigin::Imported
}

fn deleted_at(key: &KeyMetadata) -> Option<jiff::Timestamp> {
    key.deletion.as_ref().map(|deletion| deletion.at)
}
