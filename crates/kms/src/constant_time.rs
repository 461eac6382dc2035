//! Sealing and opening of stored values, for the constant-time gate. Not part of the API.

use keystore::{Key, SECRET_LEN, SecretId};
use rand_core::TryCryptoRng;
use unit_api::proof::InstanceSecret;
use uuid::Uuid;

use crate::seal::{InstanceKeys, OwnKey, Sealed};
use crate::{InstanceId, KeyId, RandomFailed, RecordError, layout};

const INSTANCE: InstanceId = InstanceId(Uuid::from_u128(7));
const KEY: KeyId = KeyId(Uuid::from_u128(9));

/// The keys of an instance and of one key in it.
pub struct Keys {
    instance: InstanceKeys,
    own: OwnKey,
    record: Key,
    header: Key,
}

impl Keys {
    /// The keys that derive from an instance secret and from the secret of a key; the caller zeroizes its copies.
    #[must_use]
    pub fn derived_from(instance: InstanceSecret<'_>, own: &[u8; SECRET_LEN]) -> Self {
        let instance = InstanceKeys::derived_from(instance);
        let own = instance.own_key_of(SecretId(1), own);
        Self { instance, own, record: layout::record(INSTANCE, KEY), header: layout::header(INSTANCE) }
    }

    /// Seals the record of the key.
    ///
    /// # Errors
    /// The generator failed.
    pub fn seal_record(&self, plain: &[u8], rng: &mut impl TryCryptoRng) -> Result<Vec<u8>, RandomFailed> {
        self.own.seal(Sealed::Record, &self.record, plain, rng)
    }

    /// Whether a sealed record of the key opens.
    ///
    /// # Errors
    /// As for a record that is read.
    pub fn open_record(&self, sealed: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, RecordError> {
        self.own.open(Sealed::Record, &self.record, sealed)
    }

    /// The tag of the instance's header.
    #[must_use]
    pub fn header_tag(&self, body: &[u8]) -> [u8; 32] {
        self.instance.header_tag(&self.header, body)
    }

    /// Whether the header of the instance is authentic.
    #[must_use]
    pub fn header_is_authentic(&self, body: &[u8], tag: &[u8; 32]) -> bool {
        self.instance.header_is_authentic(&self.header, body, tag)
    }
}
