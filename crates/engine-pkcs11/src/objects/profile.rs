//! Which optional mechanisms a token has. What it lacks is done in software, or with the token's other mechanisms.

use engine::{Algorithm, KeySpec, KeyUses};

/// Optional mechanisms of a token, as found by the probe. "Has" means that it returned the published results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The token has SP 800-108 in counter mode with AES-CMAC.
    pub(crate) derives_on_token: bool,
    /// The token has `CKM_XOR_BASE_AND_DATA`.
    pub(crate) xors_on_token: bool,
    /// `CKM_AES_KEY_WRAP_PAD` unwraps keys of any length as RFC 5649 specifies, and wraps those of a multiple of 8 bytes.
    pub(crate) has_kwp: bool,
    /// The token has `CKM_ECDSA` on P-521.
    pub(crate) signs_on_p521: bool,
    /// Shortest HMAC key that the token accepts, in bytes.
    pub(crate) min_hmac_key_len: usize,
    /// The token obeys `CKA_MODIFIABLE` and `CKA_COPYABLE` of keys that it generates.
    pub(crate) protects_objects: bool,
    /// `C_CopyObject` can make a copy that cannot be copied.
    pub(crate) copies_uncopyable: bool,
    /// The token obeys `CKA_UNWRAP_TEMPLATE`.
    pub(crate) has_unwrap_template: bool,
    /// `CKA_LOCAL`, `CKA_ALWAYS_SENSITIVE` and `CKA_NEVER_EXTRACTABLE` are true for keys generated on the token.
    pub(crate) tells_origin: bool,
}

impl Profile {
    /// A token without any of them, for calls before the probe has run.
    pub(crate) const MINIMAL: Self = Self {
        derives_on_token: false,
        xors_on_token: false,
        has_kwp: false,
        signs_on_p521: false,
        min_hmac_key_len: 32,
        protects_objects: false,
        copies_uncopyable: false,
        has_unwrap_template: false,
        tells_origin: false,
    };

    /// Whether the key is a generic secret that some token cannot hold or wrap at its length. It is stored with zeros
    /// appended, see [`CallContext::create_key`](super::CallContext::create_key).
    pub(crate) const fn is_padded_secret(&self, spec: &KeySpec) -> bool {
        let is_hmac_key = spec.uses.permits(KeyUses::SIGN) || spec.uses.permits(KeyUses::VERIFY);
        let len = spec.len();
        matches!(spec.algorithm, Algorithm::GenericSecret)
            && (len < 16 || !len.is_multiple_of(8) || is_hmac_key && len < self.min_hmac_key_len)
    }

    /// Whether the key needs a second object that encrypts or decrypts single blocks, for AES-KWP outside the token.
    pub(crate) const fn needs_single_blocks(&self, spec: &KeySpec) -> bool {
        let wraps = spec.uses.permits(KeyUses::WRAP);
        let unwraps = spec.uses.permits(KeyUses::UNWRAP) && !self.has_kwp;
        matches!(spec.algorithm, Algorithm::Aes) && (wraps || unwraps)
    }

    /// Where key parts are combined to a master key, for the engine's description.
    pub(crate) const fn combination(&self) -> &'static str {
        if self.xors_on_token {
            "key parts are combined inside the token"
        } else {
            "key parts are combined in the unit's memory"
        }
    }

    /// Where keys are derived from the master key, for the engine's description.
    pub(crate) const fn derivation(&self) -> &'static str {
        if self.derives_on_token {
            "blob keys are derived inside the token"
        } else {
            "blob keys pass through the unit's memory once"
        }
    }
}
