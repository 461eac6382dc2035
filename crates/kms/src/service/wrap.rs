//! Wrap, unwrap, rewrap.

use keystore::Keystore;
use tracing::debug;
use zeroize::Zeroizing;

use super::{Kms, LoadedKey};
use crate::ask;
use crate::call::TimeBudget;
use crate::ciphertext::{Ciphertext, MAX_PLAINTEXT_LEN, encode_aad};
use crate::record::Version;
use crate::variants::BlobVariants;
use crate::{
    Call, Field, FieldRule, KeyAction, KeyRef, KmsError, Plaintext, Rewrapped, Rewrapping, Units, Unwrapped,
    VersionId, Wrapped, layout,
};

/// Length of a generated data key, in bytes.
const DATA_KEY_LEN: u16 = 32;
/// Versions whose blobs are read at once when the hint names no matching version.
const BLOBS_PER_READ: usize = 32;

/// A plaintext, and the version that opened it.
struct Opened {
    plaintext: Zeroizing<Vec<u8>>,
    version: VersionId,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Wraps a plaintext of 1 byte to 32 KiB, or a new data key of 32 bytes, under the latest version.
    ///
    /// `aad` is an ordered list of entries of at most 255 characters, at most 16 KiB in all; unwrap needs exactly the same list.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn wrap<A: AsRef<str> + Sync>(
        &self,
        call: &Call<'_>,
        key: &KeyRef,
        plaintext: Option<Plaintext>,
        aad: &[A],
    ) -> Result<Wrapped, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        let aad = encode_aad(aad)?;
        if let Some(plaintext) = &plaintext {
            check_plaintext(plaintext)?;
        }
        self.unmoved(|| self.wrap_within(call, budget, key, plaintext.as_ref(), &aad)).await
    }

    async fn wrap_within(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        key: &KeyRef,
        plaintext: Option<&Plaintext>,
        aad: &[u8],
    ) -> Result<Wrapped, KmsError> {
        let loaded = self.load(call, budget, key, |id| vec![id.first_version()]).await?;
        loaded.record.check(KeyAction::Wrap, loaded.state)?;
        self.check_rotation_profile(&loaded.instance, "wrapping")?;
        let generated = match plaintext {
            Some(_) => None,
            None => Some(Plaintext::new(ask::random(&self.units, DATA_KEY_LEN, budget).await?)),
        };
        let data = plaintext.or(generated.as_ref()).map_or(&[][..], Plaintext::expose);
        let Rewrapping { ciphertext, version } =
            self.wrap_under_latest(call, budget, &loaded, data, aad).await?;
        Ok(Wrapped { ciphertext, version, generated })
    }

    /// Unwraps a ciphertext of any version of the key, or of another key with the same material. If an older version opened it,
    /// the result includes a new ciphertext under the latest version.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::CiphertextRejected`] for a ciphertext of another key, a changed ciphertext, or another `aad`.
    pub async fn unwrap<A: AsRef<str> + Sync>(
        &self,
        call: &Call<'_>,
        key: &KeyRef,
        ciphertext: &str,
        aad: &[A],
    ) -> Result<Unwrapped, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        let aad = encode_aad(aad)?;
        self.unmoved(|| self.unwrap_within(call, budget, key, ciphertext, &aad)).await
    }

    async fn unwrap_within(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        key: &KeyRef,
        ciphertext: &str,
        aad: &[u8],
    ) -> Result<Unwrapped, KmsError> {
        let (loaded, opened) =
            self.open_ciphertext(call, budget, key, KeyAction::Unwrap, ciphertext, aad).await?;
        let Opened { plaintext, version } = opened;
        let rewrapped = if version == loaded.record.latest().id() {
            None
        } else {
            self.rewrapped(call, budget, &loaded, &plaintext, aad).await?
        };
        Ok(Unwrapped { plaintext: Plaintext::new(plaintext), version, rewrapped })
    }

    /// Wraps a ciphertext of any version again under the latest version, without returning the plaintext.
    ///
    /// # Errors
    /// As [`Self::unwrap`].
    pub async fn rewrap<A: AsRef<str> + Sync>(
        &self,
        call: &Call<'_>,
        key: &KeyRef,
        ciphertext: &str,
        aad: &[A],
    ) -> Result<Rewrapped, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        let aad = encode_aad(aad)?;
        self.unmoved(|| self.rewrap_within(call, budget, key, ciphertext, &aad)).await
    }

    async fn rewrap_within(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        key: &KeyRef,
        ciphertext: &str,
        aad: &[u8],
    ) -> Result<Rewrapped, KmsError> {
        let (loaded, opened) =
            self.open_ciphertext(call, budget, key, KeyAction::Rewrap, ciphertext, aad).await?;
        let new = self.wrap_under_latest(call, budget, &loaded, &opened.plaintext, aad).await?;
        Ok(Rewrapped { version: opened.version, new })
    }

    /// A new ciphertext for an unwrap by an older version; none if it could not be counted. What was wrapped can be
    /// unwrapped as long as there is a unit.
    async fn rewrapped(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Option<Rewrapping>, KmsError> {
        match self.wrap_under_latest(call, budget, loaded, plaintext, aad).await {
            Ok(new) => Ok(Some(new)),
            Err(error @ (KmsError::Units(_) | KmsError::RecordInvalid { .. } | KmsError::KeyNotFound(_))) => {
                Err(error)
            }
            Err(error) => {
                debug!(instance = %call.instance, key = %loaded.id, error = %error,
                    "unwrapped without a new ciphertext");
                Ok(None)
            }
        }
    }

    async fn wrap_under_latest(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Rewrapping, KmsError> {
        let version = loaded.record.latest().id();
        let blob = self.blob(call, budget, loaded, version).await?;
        self.count_command(call, budget, loaded, version).await?;
        let encrypted =
            ask::encrypt(&self.units, loaded.instance.header.serving(&blob.blobs), aad, plaintext, budget)
                .await?;
        Ok(Rewrapping { ciphertext: Ciphertext::encode(&encrypted, version), version })
    }

    async fn open_ciphertext(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        key: &KeyRef,
        action: KeyAction,
        text: &str,
        aad: &[u8],
    ) -> Result<(LoadedKey, Opened), KmsError> {
        let ciphertext = Ciphertext::decode(text).map_err(KmsError::CiphertextMalformed)?;
        let likely = |id: crate::KeyId| {
            let first = id.first_version();
            std::iter::once(first).chain(ciphertext.hint.filter(|hint| *hint != first)).collect()
        };
        let loaded = self.load(call, budget, key, likely).await?;
        loaded.record.check(action, loaded.state)?;
        self.check_rotation_profile(&loaded.instance, "unwrapping")?;
        match self.try_versions(call, budget, &loaded, &ciphertext, aad).await? {
            Some(opened) => Ok((loaded, opened)),
            None => Err(KmsError::CiphertextRejected),
        }
    }

    /// Tries the version of the hint first, then the others from the latest to the oldest. The hint is not authenticated, and
    /// a ciphertext of another key with the same material has that key's hint.
    async fn try_versions(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        ciphertext: &Ciphertext,
        aad: &[u8],
    ) -> Result<Option<Opened>, KmsError> {
        let hinted = ciphertext.hint.filter(|hint| loaded.record.has_version(*hint));
        if let Some(version) = hinted {
            let blob = self.blob(call, budget, loaded, version).await?;
            if let Some(opened) = self
                .try_version(budget, loaded.instance.header.serving(&blob.blobs), version, ciphertext, aad)
                .await?
            {
                return Ok(Some(opened));
            }
        }
        let others: Vec<_> =
            loaded.record.versions.iter().rev().map(Version::id).filter(|id| Some(*id) != hinted).collect();
        for versions in others.chunks(BLOBS_PER_READ) {
            let names: Vec<_> =
                versions.iter().map(|version| layout::blob(call.instance, loaded.id, *version)).collect();
            let view = self.view(call, budget, &names).await?;
            for ((version, name), entry) in versions.iter().zip(&names).zip(view.entries) {
                let Some(entry) = entry else {
                    return Err(self.missing_blob(call, budget, loaded.id, name).await);
                };
                let blob = self.open_blob(budget, (&view.instance, view.header_at), loaded, &entry).await?;
                let key = view.instance.header.serving(&blob.blobs);
                if let Some(opened) = self.try_version(budget, key, *version, ciphertext, aad).await? {
                    return Ok(Some(opened));
                }
            }
        }
        Ok(None)
    }

    async fn try_version(
        &self,
        budget: TimeBudget,
        key: BlobVariants<'_>,
        version: VersionId,
        ciphertext: &Ciphertext,
        aad: &[u8],
    ) -> Result<Option<Opened>, KmsError> {
        let opened = ask::decrypt(&self.units, key, ciphertext.iv, aad, &ciphertext.body, budget).await?;
        Ok(opened.map(|plaintext| Opened { plaintext, version }))
    }
}

fn check_plaintext(plaintext: &Plaintext) -> Result<(), KmsError> {
    let found = plaintext.expose().len();
    if (1..=MAX_PLAINTEXT_LEN).contains(&found) {
        return Ok(());
    }
    let rule = FieldRule::Bytes { min: 1, max: MAX_PLAINTEXT_LEN, found };
    Err(KmsError::InvalidField { field: Field::Plaintext, rule })
}
