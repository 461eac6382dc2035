//! References to stored keys, and the identifiers of their objects.
//!
//! ```text
//! reference   head (24): format (1) ‖ algorithm (1) ‖ flags (1) ‖ key length (1) ‖ uses (4) ‖ nonce (16)
//!             of a master key, head (16): the same with a nonce of 8 bytes; then up to two derived keys, wrapped (40 each)
//! format      1, or 2 for a master key; earlier versions have written 1 for master keys too
//! flags       bit 0: extractable; bits 1–2: number of the key's origin
//! CKA_ID      16 bytes for the key (zero for the device key, the identifier of a state key) ‖ 16 for its derivation
//! derivation  zero for the key itself, else the first 16 bytes of SHA-256 over label, context and specification, with
//!             bit 0 of the last byte cleared; that bit is set for the secondary object of a key, and for the wrapping key
//!             of the second derived key in the reference
//! ```
//!
//! A reference needs no authentication: the identifier is a digest over its head and the unit's name, so that a modified
//! head, or one of another unit, identifies no object; a wrapped key that was modified does not unwrap.

use super::KeyOrigin;
use super::derived_keys::{CarriedKeys, WRAPPED_LEN};
use engine::{Algorithm, EngineError, KeySpec, KeyUses, StateKeyId};
use sha2::{Digest, Sha256};

const FORMAT: u8 = 1;
const HEAD_LEN: usize = 24;
/// Format of the reference of a master key, with its derived keys.
const MASTER_FORMAT: u8 = 2;
const MASTER_HEAD_LEN: usize = 16;
/// Random bytes for a head; that of a master key takes the first of them.
pub(super) const NONCE_LEN: usize = 16;

/// Value of an object's `CKA_ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectId([u8; 32]);

impl ObjectId {
    /// Identifier of the device key.
    pub(crate) const DEVICE: Self = Self([0; 32]);

    /// Identifier of a state key.
    pub(crate) fn of_state_key(StateKeyId(key): &StateKeyId) -> Self {
        let mut id = [0; 32];
        id.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self(id)
    }

    /// The state key with this identifier; `None` for the device key.
    pub(crate) fn to_state_key(self) -> Option<StateKeyId> {
        self.0.first_chunk().filter(|_| self != Self::DEVICE).map(|id| StateKeyId(*id))
    }

    fn of_head(unit_name: &str, head: &[u8]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"hsm-sim persisted key")
            .chain_update((unit_name.len() as u64).to_be_bytes())
            .chain_update(unit_name)
            .chain_update(head)
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

