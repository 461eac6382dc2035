//! Keys as an engine sees them: what they are and what they may do, never their value.

use crate::EngineError;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Longest key an engine holds, in bytes. Longer secrets are data, encrypted under a key.
pub const MAX_KEY_LEN: usize = 64;

/// The algorithm that a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Algorithm {
    /// AES (FIPS 197): 16, 24 or 32 bytes.
    Aes = 1,
    /// Secret bytes for HMAC and derivation (`CKK_GENERIC_SECRET`): 1 to [`MAX_KEY_LEN`] bytes.
    GenericSecret = 2,
}

impl Algorithm {
    /// The algorithm with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes),
            2 => Some(Self::GenericSecret),
            _ => None,
        }
    }

    /// Whether the algorithm has keys of `key_len` bytes.
    #[must_use]
    pub const fn has_key_len(self, key_len: usize) -> bool {
        match self {
            Self::Aes => matches!(key_len, 16 | 24 | 32),
            Self::GenericSecret => matches!(key_len, 1..=MAX_KEY_LEN),
        }
    }
}

/// The uses a key is permitted: EP11's Boolean attribute bits of the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyUses(u32);

impl KeyUses {
    /// No use.
    pub const NONE: Self = Self(0);
    /// May make a MAC.
    pub const SIGN: Self = Self(0x100);
    /// May decrypt data.
    pub const DECRYPT: Self = Self(0x400);
    /// May encrypt data.
    pub const ENCRYPT: Self = Self(0x800);
    /// May be the base of a derivation.
    pub const DERIVE: Self = Self(0x1000);
    /// May unwrap keys.
    pub const UNWRAP: Self = Self(0x2000);
    /// May wrap keys.
    pub const WRAP: Self = Self(0x4000);
    /// May verify a MAC.
    pub const VERIFY: Self = Self(0x8000);
    /// Every use.
    pub const ALL: Self = Self(0xfd00);

    /// The uses with these bits, if every bit is a use.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }

    /// The bits, as EP11 numbers them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These uses and `other`'s.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every use of `other` is permitted here.
    #[must_use]
    pub const fn permits(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Refuses bits that are no use, as [`KeyUses::from_bits`] does, so that they are never passed on.
impl<'de> Deserialize<'de> for KeyUses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bits = u32::deserialize(deserializer)?;
        Self::from_bits(bits).ok_or_else(|| D::Error::custom("unknown key use"))
    }
}

/// A key's specification: algorithm, length, permitted uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpec {
    /// The algorithm that the key is for.
    pub algorithm: Algorithm,
    /// Length of the value in bytes.
    pub key_len: u16,
    /// The permitted uses.
    pub uses: KeyUses,
    /// Whether the key may leave wrapped under another key of its owner, or a master key as a part.
    pub extractable: bool,
}

impl KeySpec {
    /// An AES key of `key_len` bytes that may not be extracted.
    #[must_use]
    pub const fn aes(key_len: u16, uses: KeyUses) -> Self {
        Self { algorithm: Algorithm::Aes, key_len, uses, extractable: false }
    }

    /// The length as a size.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.key_len as usize
    }

    /// Whether the length is 0, which no key has.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.key_len == 0
    }

    /// Refuses a length the algorithm does not have.
    ///
    /// # Errors
    /// [`EngineError::KeySizeRange`].
    pub const fn check(&self) -> Result<(), EngineError> {
        if self.algorithm.has_key_len(self.len()) { Ok(()) } else { Err(EngineError::KeySizeRange) }
    }
}

/// Length of a [`StateKeyId`], in bytes.
pub const STATE_KEY_ID_LEN: usize = 16;

/// The identifier of a state key: random, the same after every restart, and public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKeyId(pub [u8; STATE_KEY_ID_LEN]);

/// A key inside one engine. Meaningless to another engine and after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHandle(u32);

impl KeyHandle {
    /// A handle with this number; for engines only.
    #[must_use]
    pub const fn from_raw(number: u32) -> Self {
        Self(number)
    }

    /// The number that the engine assigned.
    #[must_use]
    pub const fn to_raw(self) -> u32 {
        self.0
    }
}
