//! Mechanisms over key objects: the token's own where its profile says so, otherwise built from its other mechanisms.

mod cipher;
mod combination;
mod derivation;
mod kwp_blocks;
mod mac;
mod wrapping;

pub(crate) use cipher::{decrypt, encrypt};
pub(crate) use combination::combine_key_parts;
pub(crate) use derivation::{derive_key, derive_on_token};
pub(crate) use kwp_blocks::unwrap_kwp;
pub(crate) use mac::{sign, verify};
pub(crate) use wrapping::{accepts_len, unwrap_key, wrap_key};

use engine::{Mechanism, MechanismInfo};

/// The mechanisms that the engine offers on every token that it opens; each has a probe case.
pub(crate) const MECHANISMS: [MechanismInfo; 9] = [
    MechanismInfo { mechanism: Mechanism::AesKeyGen, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::GenericSecretKeyGen, min_key_bits: 8, max_key_bits: 512 },
    MechanismInfo { mechanism: Mechanism::AesKw, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesKwp, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesGcm, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesCmac, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::Sp800108CounterCmac, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::Sha256, min_key_bits: 0, max_key_bits: 0 },
    MechanismInfo { mechanism: Mechanism::HmacSha256, min_key_bits: 8, max_key_bits: 512 },
];
