//! Client of a customer's signing service, which keeps private keys and signs with them over HTTP.
//!
//! | request | response |
//! |---|---|
//! | `GET /keys/:name` | `{"publickey": base64(DER{X, Y})}` |
//! | `POST /sign/:name` with `{"hash_algorithm": "sha2-512", "input": base64}` | `{"signature": base64(DER{R, S})}` |
//!
//! The service hashes `input` and signs the hash. The token of a key is the value of the header `Authorization`. Keys are on
//! P-521.
//!
//! Every signature is verified under the public key that the service returned before it is used. Redirects are not
//! followed, responses are bounded, and no request is repeated: a service may ask its owner for each signature.

mod client;
mod config;
mod error;
mod key;

pub use client::{SigningService, SigningServiceTimeouts, is_loopback_host};
pub use config::{KeyName, NamedKey, SERVICE_KEYS_VARIABLE, SERVICE_URL_VARIABLE, Token, parse_keys};
pub use error::SigningServiceError;
pub use key::SigningServiceKey;
