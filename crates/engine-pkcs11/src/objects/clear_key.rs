//! Key bytes in this process's memory. The table is complete: nothing else in this crate handles them.
//!
//! | why | bytes | where | until |
//! |---|---|---|---|
//! | the caller imports a key | that key | `Engine::import_key` | its objects are created |
//! | key parts arrive sealed for the unit, and most tokens cannot XOR them | each part, or their XOR | `mechanisms/combination.rs` | the master key's object is created |
//! | most tokens have no SP 800-108, and none derives a padded secret | the derived key | `mechanisms/derivation.rs` | its objects are created |
//! | some tokens generate or hold no padded secret (a generic secret of another length than a multiple of 8 bytes from 16 on, or a short HMAC key) | that secret | `Engine::generate_key`, [`CallContext::create_key`](super::CallContext::create_key) | its objects are created |
//! | the same, when one is unwrapped | that secret | `mechanisms/wrapping.rs` | its objects are created |
//! | AES-KWP is done outside the token if the token lacks it or the secret is padded | the wrapped or unwrapped key | `mechanisms/wrapping.rs`, `mechanisms/kwp_blocks.rs` | the call returns |
//! | the object of a padded secret holds appended zeros that its digest must not cover | that secret | `Engine::digest_key` | the call returns |
//! | a recovery unit exports its master key for another unit | that key | `Engine::export_key_part` | the caller has sealed it |
//! | a value is read from the token wrapped under an ephemeral key | the ephemeral key | [`read`] | the call returns |
//!
//! The bytes are held in [`ClearKey`]: on the heap, locked into memory where the OS permits it, zeroized on drop. A
//! `KeyPart` is zeroized by its owner. [`create`] copies a value into an attribute and zeroizes the copy.

use super::{ObjectUsage, template};
use crate::error::CallError;
use crate::random;
use aes::Aes256;
use aes::cipher::KeyInit;
use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{EngineError, KEY_PART_LEN, KeyPart, MAX_KEY_LEN};
use zeroize::{Zeroize, Zeroizing};

/// Up to [`MAX_KEY_LEN`] key bytes in the clear. Zeroized on drop, never printed.
pub(crate) struct ClearKey {
    bytes: Box<Zeroizing<[u8; MAX_KEY_LEN]>>,
    len: usize,
}

impl ClearKey {
    /// `len` zero bytes.
    pub(crate) fn zero(len: usize) -> Self {
        let bytes = Box::new(Zeroizing::new([0; MAX_KEY_LEN]));
        // Fails once the limit on locked memory is reached. The key is then as exposed to swapping as the process. The pages
        // stay locked: locks do not add up, so that the end of this one would expose every other key in the same page.
        let _ = region::lock(bytes.as_ptr(), MAX_KEY_LEN).map(std::mem::forget);
        Self { bytes, len: len.min(MAX_KEY_LEN) }
    }

    /// A copy of `from`, which the caller has to zeroize.
    pub(crate) fn copy(from: &[u8]) -> Self {
        let mut key = Self::zero(from.len());
        for (to, from) in key.expose_mut().iter_mut().zip(from) {
            *to = *from;
        }
        key
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// Appends zeros up to `len`, or cuts the key to `len` bytes and zeroizes the rest.
    pub(crate) fn resize(&mut self, len: usize) {
        self.len = len.min(MAX_KEY_LEN);
        if let Some(rest) = self.bytes.get_mut(self.len..) {
            rest.zeroize();
        }
    }
}

/// The exclusive or of the key parts.
pub(crate) fn xor(parts: &[KeyPart]) -> ClearKey {
    let mut sum = ClearKey::zero(KEY_PART_LEN);
    for part in parts {
        for (to, from) in sum.expose_mut().iter_mut().zip(part.expose()) {
            *to ^= from;
        }
    }
    sum
}

/// Creates an object with this value.
pub(super) fn create(
    session: &Session,
    mut attributes: Vec<Attribute>,
    value: &[u8],
) -> Result<ObjectHandle, Error> {
    attributes.push(Attribute::Value(value.to_vec()));
    let created = session.create_object(&attributes);
    for attribute in &mut attributes {
        if let Attribute::Value(value) = attribute {
            value.zeroize();
        }
    }
    created
}

/// Reads the value of an extractable object of `len` bytes: the token wraps it under an ephemeral key drawn by this
/// process, which unwraps it. `C_GetAttributeValue` would leave copies of the value on the heap.
///
/// # Errors
/// The token's; [`EngineError::RandomFailed`]; [`EngineError::DeviceError`] if the token wrapped a key of another length.
pub(super) fn read(session: &Session, key: ObjectHandle, len: usize) -> Result<ClearKey, CallError> {
    let mut ephemeral = ClearKey::zero(32);
    random::fill(session, ephemeral.expose_mut())?;
    let usage = ObjectUsage {
        wrap: true,
        allowed: vec![MechanismType::AES_KEY_WRAP, MechanismType::AES_KEY_WRAP_PAD],
        ..ObjectUsage::NONE
    };
    let wrapping_key = create(session, template(KeyType::AES, &usage, false), ephemeral.expose())?;
    // AES-KW is preferred, because every token implements it correctly.
    let padded = !(len >= 16 && len.is_multiple_of(8));
    let mechanism = if padded { Ck::AesKeyWrapPad } else { Ck::AesKeyWrap };
    let wrapped = session.wrap_key(&mechanism, wrapping_key, key);
    session.destroy_object(wrapping_key)?;
    unwrap(&ephemeral, padded, &wrapped?, len).ok_or_else(|| EngineError::DeviceError.into())
}

fn unwrap(ephemeral: &ClearKey, padded: bool, wrapped: &[u8], len: usize) -> Option<ClearKey> {
    let cipher = Aes256::new(<&[u8; 32]>::try_from(ephemeral.expose()).ok()?.into());
    let mut buffer = Zeroizing::new([0; MAX_KEY_LEN + 8]);
    let buffer = buffer.get_mut(..wrapped.len())?;
    buffer.copy_from_slice(wrapped);
    let unwrapped = if padded {
        key_wrap::kwp::unwrap_in_place(&cipher, buffer)
    } else {
        key_wrap::kw::unwrap_in_place(&cipher, buffer)
    };
    // Some tokens pad the value with zeros to a multiple of 8 bytes and wrap those as part of the key.
    let found = unwrapped.ok()?;
    let is_expected = found == len || padded && found == len.next_multiple_of(8);
    let value = buffer.get(..len).filter(|_| is_expected)?;
    Some(ClearKey::copy(value))
}

#[cfg(test)]
mod tests {
    use super::{ClearKey, xor};
    use engine::KeyPart;

    #[test]
    fn key_parts_are_xored() {
        let sum = xor(&[KeyPart::new([1; 32]), KeyPart::new([2; 32]), KeyPart::new([4; 32])]);
        assert_eq!(sum.expose(), [7; 32]);
    }

    #[test]
    fn bytes_that_are_cut_off_are_zeroized() {
        let mut key = ClearKey::copy(&[9; 20]);
        key.resize(4);
        key.resize(32);
        assert_eq!(key.expose()[..4], [9; 4]);
        assert_eq!(key.expose()[4..], [0; 28]);
    }
}
