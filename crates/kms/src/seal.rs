//! The instance secret, the keys derived from it, and records sealed under them.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use engine::{AES_GCM_IV_LEN, AES_GCM_TAG_LEN, declassify};
use hmac::{Hmac, Mac};
use keystore::{Key, Secret, SecretId};
use rand_core::TryCryptoRng;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use unit_api::proof::InstanceSecret;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::rng::random_array;
use crate::{RandomFailed, RecordError};

/// First byte of a value under a key of the instance: an alias, and of earlier versions a record or a blob record. Another
/// layout needs the next number.
const FORMAT: u8 = 1;
/// Of earlier versions, a blob record with more than one blob.
const FORMAT_BLOBS: u8 = 2;
/// A record under the key of its key.
const FORMAT_OWN_RECORD: u8 = 3;
/// A blob record under the key of its key.
const FORMAT_OWN_BLOB: u8 = 4;
/// The same with more than one blob.
const FORMAT_OWN_BLOBS: u8 = 5;
/// The counts of a key's versions, under the key of the key.
const FORMAT_OWN_COUNTS: u8 = 6;
/// The newest format of records.
pub(crate) const NEWEST: u8 = FORMAT_OWN_COUNTS;
/// Associated data of the sealed keys of names.
const NAMES_LABEL: &[u8] = b"hsm-sim name keys v1";
/// Associated data of the sealed previous secret.
const PREVIOUS_LABEL: &[u8] = b"hsm-sim previous secret v1";
/// Length of a secret's identifier.
const ID_LEN: usize = 8;

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
    own: MacKey,
    handover: Aes256Gcm,
}

/// The key of one key's records. It derives from the instance secret and from a secret of the store that is erased when the
/// key is purged, so that no copy of the records opens any more.
pub(crate) struct OwnKey {
    id: SecretId,
    cipher: Aes256Gcm,
    /// From the previous instance secret, as long as values are still under it.
    previous: Option<Aes256Gcm>,
}

impl OwnKey {
    pub(crate) const fn id(&self) -> SecretId {
        self.id
    }
}

/// The name alone.
impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKey")
    }
}

/// What an instance secret takes over from the one before it. Sealed; stored in the header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// The keys of aliases and names, which stay those of the first secret: places in the store depend on them.
    names: Vec<u8>,
    /// The previous secret, as long as values are still under it.
    previous: Option<Vec<u8>>,
}

impl Handover {
    pub(crate) const fn has_previous(&self) -> bool {
        self.previous.is_some()
    }

    /// The handover when nothing is under the previous secret any more.
    pub(crate) fn without_previous(&self) -> Self {
        Self { names: self.names.clone(), previous: None }
    }
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
    /// The counts of a key's versions, which are under the key of the key only.
    Counts,
}

impl Sealed {
    const fn format(self) -> u8 {
        match self {
            Self::Record | Self::Blob => FORMAT,
            Self::Blobs => FORMAT_BLOBS,
            Self::Counts => FORMAT_OWN_COUNTS,
        }
    }

    /// Format number under the key of a key.
    const fn own_format(self) -> u8 {
        match self {
            Self::Record => FORMAT_OWN_RECORD,
            Self::Blob => FORMAT_OWN_BLOB,
            Self::Blobs => FORMAT_OWN_BLOBS,
            Self::Counts => FORMAT_OWN_COUNTS,
        }
    }

    /// Kind of a blob record by its first byte; opening it checks the rest.
    pub(crate) fn of_blob(sealed: &[u8]) -> Self {
        match sealed.first() {
            Some(&(FORMAT_BLOBS | FORMAT_OWN_BLOBS)) => Self::Blobs,
            _ => Self::Blob,
        }
    }

    /// The associated data of the record at its place; it does not contain the number of the first format.
    fn aad(self, place: &Key) -> Vec<u8> {
        match self {
            Self::Record | Self::Blob | Self::Counts => place.0.to_vec(),
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
            own: derive(secret, b"hsm-sim own keys key v1"),
            handover: cipher(b"hsm-sim handover key v1"),
        }
    }

    /// The key of the key that has this secret, which also opens what is under the previous instance secret.
    pub(crate) fn own_key(&self, previous: Option<&Self>, id: SecretId, secret: &Secret) -> OwnKey {
        let previous = previous.map(|keys| keys.own_key_of(id, secret.expose()).cipher);
        OwnKey { previous, ..self.own_key_of(id, secret.expose()) }
    }

