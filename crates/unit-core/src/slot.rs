//! The bytes of one slot: a sealed state with a sequence number.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `hsm-unit` |
//! | 8 | 2 | format version, big-endian: 3 |
//! | 10 | 8 | sequence number, big-endian: the newer of two slots has the higher |
//! | 18 | 4 | length of the state in bytes, big-endian |
//! | 22 | 16 | identifier of the state key |
//! | 38 | 12 | IV, random |
//! | 50 | n + 16 | the state and its tag: AES-GCM under the state key, the 50 bytes before as AAD |
//! | 66 + n | 32 | SHA-256 over all before it |
//!
//! The checksum detects an incomplete write; the tag proves that this unit wrote the state. A state whose key the engine has
//! destroyed can never be opened again. Format version 2 has no identifier: it is sealed under the engine's device key, and
//! is read.

use crate::state::{BODY_LEN, State, StoredKey, StoredState};
use engine::{
    AES_GCM_IV_LEN, AES_GCM_TAG_LEN, CipherMechanism, DigestMechanism, Engine, EngineError, KeyHandle,
    SHA256_LEN, STATE_KEY_ID_LEN, StateKeyId,
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"hsm-unit";
const FORMAT_VERSION: u16 = 3;
const HEADER_LEN: usize = 50;
const EARLIER_VERSION: u16 = 2;
const EARLIER_HEADER_LEN: usize = HEADER_LEN - STATE_KEY_ID_LEN;
const SEALED_LEN: usize = BODY_LEN + AES_GCM_TAG_LEN;

/// Longest content of a slot, in bytes; every content that a unit writes has this length.
pub const MAX_SLOT_LEN: usize = HEADER_LEN + SEALED_LEN + SHA256_LEN;

/// A slot's content.
pub(crate) type SlotBytes = [u8; MAX_SLOT_LEN];

/// The content of a slot.
pub(crate) enum Content<'a> {
    /// Never written.
    Empty,
    /// An incomplete write, or bytes in another format.
    Damaged,
    /// Completely written, by this unit or another one.
    Sound(SoundSlot<'a>),
}

/// A slot whose checksum is valid.
pub(crate) struct SoundSlot<'a> {
    pub(crate) sequence: u64,
    /// `None` in the earlier format: sealed under the device key.
    pub(crate) key: Option<StateKeyId>,
    header: &'a [u8],
    iv: [u8; AES_GCM_IV_LEN],
    sealed: &'a [u8],
}

pub(crate) fn header(
    sequence: u64,
    StateKeyId(key): &StateKeyId,
    iv: &[u8; AES_GCM_IV_LEN],
) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let body_len = u32::try_from(BODY_LEN).unwrap_or(u32::MAX).to_be_bytes();
    let fields: [&[u8]; 6] =
        [MAGIC, &FORMAT_VERSION.to_be_bytes(), &sequence.to_be_bytes(), &body_len, key, iv];
    for (to, from) in header.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    header
}

fn sha256<E: Engine + ?Sized>(engine: &mut E, bytes: &[u8]) -> Result<[u8; SHA256_LEN], EngineError> {
    let mut digest = [0; SHA256_LEN];
    engine.digest(DigestMechanism::Sha256, bytes, &mut digest)?;
    Ok(digest)
}

/// Writes a state, sealed under this state key, with this sequence number.
pub(crate) fn seal<E: Engine + ?Sized>(
    engine: &mut E,
    state: &State,
    sequence: u64,
    key: &StateKeyId,
    bytes: &mut SlotBytes,
) -> Result<(), EngineError> {
    let mut iv = [0; AES_GCM_IV_LEN];
    engine.random(&mut iv)?;
    let header = header(sequence, key, &iv);
    let (authenticated, check) = bytes.split_last_chunk_mut().ok_or(EngineError::DeviceError)?;
    let (head, sealed) = authenticated.split_first_chunk_mut().ok_or(EngineError::DeviceError)?;
    *head = header;
    let mut body = Zeroizing::new([0; BODY_LEN]);
    state.encode(&mut body);
    let key = engine.state_key(key)?;
    let by = CipherMechanism::AesGcm { iv: &iv, aad: &header };
    if engine.encrypt(by, key, &*body, sealed)? != SEALED_LEN {
        return Err(EngineError::DeviceError);
    }
    *check = sha256(engine, authenticated)?;
    Ok(())
}

/// Classifies the content of a slot without opening its state.
pub(crate) fn inspect<'a, E: Engine + ?Sized>(
    engine: &mut E,
    content: &'a [u8],
) -> Result<Content<'a>, EngineError> {
    if content.is_empty() {
        return Ok(Content::Empty);
    }
    let Some((authenticated, check)) = split(content) else { return Ok(Content::Damaged) };
    if sha256(engine, authenticated)? != *check {
        return Ok(Content::Damaged);
    }
    Ok(parse(authenticated).map_or(Content::Damaged, Content::Sound))
}

