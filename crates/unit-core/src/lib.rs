//! One crypto unit: a domain of a hardware security module, with everything that makes it one.
//!
//! A [`Unit`] is ruled by its administrators, whose signed commands it checks, counts and records; it holds the master
//! key in two registers (Current and New), makes and opens the key blobs that hosts keep outside, carries out commands
//! over them, and keeps its own state durable. [`Unit::execute`] is the only way in; [`Unit::handle_request`] is the same
//! for a frame's body. What the module's operator may do without the customer, [`Unit::zeroize_module`] and
//! [`Unit::tamper`], is never reached from there.
//!
//! What it deliberately does not know: network, disk format, other units, who its callers are, what time it is but for the
//! dates of audit records. It keeps no customer key: what a command opens is destroyed before the command is answered.
//!
//! Invariants:
//! - The next state is computed, saved, swapped in, then answered; a failed save leaves the old state whole. Counter,
//!   change and audit record are one write.
//! - What is verified and what is decided are apart: no decision sees a signature, and none is made before all are right.
//! - A command that was rightly signed uses up its counter, also when it is refused; any other leaves the counter alone.
//! - Nothing of a key blob is unwrapped, nor any of its attributes believed, before its MAC is checked.
//! - The transaction counter never goes back, and a life of the domain never bears an earlier life's number, as long as
//!   [`Storage`] keeps what it confirmed.
//! - A unit whose engine fails its self-test, or whose stored state is damaged, answers only status, queries about itself
//!   and zeroize.
//! - A master key leaves only sealed for an importer key that a module of the same root has signed.
//! - No heap, no panic on outside data.

#![no_std]

#[cfg(test)]
extern crate std;

mod administer;
mod administration;
mod administrators;
mod answer;
mod audit;
mod blob;
mod blob_seal;
mod command;
mod domain;
mod env;
mod execution;
mod keeping;
mod key_parts;
mod key_scope;
mod master_key;
mod registers;
mod self_test;
mod serve;
mod slot;
mod slots;
mod state;
mod storage;
mod unit;

pub mod constant_time;

pub use env::{Clock, Env, Identity, Module};
pub use serve::REPLY_BUFFER_LEN;
pub use slot::MAX_SLOT_LEN;
pub use storage::{Slot, Storage, StorageFailed};
pub use unit::Unit;
