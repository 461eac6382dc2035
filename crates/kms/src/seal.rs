//! The instance secret, the keys derived from it, and records sealed under them.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use engine::{AES_GCM_IV_LEN, AES_GCM_TAG_LEN};
use hmac::{Hmac, Mac};
use keystore::Key;
use rand_core::TryCryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use unit_api::proof::InstanceSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::rng::random_array;
use crate::{RandomFailed, RecordError};

/// First byte of every sealed record. Another layout of a record needs the next number.
const FORMAT: u8 = 1;
/// A blob record with more than one blob.
const FORMAT_BLOBS: u8 = 2;

/// A MAC key of 32 bytes, derived from the instance secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct MacKey(Box<[u8; 32]>);

/// The record keys of an instance, which a host may hold.
pub(crate) struct InstanceKeys {
    records: Aes256Gcm,
    blobs: Aes256Gcm,
    aliases: MacKey,
    names: MacKey,
    header: MacKey,
}

/// The kind of a sealed record, which decides its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sealed {
    /// The record of a key, or an alias.
    Record,
    /// A key blob.
    Blob,
    /// Key blobs under several master keys; takes the place of a [`Self::Blob`] and uses the same key.
    Blobs,
}

impl Sealed {
    const fn format(self) -> u8 {
        match self {
            Self::Record | Self::Blob => FORMAT,
            Self::Blobs => FORMAT_BLOBS,
        }
    }

    /// Format of a blob record by its first byte; opening it checks the rest.
    pub(crate) fn of_blob(sealed: &[u8]) -> Self {
        if sealed.first() == Some(&FORMAT_BLOBS) { Self::Blobs } else { Self::Blob }
    }

    /// The associated data of the record at its place; it does not contain the number of the first format.
    fn aad(self, place: &Key) -> Vec<u8> {
        match self {
            Self::Record | Self::Blob => place.0.to_vec(),
            Self::Blobs => [&place.0[..], &[FORMAT_BLOBS]].concat(),
        }
    }
}

/// Derives a key for the use that the label names, with HMAC as PRF (SP 800-108r1 §4, one block of output).
fn derive(secret: InstanceSecret<'_>, label: &[u8]) -> MacKey {
    let mut key = MacKey(Box::new([0; 32]));
    let mut out = hmac(secret.expose()).chain_update(label).finalize().into_bytes();
    key.0.copy_from_slice(&out);
    out.zeroize();
    key
}

