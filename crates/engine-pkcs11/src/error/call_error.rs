use super::ObjectRefusal;
use cryptoki::error::Error;
use engine::EngineError;

/// Why a call to the token ended without a result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The token returned an error; [`Fault::of`](super::Fault::of) says what it means for the session.
    Token(Error),
    /// The engine refused the request, or the token returned a malformed result.
    Engine(EngineError),
    /// A stored object is not the one that the unit created.
    Refused(ObjectRefusal),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<EngineError> for CallError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}
