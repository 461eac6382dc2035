//! The bytes of one slot: a sealed state with a sequence number.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `hsm-unit` |
//! | 8 | 2 | format version, big-endian: 2 |
//! | 10 | 8 | sequence number, big-endian: the newer of two slots has the higher |
//! | 18 | 4 | length of the state in bytes, big-endian |
//! | 22 | 12 | IV, random |
//! | 34 | n + 16 | the state and its tag: AES-GCM under the engine's device key, the 34 bytes before as AAD |
//! | 50 + n | 32 | SHA-256 over all before it |
//!
//! The checksum detects an incomplete write; the tag proves that this unit wrote the state.

use crate::state::{BODY_LEN, State, StoredKey, StoredState};
use engine::{
    AES_GCM_IV_LEN, AES_GCM_TAG_LEN, CipherMechanism, DigestMechanism, Engine, EngineError, SHA256_LEN,
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"hsm-unit";
const FORMAT_VERSION: u16 = 2;
const HEADER_LEN: usize = 34;
const SEALED_LEN: usize = BODY_LEN + AES_GCM_TAG_LEN;

/// Longest content of a slot, in bytes; every content has this length at present.
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
    header: &'a [u8; HEADER_LEN],
    iv: [u8; AES_GCM_IV_LEN],
    sealed: &'a [u8],
}

fn header(sequence: u64, iv: &[u8; AES_GCM_IV_LEN]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let body_len = u32::try_from(BODY_LEN).unwrap_or(u32::MAX).to_be_bytes();
    let fields: [&[u8]; 5] = [MAGIC, &FORMAT_VERSION.to_be_bytes(), &sequence.to_be_bytes(), &body_len, iv];
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

/// Writes a state, sealed, with this sequence number.
pub(crate) fn seal<E: Engine + ?Sized>(
    engine: &mut E,
    state: &State,
    sequence: u64,
    bytes: &mut SlotBytes,
) -> Result<(), EngineError> {
    let mut iv = [0; AES_GCM_IV_LEN];
    engine.random(&mut iv)?;
    let header = header(sequence, &iv);
    let (authenticated, check) = bytes.split_last_chunk_mut().ok_or(EngineError::DeviceError)?;
    let (head, sealed) = authenticated.split_first_chunk_mut().ok_or(EngineError::DeviceError)?;
    *head = header;
    let mut body = Zeroizing::new([0; BODY_LEN]);
    state.encode(&mut body);
    let device_key = engine.device_key();
    let by = CipherMechanism::AesGcm { iv: &iv, aad: &header };
    if engine.encrypt(by, device_key, &*body, sealed)? != SEALED_LEN {
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
    <&SlotBytes>::try_from(content).ok()?.split_last_chunk()
}

fn parse(authenticated: &[u8]) -> Option<SoundSlot<'_>> {
    let (found, sealed) = authenticated.split_first_chunk::<HEADER_LEN>()?;
    let sequence = u64::from_be_bytes(*found.get(10..)?.first_chunk()?);
    let iv = *found.last_chunk()?;
    (header(sequence, &iv) == *found).then_some(SoundSlot { sequence, header: found, iv, sealed })
}

impl SoundSlot<'_> {
    /// Opens the state; `None` if this unit's engine did not seal exactly these bytes.
    pub(crate) fn open<E: Engine + ?Sized>(&self, engine: &mut E) -> Result<Option<OpenSlot>, EngineError> {
        let mut body = Zeroizing::new([0; BODY_LEN]);
        let device_key = engine.device_key();
        let by = CipherMechanism::AesGcm { iv: &self.iv, aad: self.header };
        match engine.decrypt(by, device_key, self.sealed, &mut *body) {
            Ok(_) => {}
            Err(EngineError::EncryptedDataInvalid) => return Ok(None),
            Err(device) => return Err(device),
        }
        let digest = sha256(engine, &*body)?;
        Ok(StoredState::decode(&body).map(|state| OpenSlot { state, digest }))
    }
}

/// An opened slot.
pub(crate) struct OpenSlot {
    pub(crate) state: StoredState,
    digest: [u8; SHA256_LEN],
}

impl OpenSlot {
    /// Summary of a state that is no longer current.
    pub(crate) fn summary(&self) -> StateSummary {
        StateSummary { keys: self.state.keys().clone(), digest: self.digest }
    }
}

/// The digest of a state, and the master keys that it refers to.
pub(crate) struct StateSummary {
    pub(crate) keys: [Option<StoredKey>; 2],
    digest: [u8; SHA256_LEN],
}

impl StateSummary {
    /// Whether this is the summary of exactly this state.
    pub(crate) fn is_of(&self, open: &OpenSlot) -> bool {
        self.digest == open.digest
    }
}
