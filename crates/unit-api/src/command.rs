//! What a host may ask of a unit.

use engine::{KeySpec, MacMechanism, WrapMechanism};
use serde::{Deserialize, Serialize};

/// One command. Key blobs are those an earlier response of any unit with the same master key gave.
///
/// Append only: the position of a variant is its number on the wire.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command<'a> {
    /// Who the unit is and what state its registers are in. Answered in every state.
    Status,
    /// Random bytes, at most [`crate::MAX_RANDOM_LEN`].
    GenerateRandom {
        /// How many.
        len: u16,
    },
    /// A fresh key, as a blob.
    GenerateKey {
        /// What it is and may do.
        spec: KeySpec,
    },
    /// A key the caller has in the clear, as a blob.
    ImportKey {
        /// What it is and may do.
        spec: KeySpec,
        /// Its value, `spec.key_len` bytes. Secret.
        value: &'a [u8],
    },
    /// A key wrapped under another. `kek` needs WRAP, `key` must be extractable.
    WrapKey {
        /// How.
        by: WrapMechanism,
        /// Blob of the key that wraps.
        kek: &'a [u8],
        /// Blob of the key to wrap.
        key: &'a [u8],
    },
    /// A key unwrapped by another, as a blob. `kek` needs UNWRAP.
    UnwrapKey {
        /// How.
        by: WrapMechanism,
        /// Blob of the key that unwraps.
        kek: &'a [u8],
        /// The wrapped key.
        wrapped: &'a [u8],
        /// What the key inside is and may do.
        spec: KeySpec,
    },
    /// AES-GCM under a fresh random IV that the unit draws. `key` needs ENCRYPT.
    Encrypt {
        /// Blob of the key.
        key: &'a [u8],
        /// Additional authenticated data.
        aad: &'a [u8],
        /// What to encrypt. Secret.
        plaintext: &'a [u8],
    },
    /// The reverse. `key` needs DECRYPT.
    Decrypt {
        /// Blob of the key.
        key: &'a [u8],
        /// The IV that [`crate::Response::Ciphertext`] gave.
        iv: [u8; engine::AES_GCM_IV_LEN],
        /// The same additional authenticated data.
        aad: &'a [u8],
        /// Ciphertext ‖ tag.
        ciphertext: &'a [u8],
    },
    /// A MAC over `data`. `key` needs SIGN.
    Sign {
        /// How.
        by: MacMechanism,
        /// Blob of the key.
        key: &'a [u8],
        /// What to authenticate.
        data: &'a [u8],
    },
    /// Whether a MAC is right. `key` needs VERIFY.
    Verify {
        /// How.
        by: MacMechanism,
        /// Blob of the key.
        key: &'a [u8],
        /// What was authenticated.
        data: &'a [u8],
        /// Its whole MAC.
        signature: &'a [u8],
    },
    /// The blob's key under the New master key, which must be committed.
    Reencipher {
        /// A blob under the Current master key.
        blob: &'a [u8],
    },
    /// An administrative command or query.
    Administer {
        /// DER of an [`crate::admin::AdminRequest`].
        request: &'a [u8],
    },
}

impl Command<'_> {
    /// The command's name, for messages and metrics; never its content.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "Status",
            Self::GenerateRandom { .. } => "GenerateRandom",
            Self::GenerateKey { .. } => "GenerateKey",
            Self::ImportKey { .. } => "ImportKey",
            Self::WrapKey { .. } => "WrapKey",
            Self::UnwrapKey { .. } => "UnwrapKey",
            Self::Encrypt { .. } => "Encrypt",
            Self::Decrypt { .. } => "Decrypt",
            Self::Sign { .. } => "Sign",
            Self::Verify { .. } => "Verify",
            Self::Reencipher { .. } => "Reencipher",
            Self::Administer { .. } => "Administer",
        }
    }

    /// Whether the command is for one unit alone: who rules it, or which master key it holds.
    ///
    /// Such a command is never sent again without looking first.
    #[must_use]
    pub const fn is_administrative(&self) -> bool {
        matches!(self, Self::Administer { .. })
    }

    /// Whether a second copy may go to another unit while the first is still under way.
    ///
    /// Commands whose result is kept by the caller are not: a lost copy would leave a second key nobody holds.
    #[must_use]
    pub const fn may_hedge(&self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::WrapKey { .. }
                | Self::UnwrapKey { .. }
                | Self::Encrypt { .. }
                | Self::Decrypt { .. }
                | Self::Sign { .. }
                | Self::Verify { .. }
        )
    }
}

/// The name alone: a command may hold secrets.
impl core::fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
