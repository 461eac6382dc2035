//! A customer's own signing service: two HTTP calls, and the private keys never come here.
//!
//! | call | answer |
//! |---|---|
//! | `GET /keys/:name` | `{"publickey": base64(DER{X, Y})}` |
//! | `POST /sign/:name` with `{"hash_algorithm": "sha2-512", "input": base64}` | `{"signature": base64(DER{R, S})}` |
//!
//! `input` is what is to be hashed and signed. A key's token goes in `Authorization`, as it is. Only P-521.
//!
//! Every signature is verified under the key that the service announced before it goes anywhere. Redirects are not
//! followed, answers are bounded, and nothing is tried twice: a service may ask its owner for each signature.

mod client;
mod config;
mod error;
mod key;

pub use client::{ServiceTimeouts, SigningService};
pub use config::{KeyName, NamedKey, SERVICE_KEYS_VARIABLE, SERVICE_URL_VARIABLE, Token, parse_keys};
pub use error::ServiceError;
pub use key::ServiceKey;
