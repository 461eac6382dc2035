//! An [`Engine`](engine::Engine) in software: for laptops, CI and firmware.
//!
//! [`SoftEngine`] keeps its keys in a table of fixed size; it needs no heap and no operating system. Its inputs are a
//! [`DeviceSecret`], which makes it the same device after a restart, a source of entropy: any
//! [`rand_core::TryCryptoRng`], and a [`StateKeyStore`], in which state keys can be erased. Random bits come from a
//! [`ReseedingDrbg`] over that source.
//!
//! What it deliberately does not do: protect its memory from other readers, store anything but the secrets of state keys,
//! or know blobs, registers and administrators.
//!
//! Invariants:
//! - Key bytes are in the table and in buffers of the current call. Both are wiped: a buffer at the end of the call, an entry
//!   of the table when its key is destroyed or the engine is dropped. Copies that the compiler puts on the stack, and the
//!   copy that a move of the engine leaves behind, are out of reach of safe code and are not wiped.
//! - Time depends on lengths and on verdicts, never on a key or on which check failed.
//! - The handle of a destroyed key is refused, even after another key has taken its place. A handle repeats only after
//!   2³² / `KEYS` keys in one place, and only a key that stays in its place has a handle that is kept so long.
//! - Without entropy, or with entropy that repeats itself, no random bytes and no keys are generated.
//!
//! The schedule of an AES key is prepared at the key's first use and kept until the key is destroyed; a key that is only
//! generated and wrapped never has one. An entry of the table is therefore about 1.1 KiB, and [`SoftEngine`] is large: build
//! it in its final place, since each move leaves a copy behind.

#![no_std]

#[cfg(test)]
extern crate std;

mod attestation;
mod derivation;
mod device;
mod digest;
mod drbg;
mod key;
mod mac;
mod reference;
mod reseeding_drbg;
mod soft_engine;
mod state_keys;
mod symmetric;
mod table;

pub use device::DeviceSecret;
pub use drbg::{CtrDrbg, DrbgError, DrbgSeed};
pub use reseeding_drbg::{ReseedingDrbg, ReseedingError};
pub use soft_engine::{DEFAULT_KEYS, SoftEngine};
pub use state_keys::{
    STATE_KEY_PLACES, STATE_KEY_RECORD_LEN, StateKeyRecord, StateKeyStore, StateKeyStoreFailed,
    VolatileStateKeys,
};
