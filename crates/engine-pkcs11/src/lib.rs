//! An [`Engine`](engine::Engine) over any PKCS#11 token.

mod pin;
pub mod softhsm;
mod uri;

pub use pin::{Pin, PinError, PinSource, PinSourceInvalid};
pub use uri::{TokenSeen, TokenUri, UriError};
