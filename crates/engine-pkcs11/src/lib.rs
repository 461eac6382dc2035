//! An [`Engine`](engine::Engine) on any PKCS#11 token.
//!
//! A [`Token`] is found by its [`TokenUri`] and logged in to once. Each [`Pkcs11Engine`] on it has a session of its own and
//! a unit name, which is part of the labels of its objects. [`probe`] shows whether a unit can use a token.
//!
//! Not in this crate: initialising tokens (except the test tokens of [`softhsm`]), setting PINs, key blobs, master-key
//! registers, administrators, and unsafe code.
//!
//! Invariants:
//! - Keys are sensitive objects of the token from their creation on. The cases in which key bytes pass through this
//!   process's memory are listed in `objects/clear_key.rs`.
//! - Every object has one usage and the mechanisms for it. A stored master key permits no operation, and that cannot be
//!   changed. Keys derived from it are session objects only.
//! - A stored object is used after every attribute of it was verified, and if it is the only one of its label and
//!   identifier.
//! - Random bytes are made of the token's and the system's.
//! - A token is used only after it has returned the published result for everything that a unit needs.
//! - A refused PIN is not tried again. A lost token is looked for with growing pauses; afterwards stored keys have the same
//!   handles as before, or the engine reports them as lost.
//! - A failed call destroys the objects it has created. Objects stored by an interrupted change are destroyed at the next
//!   start.

#[cfg(feature = "constant-time")]
pub mod constant_time;
mod error;
mod mechanisms;
mod objects;
mod pkcs11_engine;
mod probe;
mod random;
pub mod softhsm;
mod token;

pub use error::{ObjectFault, ObjectRefusal, OpenError};
pub use objects::DeviceKeyMode;
pub use pkcs11_engine::Pkcs11Engine;
pub use probe::{ProbeRow, Verdict, pin_holder_rights, probe};
pub use token::{
    EventHandler, ListedToken, ModuleListing, Pin, PinError, PinSource, PinSourceInvalid, Token,
    TokenAttributes, TokenEvent, TokenUri, UriError, list,
};

/// Runs the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
