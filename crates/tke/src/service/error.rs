//! Errors of a signing service.

use std::error::Error;
use std::time::Duration;

/// Reason why a signing service returned no key or no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningServiceError {
    /// The address is not `http://host[:port][/path]` or the same with `https`.
    #[error(
        "`{0}` is not the address of a signing service: write https://HOST, or http://127.0.0.1:PORT on this machine"
    )]
    AddressInvalid(String),
    /// Plain HTTP to another machine would show tokens, and what is signed, to the network.
    #[error(
        "{0} is on another machine: over plain http, the tokens of signature keys could be read on the network. Use https, \
         or a tunnel that ends on this machine"
    )]
    PlainHttp(String),
    /// The name of a key has characters other than letters, digits, `-`, `.`, `_` and `~`.
    #[error("`{0}` is not a valid key name: use letters, digits, `-`, `.`, `_` and `~`")]
    NameInvalid(String),
    /// The list of keys is not a JSON list of `{"key": …, "token": …}`, the token optional.
    #[error("the list of keys is not valid JSON of the form [{{\"key\": \"…\", \"token\": \"…\"}}]")]
    KeysInvalid,
    /// A token has characters that an HTTP header cannot contain.
    #[error("the token of key {0} contains characters that are not allowed in an HTTP header")]
    TokenInvalid(String),
    /// TLS cannot be set up: no trusted root certificate, or an invalid one.
    #[error("there is no valid root certificate to verify the signing service")]
    NoRoots,
    /// No connection, or the TLS handshake failed.
    #[error("the signing service cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The connection broke before the response was complete.
    #[error("the connection to the signing service broke")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
    /// The response was not complete within the time limit.
    #[error("the signing service did not answer within {0:?}")]
    TimedOut(Duration),
    /// The service answered with a status other than 200.
    #[error("the signing service answered with HTTP status {0}{why}", why = meaning(*.0))]
    Status(u16),
    /// The response is malformed.
    #[error("the response of the signing service is malformed: {0}")]
    Malformed(&'static str),
    /// The key is not on P-521.
    #[error("the signing service's key is not on P-521")]
    WrongCurve,
    /// The signature is not valid under the public key that the service returned.
    #[error("the signature of the signing service is not valid under its key")]
    SignatureInvalid,
}

/// Meaning of a status.
const fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it does not accept the token of the key",
        404 => ": it has no key of that name",
        _ => "",
    }
}

impl SigningServiceError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Interrupted(_) | Self::TimedOut(_) => true,
            Self::Status(status) => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}
