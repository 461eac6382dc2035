//! An [`Engine`](engine::Engine) in software: for laptops, CI and firmware.
//!
//! [`SoftEngine`] keeps its keys in a fixed table inside itself; it needs no heap and no operating system. What it
//! is given from outside is a [`DeviceSecret`], which makes it the same device after a restart, and a source of entropy:
//! any [`rand_core::TryCryptoRng`]. Random bits come from a [`ReseedingDrbg`] over that source.
//!
//! What it deliberately does not do: protect its memory from whoever can read it, store anything, or know blobs,
//! registers and administrators.
//!
//! Invariants:
//! - Key bytes live in the table and in buffers of the call at work; both are wiped, the table when a key is
//!   destroyed and when the engine is dropped. What the compiler copies to the stack or spills on the way between
//!   them, and what a move of the engine leaves behind, is out of reach of safe code and is not wiped.
//! - Time depends on lengths and on verdicts, never on a key or on which check failed.
//! - A destroyed key's handle is refused, also when its place is taken again; it names another key only after 2³² /
//!   `KEYS` keys in that place, and no handle is kept so long but that of a key which stays in its place.
//! - Without entropy, or with entropy that repeats itself, nothing random is made.
//!
//! An AES key's schedule is prepared when the key is first used and kept beside it until it is destroyed. A key that
//! is only made and wrapped never has one, and a key that works pays for one once. That makes an entry of the table
//! about 1.1 KiB, and [`SoftEngine`] large: build it where it is to stay, since each move leaves a copy behind.

#![no_std]

#[cfg(test)]
extern crate std;

mod derivation;
mod device;
mod digest;
mod drbg;
mod key;
mod mac;
mod reference;
mod reseeding_drbg;
mod soft_engine;
mod symmetric;
mod table;

pub use device::DeviceSecret;
pub use drbg::{CtrDrbg, DrbgError, DrbgSeed};
pub use reseeding_drbg::{ReseedingDrbg, ReseedingError};
pub use soft_engine::{DEFAULT_KEYS, SoftEngine};
