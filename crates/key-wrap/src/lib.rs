//! AES key wrap without padding ([`kw`]) and with padding ([`kwp`]), over the caller's buffers.
//!
//! ```
//! use aes::{Aes256, cipher::KeyInit};
//!
//! let kek = Aes256::new(&[0x0f; 32].into());
//! let mut buffer = [0; 40];
//! assert_eq!(key_wrap::kw::wrap(&kek, &[0x5a; 32], &mut buffer), Ok(40));
//! assert_eq!(key_wrap::kw::unwrap_in_place(&kek, &mut buffer), Ok(32));
//! assert_eq!(buffer, *[[0x5a; 8], [0x5a; 8], [0x5a; 8], [0x5a; 8], [0; 8]].as_flattened());
//! ```
//!
//! The cipher is any of the `aes` crate's: it holds both prepared schedules and wipes them on drop, so whoever
//! keeps one pays for a key schedule once.
//!
//! What it deliberately does not do: hold keys, draw randomness, allocate, or say why an unwrapping failed.
//!
//! Invariants:
//! - Time and memory accesses depend on lengths alone, never on a key, a plaintext or which check failed.
//! - The checks of an unwrapping form one mask. What they refuse leaves the whole buffer zero.

#![no_std]

#[cfg(test)]
extern crate std;

mod semiblock;
mod transform;

pub mod kw;
pub mod kwp;

use core::fmt;

/// Longest key that is wrapped or unwrapped, in bytes. SP 800-38F goes further; keys do not.
pub const MAX_KEY_LEN: usize = 65_536;

/// A wrapped key has a bad length or did not pass its checks; not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrappedKeyInvalid;

impl fmt::Display for WrappedKeyInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the wrapped key is not valid under this key")
    }
}

impl core::error::Error for WrappedKeyInvalid {}

/// A key is of a length that cannot be wrapped, or the output buffer is too small for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthInvalid;

impl fmt::Display for LengthInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key's length cannot be wrapped into this buffer")
    }
}

impl core::error::Error for LengthInvalid {}
