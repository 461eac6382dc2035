#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(test)]
extern crate std;

mod administer;
mod administration;
mod administrators;
mod audit;
mod blob;
mod blob_seal;
mod command;
mod domain;
mod env;
mod execution;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod key_parts;
mod key_scope;
mod master_key;
mod persistence;
mod refused_attempts;
mod registers;
mod response_layout;
mod self_test;
mod serve;
mod slot;
mod slots;
mod state;
mod storage;
mod unit;

pub mod constant_time;

pub use env::{Clock, Env, Module, UnitIdentity};
pub use serve::REPLY_BUFFER_LEN;
pub use slot::MAX_SLOT_LEN;
pub use storage::{Slot, Storage, StorageFailed};
pub use unit::Unit;
