//! The key with which a module proves what it is.

use core::fmt;

/// Length of an attestation key's public point, in bytes: `04 ‖ X ‖ Y` on P-521.
pub const ATTESTATION_POINT_LEN: usize = 133;

/// Length of a signature by [`Engine::attest`](crate::Engine::attest), in bytes: `r ‖ s`, each 66 bytes, big-endian.
pub const ATTESTATION_SIGNATURE_LEN: usize = 132;

/// Where a module keeps its keys and signs, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EngineClass {
    /// Keys are in the memory of a process, at rest under a secret in a file.
    Software = 1,
    /// Keys are in a token that cannot sign on P-521. The attestation key is derived from a key in the token, and is in the
    /// memory of the process.
    TokenDerived = 2,
    /// Keys, the attestation key among them, are in a token and never leave it.
    Token = 3,
}

impl EngineClass {
    /// Every class, from the weakest.
    pub const ALL: [Self; 3] = [Self::Software, Self::TokenDerived, Self::Token];

    /// The name that people read and type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::TokenDerived => "token-derived",
            Self::Token => "token",
        }
    }

    /// The number in certificates.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The class with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Software),
            2 => Some(Self::TokenDerived),
            3 => Some(Self::Token),
            _ => None,
        }
    }
}

impl fmt::Display for EngineClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The public half of an engine's attestation key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AttestationKey {
    /// The point, uncompressed.
    pub point: [u8; ATTESTATION_POINT_LEN],
    /// Where the private half is.
    pub class: EngineClass,
}

impl fmt::Debug for AttestationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttestationKey({})", self.class)
    }
}
