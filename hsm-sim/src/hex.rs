//! Hexadecimal text, by the names that this crate's modules use for it.

pub use wire::text::{decode_hex as decode, encode_secret_hex as encode};
