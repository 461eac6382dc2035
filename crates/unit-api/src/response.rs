//! What a unit answers.

use crate::UnitStatus;
use serde::{Deserialize, Serialize};

/// The answer to a command that was carried out.
///
/// Append only: the position of a variant is its number on the wire.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Response<'a> {
    /// To `Status`.
    Status(UnitStatus),
    /// To `GenerateRandom`. Secret.
    Random(&'a [u8]),
    /// To `GenerateKey`, `ImportKey`, `UnwrapKey` and `Reencipher`.
    Blob(&'a [u8]),
    /// To `WrapKey`.
    Wrapped(&'a [u8]),
    /// To `Encrypt`.
    Ciphertext {
        /// The IV that the unit drew.
        iv: [u8; engine::AES_GCM_IV_LEN],
        /// Ciphertext ‖ tag.
        ciphertext: &'a [u8],
    },
    /// To `Decrypt`. Secret.
    Plaintext(&'a [u8]),
    /// To `Sign`.
    Signature(&'a [u8]),
    /// To `Administer`, carried out or refused: DER of an [`crate::admin::AdminResponse`].
    Administered(&'a [u8]),
    /// To `Verify`.
    Done,
}

impl Response<'_> {
    /// The response's name, for messages; never its content.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "Status",
            Self::Random(_) => "Random",
            Self::Blob(_) => "Blob",
            Self::Wrapped(_) => "Wrapped",
            Self::Ciphertext { .. } => "Ciphertext",
            Self::Plaintext(_) => "Plaintext",
            Self::Signature(_) => "Signature",
            Self::Administered(_) => "Administered",
            Self::Done => "Done",
        }
    }

    /// Number of bytes that the response borrows from the working space of its unit, which are wiped after it was sent.
    #[must_use]
    pub const fn borrowed_len(&self) -> usize {
        match self {
            Self::Random(bytes)
            | Self::Blob(bytes)
            | Self::Wrapped(bytes)
            | Self::Ciphertext { ciphertext: bytes, .. }
            | Self::Plaintext(bytes)
            | Self::Signature(bytes)
            | Self::Administered(bytes) => bytes.len(),
            Self::Status(_) | Self::Done => 0,
        }
    }
}

/// The name alone: a response may hold secrets.
impl core::fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