    /// Seals what a new instance secret takes over from the keys of the previous one.
    pub(crate) fn hand_over(
        &self,
        from: &Self,
        previous: InstanceSecret<'_>,
        rng: &mut impl TryCryptoRng,
    ) -> Result<Handover, RandomFailed> {
        let names = Zeroizing::new([&from.aliases.0[..], &from.names.0[..]].concat());
        let names = seal_with(&self.handover, &[], NAMES_LABEL, &names, rng)?;
        let previous = seal_with(&self.handover, &[], PREVIOUS_LABEL, previous.expose(), rng)?;
        Ok(Handover { names, previous: Some(previous) })
    }

    /// Takes the keys of names over from the first instance secret. Returns the other keys of the previous one, as long as
    /// values are still under it.
    pub(crate) fn take_over(&mut self, handover: &Handover) -> Result<Option<Self>, RecordError> {
        let names = open_with(&self.handover, NAMES_LABEL, &handover.names)?;
        let (aliases, names) = names.split_first_chunk::<32>().ok_or(RecordError::Malformed)?;
        self.aliases.0.copy_from_slice(aliases);
        self.names.0.copy_from_slice(names.first_chunk::<32>().ok_or(RecordError::Malformed)?);
        let Some(previous) = &handover.previous else { return Ok(None) };
        let previous = open_with(&self.handover, PREVIOUS_LABEL, previous)?;
        let secret = InstanceSecret::from_slice(&previous).ok_or(RecordError::Malformed)?;
        Ok(Some(Self::derived_from(secret)))
    }

    pub(crate) fn own_key_of(&self, id: SecretId, secret: &[u8; keystore::SECRET_LEN]) -> OwnKey {
        let mut out = self.own.mac(&[&id.0.to_be_bytes(), secret]).finalize().into_bytes();
        let mut key = MacKey(Box::new([0; 32]));
        key.0.copy_from_slice(&out);
        out.zeroize();
        OwnKey { id, cipher: Aes256Gcm::new((&*key.0).into()), previous: None }
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
            Sealed::Record | Sealed::Counts => &self.records,
            Sealed::Blob | Sealed::Blobs => &self.blobs,
        }
    }

    /// Seals a value for its place under a key of the instance: format number ‖ IV ‖ ciphertext ‖ tag.
    ///
    /// The IV is random, so that one key seals at most 2^32 values (SP 800-38D §8.3).
    pub(crate) fn seal(
        &self,
        kind: Sealed,
        place: &Key,
        plain: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Vec<u8>, RandomFailed> {
        seal_with(self.cipher(kind), &[kind.format()], &kind.aad(place), plain, rng)
    }

    /// Opens a value that was sealed for this place.
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
        open_with(self.cipher(kind), &kind.aad(place), rest)
    }
}

impl OwnKey {
    /// Seals a value for its place: format number ‖ id of the secret ‖ IV ‖ ciphertext ‖ tag.
    pub(crate) fn seal(
        &self,
        kind: Sealed,
        place: &Key,
        plain: &[u8],
        rng: &mut impl TryCryptoRng,
    ) -> Result<Vec<u8>, RandomFailed> {
        let mut front = [0; 1 + ID_LEN];
        let id = self.id.0.to_be_bytes();
        front.iter_mut().zip([kind.own_format()].into_iter().chain(id)).for_each(|(to, from)| *to = from);
        seal_with(&self.cipher, &front, &[&place.0, &front[..]].concat(), plain, rng)
    }

    /// Opens a value that was sealed for this place.
    pub(crate) fn open(
        &self,
        kind: Sealed,
        place: &Key,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        let (front, rest) = sealed.split_first_chunk::<{ 1 + ID_LEN }>().ok_or(RecordError::Malformed)?;
        let [format, ..] = *front;
        if format != kind.own_format() {
            return Err(RecordError::Format { found: format, expected: kind.own_format() });
        }
        if secret_of(sealed) != Some(self.id) {
            return Err(RecordError::Forged);
        }
        let aad = [&place.0, &front[..]].concat();
        match (open_with(&self.cipher, &aad, rest), &self.previous) {
            (Err(RecordError::Forged), Some(previous)) => open_with(previous, &aad, rest),
            (opened, _) => opened,
        }
    }
}

/// The secret under whose key a value is sealed; `None` for a value under a key of the instance.
pub(crate) fn secret_of(sealed: &[u8]) -> Option<SecretId> {
    match sealed.split_first_chunk()? {
        ([FORMAT_OWN_RECORD | FORMAT_OWN_BLOB | FORMAT_OWN_BLOBS | FORMAT_OWN_COUNTS], rest) => {
            rest.first_chunk().map(|id| SecretId(u64::from_be_bytes(*id)))
        }
        _ => None,
    }
}

