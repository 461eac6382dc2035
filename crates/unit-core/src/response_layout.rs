//! A response before it borrows from the caller's buffer.

use engine::AES_GCM_IV_LEN;
use unit_api::{Refusal, Response, UnitError, UnitStatus};

/// A response whose bytes are given by their length at the start of the output buffer.
pub(crate) enum ResponseLayout {
    Status(UnitStatus),
    Random(usize),
    Blob(usize),
    Wrapped(usize),
    Ciphertext { iv: [u8; AES_GCM_IV_LEN], len: usize },
    Plaintext(usize),
    Signature(usize),
    Administered(usize),
    Done,
}

impl ResponseLayout {
    /// The response with its bytes from the start of `out`.
    pub(crate) fn into_response(self, out: &[u8]) -> Result<Response<'_>, Refusal> {
        let first = |len: usize| out.get(..len).ok_or(UnitError::ResponseTooLong);
        Ok(match self {
            Self::Status(status) => Response::Status(status),
            Self::Random(len) => Response::Random(first(len)?),
            Self::Blob(len) => Response::Blob(first(len)?),
            Self::Wrapped(len) => Response::Wrapped(first(len)?),
            Self::Ciphertext { iv, len } => Response::Ciphertext { iv, ciphertext: first(len)? },
            Self::Plaintext(len) => Response::Plaintext(first(len)?),
            Self::Signature(len) => Response::Signature(first(len)?),
            Self::Administered(len) => Response::Administered(first(len)?),
            Self::Done => Response::Done,
        })
    }
}
