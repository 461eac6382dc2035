//! Cryptographic mechanisms over key objects: the token's own where it has them, else built from what it has.

pub(crate) mod derivation;
pub(crate) mod kwp_blocks;
pub(crate) mod wrapping;
