//! Why a call to the token ends without a result.

use cryptoki::error::Error;
use engine::EngineError;

/// Why a call to the token ends without a result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The token returned an error.
    Token(Error),
    /// The engine refused the call.
    Refused(EngineError),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<EngineError> for CallError {
    fn from(error: EngineError) -> Self {
        Self::Refused(error)
    }
}
