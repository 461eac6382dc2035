//! Key bytes in this process's memory: every place where a token leaves no other way, and no other place.
//!
//! | why | what | for how long |
//! |---|---|---|
//! | no token XORs keys that came sealed for the unit | the sum of the key parts ([`combine`]) | until the object is made |
//! | most tokens have no SP 800-108 | keys derived from a master key (`derive.rs`) | until the object is made |
//! | some tokens pad wrongly (RFC 5649), or take no short HMAC keys | generic secrets of such lengths (`secrets.rs`) | the call |
//! | a recovery unit's master key goes to another unit | that key ([`read`]) | until it is sealed |
//!
//! The bytes lie in [`Clear`]: on the heap, locked into memory where the system permits it, wiped on drop.

use crate::objects::template::{Role, template};
use aes::Aes256;
use aes::cipher::KeyInit;
use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{EngineError, KEY_PART_LEN, KeyPart, MAX_KEY_LEN};
use region::LockGuard;
use zeroize::{Zeroize, Zeroizing};

/// Key bytes in the clear: at most [`MAX_KEY_LEN`] of them.
pub(crate) struct Clear {
    // Dropped, and so wiped, before the lock is.
    bytes: Box<Zeroizing<[u8; MAX_KEY_LEN]>>,
    len: usize,
    _lock: Option<LockGuard>,
}

impl Clear {
    /// Zeros.
    pub(crate) fn zero(len: usize) -> Self {
        let bytes = Box::new(Zeroizing::new([0; MAX_KEY_LEN]));
        // Where the system locks no more, the bytes are as safe as everything else of the process.
        let lock = region::lock(bytes.as_ptr(), MAX_KEY_LEN).ok();
        Self { bytes, len: len.min(MAX_KEY_LEN), _lock: lock }
    }

    /// A copy of the caller's bytes, which stay the caller's to wipe.
    pub(crate) fn copy(from: &[u8]) -> Self {
        let mut clear = Self::zero(from.len());
        for (to, from) in clear.expose_mut().iter_mut().zip(from) {
            *to = *from;
        }
        clear
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// The same bytes followed by zeros; bytes beyond `len` are let go of.
    pub(crate) fn resize(&mut self, len: usize) {
        self.len = len.min(MAX_KEY_LEN);
        if let Some(rest) = self.bytes.get_mut(self.len..) {
            rest.zeroize();
        }
    }
}

/// The sum of key parts.
pub(crate) fn combine(parts: &[KeyPart]) -> Clear {
    let mut sum = Clear::zero(KEY_PART_LEN);
    for part in parts {
        for (to, from) in sum.expose_mut().iter_mut().zip(part.expose()) {
            *to ^= from;
        }
    }
    sum
}

/// Makes an object with this value.
pub(crate) fn create(
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

/// The value of an extractable object, `len` bytes: wrapped in the token under a key that this process draws for it and
/// forgets, and unwrapped here. The token's own way to show a value would leave copies of it on the heap.
///
/// # Errors
/// The token's; [`EngineError::DeviceError`] when what it wrapped is no key of this length.
pub(crate) fn read(
    session: &Session,
    key: ObjectHandle,
    len: usize,
) -> Result<Result<Clear, EngineError>, Error> {
    let mut once = Clear::zero(32);
    session.generate_random_slice(once.expose_mut())?;
    let role = Role {
        wrap: true,
        allowed: vec![MechanismType::AES_KEY_WRAP, MechanismType::AES_KEY_WRAP_PAD],
        ..Role::NONE
    };
    let wrapping = create(session, template(KeyType::AES, &role, false), once.expose())?;
    // What takes only multiples of 8 bytes is the mechanism that every token has right.
    let padded = !(len >= 16 && len.is_multiple_of(8));
    let by = if padded { Mechanism::AesKeyWrapPad } else { Mechanism::AesKeyWrap };
    let wrapped = session.wrap_key(&by, wrapping, key);
    session.destroy_object(wrapping)?;
    Ok(unwrap(&once, padded, &wrapped?, len).ok_or(EngineError::DeviceError))
}

fn unwrap(once: &Clear, padded: bool, wrapped: &[u8], len: usize) -> Option<Clear> {
    let cipher = Aes256::new(<&[u8; 32]>::try_from(once.expose()).ok()?.into());
    let mut buffer = Zeroizing::new([0; MAX_KEY_LEN + 8]);
    let buffer = buffer.get_mut(..wrapped.len())?;
    buffer.copy_from_slice(wrapped);
    let unwrapped = if padded {
        key_wrap::kwp::unwrap_in_place(&cipher, buffer)
    } else {
        key_wrap::kw::unwrap_in_place(&cipher, buffer)
    };
    // A token that pads wrongly wraps the zeros too.
    let found = unwrapped.ok()?;
    let right = found == len || padded && found == len.next_multiple_of(8);
    let value = buffer.get(..len).filter(|_| right)?;
    Some(Clear::copy(value))
}

#[cfg(test)]
mod tests {
    use super::{Clear, combine};
    use engine::KeyPart;

    #[test]
    fn parts_are_summed() {
        let sum = combine(&[KeyPart::new([1; 32]), KeyPart::new([2; 32]), KeyPart::new([4; 32])]);
        assert_eq!(sum.expose(), [7; 32]);
    }

    #[test]
    fn what_is_cut_off_is_wiped() {
        let mut clear = Clear::copy(&[9; 20]);
        clear.resize(4);
        clear.resize(32);
        assert_eq!(clear.expose()[..4], [9; 4]);
        assert_eq!(clear.expose()[4..], [0; 28]);
    }
}