fn split(content: &[u8]) -> Option<(&[u8], &[u8; SHA256_LEN])> {
    content.split_last_chunk()
}

fn parse(authenticated: &[u8]) -> Option<SoundSlot<'_>> {
    let sealed_at = authenticated.len().checked_sub(SEALED_LEN)?;
    let (found, sealed) = authenticated.split_at_checked(sealed_at)?;
    let sequence = u64::from_be_bytes(*found.get(10..)?.first_chunk()?);
    let iv = *found.last_chunk()?;
    let key = match found.len() {
        HEADER_LEN => Some(StateKeyId(*found.get(22..)?.first_chunk()?)),
        EARLIER_HEADER_LEN => None,
        _ => return None,
    };
    let is_header = match &key {
        Some(key) => header(sequence, key, &iv) == *found,
        None => is_earlier_header(found),
    };
    is_header.then_some(SoundSlot { sequence, key, header: found, iv, sealed })
}

/// Panics if the parser takes apart what no unit wrote, or takes it apart wrongly.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_parser(content: &[u8]) {
    let Some((authenticated, _)) = split(content) else { return };
    let Some(slot) = parse(authenticated) else { return };
    assert_eq!(slot.header.len() + slot.sealed.len(), authenticated.len());
    assert_eq!(slot.sealed.len(), SEALED_LEN);
    match &slot.key {
        Some(key) => assert_eq!(slot.header, header(slot.sequence, key, &slot.iv)),
        None => assert!(is_earlier_header(slot.header)),
    }
}

/// Whether a header of the earlier format has its fixed fields.
fn is_earlier_header(found: &[u8]) -> bool {
    let body_len = u32::try_from(BODY_LEN).unwrap_or(u32::MAX).to_be_bytes();
    found.starts_with(MAGIC)
        && found.get(8..10) == Some(&EARLIER_VERSION.to_be_bytes())
        && found.get(18..22) == Some(&body_len)
}

impl SoundSlot<'_> {
    /// The handle of the key that the state is sealed under; `None` if the engine has destroyed it, or never had it.
    pub(crate) fn key<E: Engine + ?Sized>(&self, engine: &mut E) -> Result<Option<KeyHandle>, EngineError> {
        let Some(key) = &self.key else { return Ok(Some(engine.device_key())) };
        match engine.state_key(key) {
            Ok(key) => Ok(Some(key)),
            Err(EngineError::ReferenceInvalid) => Ok(None),
            Err(device) => Err(device),
        }
    }

    /// Opens the state; `None` if this unit's engine did not seal exactly these bytes, or has destroyed their key.
    pub(crate) fn open<E: Engine + ?Sized>(&self, engine: &mut E) -> Result<Option<OpenSlot>, EngineError> {
        let Some(key) = self.key(engine)? else { return Ok(None) };
        let mut body = Zeroizing::new([0; BODY_LEN]);
        let by = CipherMechanism::AesGcm { iv: &self.iv, aad: self.header };
        match engine.decrypt(by, key, self.sealed, &mut *body) {
            Ok(_) => {}
            Err(EngineError::EncryptedDataInvalid) => return Ok(None),
            Err(device) => return Err(device),
        }
        let digest = sha256(engine, &*body)?;
        Ok(StoredState::decode(&body).map(|state| OpenSlot { state, key: self.key, digest }))
    }
}

/// An opened slot.
pub(crate) struct OpenSlot {
    pub(crate) state: StoredState,
    /// The state key, unless the slot is in the earlier format.
    pub(crate) key: Option<StateKeyId>,
    digest: [u8; SHA256_LEN],
}

impl OpenSlot {
    /// Summary of a state that is no longer current.
    pub(crate) fn summary(&self) -> StateSummary {
        StateSummary { keys: self.state.keys().clone(), key: self.key, digest: self.digest }
    }
}

/// The digest of a state, and the master keys that it refers to.
pub(crate) struct StateSummary {
    pub(crate) keys: [Option<StoredKey>; 2],
    key: Option<StateKeyId>,
    digest: [u8; SHA256_LEN],
}

impl StateSummary {
    /// Whether the slot is in the earlier format.
    pub(crate) const fn is_earlier_format(&self) -> bool {
        self.key.is_none()
    }

    /// Whether this is the summary of exactly this state, under the same key.
    pub(crate) fn is_of(&self, open: &OpenSlot) -> bool {
        self.digest == open.digest && self.key == open.key
    }
}