/// `front` ‖ IV ‖ ciphertext ‖ tag.
fn seal_with(
    cipher: &Aes256Gcm,
    front: &[u8],
    aad: &[u8],
    plain: &[u8],
    rng: &mut impl TryCryptoRng,
) -> Result<Vec<u8>, RandomFailed> {
    let iv: [u8; AES_GCM_IV_LEN] = random_array(rng)?;
    let mut sealed = Vec::with_capacity(front.len() + AES_GCM_IV_LEN + plain.len() + AES_GCM_TAG_LEN);
    sealed.extend_from_slice(front);
    sealed.extend_from_slice(&iv);
    sealed.extend_from_slice(plain);
    let (_, body) = sealed.split_at_mut(front.len() + AES_GCM_IV_LEN);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(iv), aad, body.into())
        .expect("GCM refuses only what is longer than 64 GiB");
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens IV ‖ ciphertext ‖ tag.
fn open_with(cipher: &Aes256Gcm, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, RecordError> {
    let (iv, rest) = sealed.split_first_chunk::<AES_GCM_IV_LEN>().ok_or(RecordError::Malformed)?;
    let (body, tag) = rest.split_last_chunk::<AES_GCM_TAG_LEN>().ok_or(RecordError::Malformed)?;
    let mut plain = Zeroizing::new(body.to_vec());
    let opened = cipher.decrypt_inout_detached(
        &Nonce::from(*iv),
        aad,
        plain.as_mut_slice().into(),
        &aes_gcm::Tag::from(*tag),
    );
    // Callers are told. Declassified, so that it makes no difference how often the compiler asks for it.
    if declassify(Choice::from(u8::from(opened.is_ok()))) { Ok(plain) } else { Err(RecordError::Forged) }
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

    /// Existing stores depend on these bytes.
    #[test]
    fn wire_a_value_under_its_own_key_is_the_documented_one() {
        use aes_gcm::aead::{Aead, KeyInit, Payload};
        use hmac::{Hmac, Mac};
        let mac = |key: &[u8], message: &[u8]| -> [u8; 32] {
            let mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(key).unwrap();
            mac.chain_update(message).finalize().into_bytes().into()
        };
        let (id, secret) = ([0, 0, 0, 1, 0, 0, 0, 2], [0x33; 32]);
        let list = [&[0, 0, 0, 0, 0, 0, 0, 8][..], &id, &[0, 0, 0, 0, 0, 0, 0, 32], &secret].concat();
        let key = mac(&mac(&[7; 32], b"hsm-sim own keys key v1"), &list);
        let front = [&[3][..], &id].concat();
        let aad = [&b"v1/a"[..], &front].concat();
        let cipher = aes_gcm::Aes256Gcm::new(&key.into());
        let body = cipher.encrypt(&[5; 12].into(), Payload { msg: b"a name", aad: &aad }).unwrap();
        let value = [&front[..], &[5; 12], &body].concat();

        let own = own_key(&keys(), &secret);
        assert_eq!(super::secret_of(&value), Some(own.id()));
        let place = Key::from(*b"v1/a");
        assert_eq!(&**own.open(Sealed::Record, &place, &value).unwrap(), b"a name");
        let sealed = own.seal(Sealed::Record, &place, b"a name", &mut SysRng).unwrap();
        assert_eq!((sealed.len(), &sealed[..9]), (value.len(), &front[..]));
        assert_eq!(&**own.open(Sealed::Record, &place, &sealed).unwrap(), b"a name");
    }

    fn own_key(keys: &InstanceKeys, secret: &[u8; 32]) -> super::OwnKey {
        keys.own_key_of(keystore::SecretId(1 << 32 | 2), secret)
    }

    #[test]
    fn a_value_under_its_own_key_opens_only_unchanged_and_as_what_it_is() {
        let keys = keys();
        let (own, other) = (own_key(&keys, &[1; 32]), own_key(&keys, &[2; 32]));
        let place = Key::from(*b"v1/a");
        let sealed = own.seal(Sealed::Blob, &place, b"a blob", &mut SysRng).unwrap();
        assert_eq!(&**own.open(Sealed::of_blob(&sealed), &place, &sealed).unwrap(), b"a blob");
        assert_eq!(other.open(Sealed::Blob, &place, &sealed).unwrap_err(), RecordError::Forged);
        assert!(keys.open(Sealed::Blob, &place, &sealed).is_err());
        for i in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[i] ^= 1;
            for kind in [Sealed::Blob, Sealed::Blobs, Sealed::Record] {
                assert!(own.open(kind, &place, &bad).is_err(), "byte {i}");
            }
            assert!(own.open(Sealed::Blob, &place, &sealed[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn lists_that_split_the_same_text_differently_have_different_names() {
        let keys = keys();
        assert_ne!(keys.name(&[b"ab", b"c"]), keys.name(&[b"a", b"bc"]));
        assert_ne!(keys.name(&[b"ab"]), keys.name(&[b"ab", b""]));
    }
}
