#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(test)]
extern crate std;

mod semiblock;
mod transform;

pub mod kw;
pub mod kwp;

use core::fmt;

/// Longest key that is wrapped or unwrapped, in bytes. SP 800-38F allows more; no key needs it.
pub const MAX_KEY_LEN: usize = 65_536;

/// A wrapped key has a bad length or failed its checks; callers cannot distinguish the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrappedKeyInvalid;

impl fmt::Display for WrappedKeyInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the wrapped key is not valid under this key")
    }
}

impl core::error::Error for WrappedKeyInvalid {}

/// The key has a length that cannot be wrapped, or the output buffer is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthInvalid;

impl fmt::Display for LengthInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key's length cannot be wrapped into this buffer")
    }
}

impl core::error::Error for LengthInvalid {}
