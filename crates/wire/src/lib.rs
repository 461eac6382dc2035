//! The formats that clients see, as bytes and as types. Codecs only: no socket, no clock, no rule of the key service.
//!
//! [`rest`] is Key Protect's JSON, [`iam`] the token service its clients call first, [`form`] the encoding that query
//! strings and IAM's requests share, [`tke`] the protocol of the customer's ceremony tools, [`text`] hexadecimal digits and
//! the messages of an error with its causes.
//!
//! Invariants:
//! - key material of a caller is held in [`Secret`] or in a buffer that is zeroized, from the first byte to the last, and
//!   base64 is decoded and encoded without a branch or a table look-up that depends on it;
//! - no input makes a decoder panic, recurse deeply or allocate more than a small multiple of its length.

pub mod base64;
pub mod base64url;
pub mod form;
pub mod iam;
pub mod region;
pub mod rest;
mod secret;
pub mod text;
pub mod tke;

pub use secret::{Secret, SecretBuf};

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
