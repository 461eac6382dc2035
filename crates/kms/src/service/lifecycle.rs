//! Disable, enable, delete, restore.

use keystore::{Keystore, OpId};

use super::Kms;
use crate::record::{Lifecycle, Live};
use crate::time::Millis;
use crate::{Call, KeyAction, KeyMetadata, KeyRef, KmsError, Units};

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Suspends an active root key, which then neither wraps nor unwraps until it is enabled.
    ///
    /// # Errors
    /// [`KmsError`]; a repeat with the same `op` succeeds.
    pub async fn disable(&self, call: &Call<'_>, op: OpId, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        self.change(call, op, key, KeyAction::Disable, |record, _| {
            record.lifecycle = Lifecycle::Live(Live::Disabled);
            Ok(())
        })
        .await
    }

    /// Makes a suspended root key active, or deactivated if it has expired meanwhile.
    ///
    /// # Errors
    /// [`KmsError`], [`KmsError::TooEarly`] within 30 s of the last lifecycle action.
    pub async fn enable(&self, call: &Call<'_>, op: OpId, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        self.change(call, op, key, KeyAction::Enable, |record, now| {
            record.check_pause(KeyAction::Enable, now, &self.options.timers)?;
            record.lifecycle = Lifecycle::Live(Live::Enabled);
            Ok(())
        })
        .await
    }

    /// Destroys a key. Material and aliases are kept for a restore.
    ///
    /// # Errors
    /// [`KmsError`], [`KmsError::KeyDeleted`] when it was destroyed before.
    pub async fn delete(&self, call: &Call<'_>, op: OpId, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        self.change(call, op, key, KeyAction::Delete, |record, now| {
            if let Lifecycle::Live(was) = record.lifecycle {
                let by = call.caller.to_owned();
                record.lifecycle = Lifecycle::Destroyed { was, at: now.into(), by };
            }
            Ok(())
        })
        .await
    }

    /// Restores a destroyed key with its state, material and aliases.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::TooEarly`] within 30 s of the deletion, [`KmsError::RestoreExpired`] after 30 days,
    /// [`KmsError::KeyExpired`] once the key's expiry has passed.
    pub async fn restore(&self, call: &Call<'_>, op: OpId, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        self.change(call, op, key, KeyAction::Restore, |record, now| {
            let timers = &self.options.timers;
            record.check_pause(KeyAction::Restore, now, timers)?;
            if let Lifecycle::Destroyed { was, at, .. } = record.lifecycle {
                let until = at.after(timers.restore_within);
                if until < now.into() {
                    return Err(KmsError::RestoreExpired { until: until.timestamp() });
                }
                if let Some(expired_at) = record.expires_at.filter(|_| record.is_expired(now)) {
                    return Err(KmsError::KeyExpired { expired_at: Millis::timestamp(expired_at) });
                }
                record.lifecycle = Lifecycle::Live(was);
            }
            Ok(())
        })
        .await
    }
}
