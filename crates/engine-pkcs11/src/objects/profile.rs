//! What a token does itself, and what is done for it.

use engine::{Algorithm, KeySpec, KeyUses};

/// What was found out about a token by trying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    /// SP 800-108 with AES-CMAC is the token's own mechanism, and right.
    pub(crate) derives_inside: bool,
    /// `CKM_XOR_BASE_AND_DATA` is there, and right.
    pub(crate) xors_inside: bool,
    /// `CKM_AES_KEY_WRAP_PAD` wraps keys of a multiple of 8 bytes and unwraps all as RFC 5649 says.
    pub(crate) unwraps_padded: bool,
    /// It wraps all others rightly, too.
    pub(crate) wraps_padded: bool,
    /// Shortest HMAC key that the token takes, in bytes.
    pub(crate) min_hmac_len: usize,
}

impl Profile {
    /// Whether a key is a generic secret that not every token holds or wraps as it is.
    pub(crate) const fn is_short(&self, spec: &KeySpec) -> bool {
        let mac = spec.uses.permits(KeyUses::SIGN) || spec.uses.permits(KeyUses::VERIFY);
        let len = spec.len();
        matches!(spec.algorithm, Algorithm::GenericSecret)
            && (len < 16 || !len.is_multiple_of(8) || mac && len < self.min_hmac_len)
    }

    /// Whether a key has to work on single blocks, because keys are to be wrapped or unwrapped by it in a way that
    /// the token has not.
    pub(crate) const fn needs_blocks(&self, spec: &KeySpec) -> bool {
        let wraps = spec.uses.permits(KeyUses::WRAP);
        let unwraps = spec.uses.permits(KeyUses::UNWRAP) && !self.unwraps_padded;
        matches!(spec.algorithm, Algorithm::Aes) && (wraps || unwraps)
    }

    /// How key parts become a master key.
    pub(crate) const fn combination(&self) -> &'static str {
        if self.xors_inside {
            "key parts are combined inside the token"
        } else {
            "key parts are combined in the unit's memory"
        }
    }

    /// How keys are derived from it.
    pub(crate) const fn derivation(&self) -> &'static str {
        if self.derives_inside {
            "blob keys are derived inside"
        } else {
            "blob keys pass through the unit's memory once"
        }
    }
}
