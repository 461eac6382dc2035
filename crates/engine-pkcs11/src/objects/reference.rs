//! References to stored keys, and the identifiers of their objects.
//!
//! ```text
//! reference   format (1) ‖ algorithm (1) ‖ flags (1) ‖ key length (1) ‖ uses (4) ‖ nonce (16)
//! flags       bit 0: extractable; bits 1–2: number of the key's origin
//! CKA_ID      16 bytes for the key (zero for the device key) ‖ 16 bytes for its derivation
//! derivation  zero for the key itself, else the first 16 bytes of SHA-256 over label, context and specification, with
//!             bit 0 of the last byte cleared; that bit is set for the secondary object of a key
//! ```
//!
//! A reference needs no authentication: the identifier is a digest over the reference and the unit's name, so that a
//! modified reference, or one of another unit, identifies no object.

use super::KeyOrigin;
use engine::{Algorithm, EngineError, KeySpec, KeyUses};
use sha2::{Digest, Sha256};

/// Length of a reference, in bytes.
pub(crate) const REFERENCE_LEN: usize = 24;
const FORMAT: u8 = 1;
pub(super) const NONCE_LEN: usize = 16;

/// Value of an object's `CKA_ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectId([u8; 32]);

impl ObjectId {
    /// Identifier of the device key.
    pub(crate) const DEVICE: Self = Self([0; 32]);

    fn of_reference(unit_name: &str, reference: &[u8; REFERENCE_LEN]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"hsm-sim persisted key")
            .chain_update((unit_name.len() as u64).to_be_bytes())
            .chain_update(unit_name)
            .chain_update(reference)
            .finalize();
        let mut id = [0; 32];
        id.iter_mut().zip(digest).take(16).for_each(|(to, from)| *to = from);
        Self(id)
    }

    /// Identifier of a derivation, with zeros for the key; completed by [`ObjectId::with_derivation_of`].
    pub(crate) fn of_derivation(label: &[u8], context: &[u8], spec: &KeySpec) -> Self {
        let digest = Sha256::new()
            .chain_update(b"hsm-sim derived key")
            .chain_update((label.len() as u64).to_be_bytes())
            .chain_update(label)
            .chain_update((context.len() as u64).to_be_bytes())
            .chain_update(context)
            .chain_update(encode_spec(spec, KeyOrigin::Derived))
            .finalize();
        let mut id = [0; 32];
        id.iter_mut().skip(16).zip(digest).for_each(|(to, from)| *to = from);
        if let Some(last) = id.last_mut() {
            *last &= !1;
        }
        Self(id)
    }

    /// Identifier of the key derived from this key by `derivation`.
    pub(crate) fn with_derivation_of(mut self, derivation: Self) -> Self {
        self.0.iter_mut().zip(derivation.0).skip(16).for_each(|(to, from)| *to = from);
        self
    }

    /// Identifier of the secondary object of the same key.
    pub(super) const fn secondary(mut self) -> Self {
        self.0[31] |= 1;
        self
    }

    /// Whether both identify objects of the same stored key or of keys derived from it.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).take(16).all(|(a, b)| *a == b)
    }

    /// The identifier with this value of `CKA_ID`; `None` if the length is not 32 bytes.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

/// A decoded reference.
pub(crate) struct KeyReference {
    pub(crate) id: ObjectId,
    pub(crate) spec: KeySpec,
    pub(crate) origin: KeyOrigin,
}

impl KeyReference {
    /// Decodes a reference of the unit of this name.
    ///
    /// # Errors
    /// [`EngineError::ReferenceInvalid`] for another length or format, or an invalid specification.
    pub(crate) fn decode(unit_name: &str, reference: &[u8]) -> Result<Self, EngineError> {
        let reference: &[u8; REFERENCE_LEN] =
            reference.try_into().map_err(|_| EngineError::ReferenceInvalid)?;
        let [format, algorithm, flags, len, a, b, c, d, ..] = *reference;
        let decoded = || {
            let spec = KeySpec {
                algorithm: Algorithm::from_number(algorithm)?,
                key_len: u16::from(len),
                uses: KeyUses::from_bits(u32::from_be_bytes([a, b, c, d]))?,
                extractable: flags & 1 == 1,
            };
            let origin = KeyOrigin::from_number(flags >> 1)?;
            (format == FORMAT && spec.check().is_ok()).then_some((spec, origin))
        };
        let (spec, origin) = decoded().ok_or(EngineError::ReferenceInvalid)?;
        Ok(Self { id: ObjectId::of_reference(unit_name, reference), spec, origin })
    }
}

/// Encodes a new reference; `nonce` must be random.
pub(super) fn encode_reference(
    spec: &KeySpec,
    origin: KeyOrigin,
    nonce: [u8; NONCE_LEN],
) -> [u8; REFERENCE_LEN] {
    let mut reference = [0; REFERENCE_LEN];
    let bytes = encode_spec(spec, origin).into_iter().chain(nonce);
    reference.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    reference
}

fn encode_spec(spec: &KeySpec, origin: KeyOrigin) -> [u8; 8] {
    let flags = u8::from(spec.extractable) | (origin as u8) << 1;
    let len = u8::try_from(spec.key_len).unwrap_or(u8::MAX);
    let [a, b, c, d] = spec.uses.bits().to_be_bytes();
    [FORMAT, spec.algorithm as u8, flags, len, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::{KeyReference, ObjectId, encode_reference};
    use crate::objects::KeyOrigin;
    use engine::{EngineError, KeySpec, KeyUses};

    fn decode(unit_name: &str, reference: &[u8]) -> Result<KeyReference, EngineError> {
        KeyReference::decode(unit_name, reference)
    }

    #[test]
    fn a_reference_holds_the_specification_and_identifies_a_key_of_one_unit() {
        let spec = KeySpec::aes(32, KeyUses::DERIVE);
        let bytes = encode_reference(&spec, KeyOrigin::Master, [7; 16]);
        let decoded = decode("a", &bytes).unwrap();
        assert_eq!((decoded.spec, decoded.origin), (spec, KeyOrigin::Master));
        assert!(!decoded.id.is_same_key(&decode("b", &bytes).unwrap().id));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            match decode("a", &changed) {
                Ok(other) => assert!(!other.id.is_same_key(&decoded.id), "byte {at}"),
                Err(error) => assert_eq!(error, EngineError::ReferenceInvalid),
            }
        }
    }

    #[test]
    fn derivations_have_different_identifiers_of_the_same_key() {
        let spec = KeySpec::aes(32, KeyUses::WRAP);
        let key = decode("a", &encode_reference(&spec, KeyOrigin::Master, [1; 16])).unwrap().id;
        let ids: Vec<ObjectId> = [(b"a", b"b"), (b"b", b"a")]
            .iter()
            .map(|(label, context)| key.with_derivation_of(ObjectId::of_derivation(*label, *context, &spec)))
            .collect();
        assert_ne!(ids[0], ids[1]);
        for id in ids {
            assert!(id.is_same_key(&key) && id.secondary() != id && id.secondary().is_same_key(&key));
        }
    }
}
