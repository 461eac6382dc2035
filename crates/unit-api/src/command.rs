//! The commands that a host sends to a unit.

mod dispatch;
mod facts;

pub use dispatch::CommandHandler;
pub use facts::{CommandKind, Pace, Repetition};

use engine::{KeySpec, MacMechanism, WrapMechanism};
use serde::{Deserialize, Serialize};

/// One command. A key blob comes from an earlier response of any unit with the same master key.
///
/// Append only: the position of a variant is its number on the wire.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command<'a> {
    /// The unit's identity and the state of its registers. Answered in every state.
    Status,
    /// Random bytes, at most [`crate::MAX_RANDOM_LEN`].
    GenerateRandom {
        /// Number of bytes.
        len: u16,
    },
    /// Generates a key; the response is its blob.
    GenerateKey {
        /// Algorithm, length and permitted uses of the key.
        spec: KeySpec,
    },
    /// Imports a key that the caller has in the clear; the response is its blob.
    ImportKey {
        /// Algorithm, length and permitted uses of the key.
        spec: KeySpec,
        /// The key's value, `spec.key_len` bytes. Secret.
        value: &'a [u8],
    },
    /// Wraps a key under another. `kek` needs WRAP, `key` must be extractable.
    WrapKey {
        /// Wrapping mechanism.
        by: WrapMechanism,
        /// Blob of the key that wraps.
        kek: &'a [u8],
        /// Blob of the key to wrap.
        key: &'a [u8],
    },
    /// Unwraps a key with another; the response is its blob. `kek` needs UNWRAP.
    UnwrapKey {
        /// Wrapping mechanism.
        by: WrapMechanism,
        /// Blob of the key that unwraps.
        kek: &'a [u8],
        /// The wrapped key.
        wrapped: &'a [u8],
        /// Algorithm, length and permitted uses of the wrapped key.
        spec: KeySpec,
    },
    /// Encrypts with AES-GCM under a fresh random IV that the unit draws. `key` needs ENCRYPT.
    Encrypt {
        /// Blob of the key.
        key: &'a [u8],
        /// Additional authenticated data.
        aad: &'a [u8],
        /// Plaintext, at most [`crate::MAX_DATA_LEN`] bytes. Secret.
        plaintext: &'a [u8],
    },
    /// Decrypts with AES-GCM. `key` needs DECRYPT.
    Decrypt {
        /// Blob of the key.
        key: &'a [u8],
        /// The IV that [`crate::Response::Ciphertext`] gave.
        iv: [u8; engine::AES_GCM_IV_LEN],
        /// Additional authenticated data, as given to `Encrypt`.
        aad: &'a [u8],
        /// Ciphertext ‖ tag.
        ciphertext: &'a [u8],
    },
    /// Computes a MAC over `data`. `key` needs SIGN.
    Sign {
        /// MAC mechanism.
        by: MacMechanism,
        /// Blob of the key.
        key: &'a [u8],
        /// Message, at most [`crate::MAX_DATA_LEN`] bytes.
        data: &'a [u8],
    },
    /// Verifies a MAC. `key` needs VERIFY.
    Verify {
        /// MAC mechanism.
        by: MacMechanism,
        /// Blob of the key.
        key: &'a [u8],
        /// Message that was authenticated.
        data: &'a [u8],
        /// The message's whole MAC.
        signature: &'a [u8],
    },
    /// Re-enciphers a blob: the same key under the New master key, which must be committed.
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

/// The name alone: a command may hold secrets.
impl core::fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
