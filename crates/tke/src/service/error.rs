//! What can be wrong with a signing service.

use std::error::Error;
use std::time::Duration;

/// Why a signing service gave no key or no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The address is not `http://host[:port][/path]` or the same with `https`.
    #[error("`{0}` is no address of a signing service")]
    AddressInvalid(String),
    /// A key's name has other characters than letters, digits, `-`, `.`, `_` and `~`.
    #[error("`{0}` is no name of a key: RFC 3986's unreserved characters only")]
    NameInvalid(String),
    /// The list of keys is not a JSON list of `{"key": …, "token": …}`, the token optional.
    #[error("the list of keys is not valid JSON of the form [{{\"key\": \"…\", \"token\": \"…\"}}]")]
    KeysInvalid,
    /// A token cannot stand in an HTTP header.
    #[error("the token of key {0} cannot stand in an HTTP header")]
    TokenInvalid(String),
    /// TLS cannot be set up: no trusted root, or a root that is no certificate.
    #[error("no certificate to trust the signing service by")]
    NoRoots,
    /// Nobody answers at the address, or TLS could not be agreed on.
    #[error("the signing service cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The connection broke before the answer was there. Whether the service signed is not known, nor does it matter.
    #[error("the signing service broke off")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
    /// The answer was not there in time.
    #[error("the signing service did not answer within {0:?}")]
    TimedOut(Duration),
    /// The service answered with another status than 200.
    #[error("the signing service answered with HTTP status {0}{why}", why = meaning(*.0))]
    Status(u16),
    /// The answer is not of the form that it has to have.
    #[error("the signing service's answer is malformed: {0}")]
    Malformed(&'static str),
    /// The key is not on P-521.
    #[error("the signing service's key is not on P-521")]
    WrongCurve,
    /// The signature does not verify under the key that the service announced.
    #[error("the signing service's signature does not verify under its key")]
    SignatureInvalid,
}

/// What a status says of a call that is otherwise right.
const fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it does not take the key's token",
        404 => ": it knows no key of that name",
        _ => "",
    }
}

impl ServiceError {
    /// Whether the very same call may succeed a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Interrupted(_) | Self::TimedOut(_) => true,
            Self::Status(status) => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}