    /// Identifier of the wrapping key of the derived key at this place in the reference.
    pub(super) const fn with_place(mut self, place: u8) -> Self {
        self.0[31] |= place & 1;
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
    /// For a master key: the keys derived from it. `None` if an earlier version has stored those as objects.
    pub(crate) carried: Option<CarriedKeys>,
}

impl KeyReference {
    /// Decodes a reference of the unit of this name.
    ///
    /// # Errors
    /// [`EngineError::ReferenceInvalid`] for another length or format, or an invalid specification.
    pub(crate) fn decode(unit_name: &str, reference: &[u8]) -> Result<Self, EngineError> {
        let decoded = || {
            let [format, algorithm, flags, len, a, b, c, d] = *reference.first_chunk()?;
            let spec = KeySpec {
                algorithm: Algorithm::from_number(algorithm)?,
                key_len: u16::from(len),
                uses: KeyUses::from_bits(u32::from_be_bytes([a, b, c, d]))?,
                extractable: flags & 1 == 1,
            };
            let origin = KeyOrigin::from_number(flags >> 1)?;
            spec.check().ok()?;
            let (head, carried) = match (format, origin) {
                (FORMAT, _) if reference.len() == HEAD_LEN => (reference, None),
                (MASTER_FORMAT, KeyOrigin::Master) => {
                    let (head, wrapped) = reference.split_at_checked(MASTER_HEAD_LEN)?;
                    (head, Some(CarriedKeys::from_bytes(wrapped)?))
                }
                _ => return None,
            };
            Some(Self { id: ObjectId::of_head(unit_name, head), spec, origin, carried })
        };
        decoded().ok_or(EngineError::ReferenceInvalid)
    }
}

/// Length of the reference of a key, for a master key with this number of derived keys.
pub(super) const fn len_with(is_master: bool, derived: usize) -> usize {
    if is_master { MASTER_HEAD_LEN + derived * WRAPPED_LEN } else { HEAD_LEN }
}

/// Encodes the head of a new reference; `nonce` must be random.
pub(super) fn encode_head(spec: &KeySpec, origin: KeyOrigin, nonce: [u8; NONCE_LEN]) -> Vec<u8> {
    let (format, len) = match origin {
        KeyOrigin::Master => (MASTER_FORMAT, MASTER_HEAD_LEN),
        KeyOrigin::User | KeyOrigin::Derived | KeyOrigin::Device => (FORMAT, HEAD_LEN),
    };
    let [_, rest @ ..] = encode_spec(spec, origin);
    std::iter::once(format).chain(rest).chain(nonce).take(len).collect()
}

fn encode_spec(spec: &KeySpec, origin: KeyOrigin) -> [u8; 8] {
    let flags = u8::from(spec.extractable) | (origin as u8) << 1;
    let len = u8::try_from(spec.key_len).unwrap_or(u8::MAX);
    let [a, b, c, d] = spec.uses.bits().to_be_bytes();
    [FORMAT, spec.algorithm as u8, flags, len, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::{HEAD_LEN, KeyReference, MASTER_HEAD_LEN, ObjectId, encode_head, len_with};
    use crate::objects::KeyOrigin;
    use crate::objects::derived_keys::WRAPPED_LEN;
    use engine::{EngineError, KeySpec, KeyUses};

    fn decode(unit_name: &str, reference: &[u8]) -> Result<KeyReference, EngineError> {
        KeyReference::decode(unit_name, reference)
    }

    #[test]
    fn a_reference_holds_the_specification_and_identifies_a_key_of_one_unit() {
        for (spec, origin) in [
            (KeySpec::aes(32, KeyUses::DERIVE), KeyOrigin::Master),
            (KeySpec::aes(16, KeyUses::SIGN), KeyOrigin::User),
        ] {
            let bytes = encode_head(&spec, origin, [7; 16]);
            let decoded = decode("a", &bytes).unwrap();
            assert_eq!((decoded.spec, decoded.origin), (spec, origin));
            assert!(!decoded.id.is_same_key(&decode("b", &bytes).unwrap().id));
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                match decode("a", &changed) {
                    Ok(other) => assert!(!other.id.is_same_key(&decoded.id), "byte {at}"),
                    Err(error) => assert_eq!(error, EngineError::ReferenceInvalid),
                }
            }
        }
    }

    #[test]
    fn the_reference_of_a_master_key_carries_up_to_two_derived_keys() {
        let head = encode_head(&KeySpec::aes(32, KeyUses::DERIVE), KeyOrigin::Master, [7; 16]);
        let id = decode("a", &head).unwrap().id;
        for derived in 0..4 {
            let mut bytes = head.clone();
            bytes.extend((0..derived * WRAPPED_LEN).map(|at| at as u8));
            assert_eq!(bytes.len(), len_with(true, derived));
            match decode("a", &bytes) {
                Ok(decoded) => {
                    assert!(derived <= 2 && decoded.id.is_same_key(&id));
                    let carried = decoded.carried.unwrap();
                    assert!(carried.iter().flatten().eq(&bytes[MASTER_HEAD_LEN..]));
                }
                Err(error) => assert!(derived > 2 && error == EngineError::ReferenceInvalid),
            }
            bytes.push(0);
            assert!(decode("a", &bytes).is_err());
        }
    }

    /// Earlier versions gave a master key a reference like every other key's.
    #[test]
    fn an_earlier_reference_of_a_master_key_is_read() {
        let mut bytes = encode_head(&KeySpec::aes(32, KeyUses::DERIVE), KeyOrigin::Master, [7; 16]);
        bytes[0] = 1;
        bytes.resize(HEAD_LEN, 7);
        assert!(decode("a", &bytes).unwrap().carried.is_none());
    }

    #[test]
    fn derivations_have_different_identifiers_of_the_same_key() {
        let spec = KeySpec::aes(32, KeyUses::WRAP);
        let key = decode("a", &encode_head(&spec, KeyOrigin::Master, [1; 16])).unwrap().id;
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