fn hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl MacKey {
    /// The MAC of a list, in which each part is preceded by its length, so that two lists never have the same bytes.
    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = hmac(&self.0);
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl InstanceKeys {
    /// The keys that derive from an instance's secret.
    pub(crate) fn derived_from(secret: InstanceSecret<'_>) -> Self {
        let cipher = |label| Aes256Gcm::new((&*derive(secret, label).0).into());
        Self {
            records: cipher(b"hsm-sim record key v1"),
            blobs: cipher(b"hsm-sim blob record key v1"),
            aliases: derive(secret, b"hsm-sim alias key v1"),
            names: derive(secret, b"hsm-sim name key v1"),
            header: derive(secret, b"hsm-sim header key v1"),
        }
    }

    /// The place of an alias in the store.
    pub(crate) fn alias_mac(&self, alias: &str) -> [u8; 32] {
        self.aliases.mac(&[alias.as_bytes()]).finalize().into_bytes().into()
    }

    /// Name in the store that is derived from `parts` by a MAC: the same parts give the same name, and the name cannot be
    /// computed without the key.
    pub(crate) fn name(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.names.mac(parts).finalize().into_bytes().into()
    }

    pub(crate) fn header_tag(&self, place: &Key, body: &[u8]) -> [u8; 32] {
        self.header.mac(&[&place.0, body]).finalize().into_bytes().into()
    }

    pub(crate) fn header_is_authentic(&self, place: &Key, body: &[u8], tag: &[u8; 32]) -> bool {
        self.header_tag(place, body).ct_eq(tag).into()
    }

    const fn cipher(&self, kind: Sealed) -> &Aes256Gcm {
        match kind {
            Sealed::Record => &self.records,
            Sealed::Blob | Sealed::Blobs => &self.blobs,
        }
    }

    /// Seals a record for its place: format number ‖ IV ‖ ciphertext ‖ tag.
    ///
    /// The IV is random, so that one key seals at most 2^32 records (SP 800-38D §8.3).
    pub(crate) fn seal(
        &self,
        kind: Sealed,
        place: &Key,
        plain: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Vec<u8>, RandomFailed> {
        let iv: [u8; AES_GCM_IV_LEN] = random_array(rng)?;
        let mut sealed = Vec::with_capacity(1 + AES_GCM_IV_LEN + plain.len() + AES_GCM_TAG_LEN);
        sealed.push(kind.format());
        sealed.extend_from_slice(&iv);
        sealed.extend_from_slice(plain);
        let (_, body) = sealed.split_at_mut(1 + AES_GCM_IV_LEN);
        let tag = self
            .cipher(kind)
            .encrypt_inout_detached(&Nonce::from(iv), &kind.aad(place), body.into())
            .expect("GCM refuses only what is longer than 64 GiB");
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens a record that was sealed for this place.
    pub(crate) fn open(
        &self,
        kind: Sealed,
        place: &Key,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        let (&format, rest) = sealed.split_first().ok_or(RecordError::Malformed)?;
        if format != kind.format() {
            return Err(RecordError::Format { found: format, expected: kind.format() });
        }
        let (iv, rest) = rest.split_first_chunk::<AES_GCM_IV_LEN>().ok_or(RecordError::Malformed)?;
        let (body, tag) = rest.split_last_chunk::<AES_GCM_TAG_LEN>().ok_or(RecordError::Malformed)?;
        let mut plain = Zeroizing::new(body.to_vec());
        self.cipher(kind)
            .decrypt_inout_detached(
                &Nonce::from(*iv),
                &kind.aad(place),
                plain.as_mut_slice().into(),
                &aes_gcm::Tag::from(*tag),
            )
            .map_err(|_| RecordError::Forged)?;
        Ok(plain)
    }
}

/// The name alone.
impl fmt::Debug for InstanceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceKeys")
    }
}

#[cfg(test)]
mod tests {
    use super::{InstanceKeys, InstanceSecret, Sealed};
    use crate::RecordError;
    use getrandom::SysRng;
    use keystore::Key;

    fn keys() -> InstanceKeys {
        InstanceKeys::derived_from(InstanceSecret::from_slice(&[7; 32]).unwrap())
    }

    #[test]
    fn a_record_opens_only_unchanged_at_its_place_and_as_what_it_is() {
        let keys = keys();
        let place = Key::from(*b"v1/a");
        let sealed = keys.seal(Sealed::Record, &place, b"a name", &mut SysRng).unwrap();
        assert_eq!(&**keys.open(Sealed::Record, &place, &sealed).unwrap(), b"a name");
        assert_eq!(
            keys.open(Sealed::Record, &Key::from(*b"v1/b"), &sealed).unwrap_err(),
            RecordError::Forged,
            "moved"
        );
        assert_eq!(keys.open(Sealed::Blob, &place, &sealed).unwrap_err(), RecordError::Forged, "confused");
        let two = keys.seal(Sealed::Blobs, &place, b"blobs", &mut SysRng).unwrap();
        assert!(matches!(Sealed::of_blob(&two), Sealed::Blobs));
        let renumbered = [&[1][..], &two[1..]].concat();
        assert_eq!(
            keys.open(Sealed::of_blob(&renumbered), &place, &renumbered).unwrap_err(),
            RecordError::Forged
        );
        for i in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[i] ^= 1;
            assert!(keys.open(Sealed::Record, &place, &bad).is_err(), "byte {i}");
            assert!(keys.open(Sealed::Record, &place, &sealed[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn lists_that_split_the_same_text_differently_have_different_names() {
        let keys = keys();
        assert_ne!(keys.name(&[b"ab", b"c"]), keys.name(&[b"a", b"bc"]));
        assert_ne!(keys.name(&[b"ab"]), keys.name(&[b"ab", b""]));
    }
}
