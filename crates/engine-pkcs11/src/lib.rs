//! An [`Engine`](engine::Engine) over any PKCS#11 token.
//!
//! A [`Token`] is found by its [`TokenUri`] and logged in to once; each [`Pkcs11Engine`] on it has a session of its own and
//! a name, by which the units of one token are told apart. [`probe`] shows what a token can do for a unit.
//!
//! What it deliberately does not do: initialise tokens (but for the throw-away ones of [`softhsm`]), set PINs, know blobs,
//! registers or administrators. No code here is unsafe: what `cryptoki` cannot say is done without.
//!
//! Invariants:
//! - Keys are sensitive objects of the token from the moment they are made. Where a token leaves no way but through this
//!   process's memory, the way is a row in the table of `clear.rs`.
//! - Every object permits one role and the mechanisms of that role. A stored master key permits nothing, for good.
//! - A token is used only after it has given the published answer for everything that a unit needs.
//! - A wrong PIN is tried once. A token that is away is looked for again with growing pauses; what it stores is found again
//!   under the same handles, or the engine says that it is lost.
//! - What a call made is destroyed again when the call fails; what an interrupted change stored, at the next start.

mod error;
mod mechanisms;
mod objects;
mod pkcs11_engine;
mod probe;
pub mod softhsm;
mod token;

pub use error::OpenError;
pub use pkcs11_engine::{Pkcs11Engine, UnitKeys};
pub use probe::{ProbeRow, Verdict, probe};
pub use token::Token;
pub use token::event::{Report, TokenEvent};
pub use token::listing::{ListedToken, ModuleListing, list};
pub use token::pin::{Pin, PinError, PinSource, PinSourceInvalid};
pub use token::uri::{TokenSeen, TokenUri, UriError};
