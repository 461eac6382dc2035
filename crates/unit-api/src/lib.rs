//! All that a host and a crypto unit say to each other: commands, responses, the signed envelope, frames, limits.
//!
//! A frame is a length in four bytes, big-endian, and that many bytes of [postcard]: a [`Request`] one way, a
//! [`Reply`] the other. Requests are pipelined; a unit answers them in order, each reply bearing its request's
//! number. Number 0 is no request's: a reply that bears it says why the connection is about to be closed.
//!
//! What this crate deliberately does not know: sockets, threads, clocks, how a command is carried out.
//!
//! Invariants:
//! - Variants and fields are appended, never moved or removed: old bytes still decode.
//! - Decoding borrows from the frame and allocates nothing; a length is checked before it is believed.
//! - A secret in a command or response is a borrowed slice; the owner of the buffer wipes it.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

#![no_std]

#[cfg(test)]
extern crate std;

pub mod admin;
pub mod proof;

mod blob;
mod command;
mod envelope;
mod error;
mod frame;
mod limits;
mod mark;
mod pattern;
mod response;
mod status;
mod use_family;
mod variants;

pub use blob::{BLOB_HEADER_LEN, BlobHeader, KeyAttributes};
pub use command::{Command, CommandHandler, CommandKind, Pace, Repetition};
pub use envelope::{Envelope, Reply, Request, Target};
pub use error::{Refusal, UnitError};
pub use frame::{
    CodecError, FRAME_HEADER_LEN, Split, decode_reply, decode_request, encode_reply, encode_request,
    split_frame,
};
pub use limits::{MAX_BLOB_LEN, MAX_DATA_LEN, MAX_FRAME_LEN, MAX_KEY_PARTS, MAX_PIPELINED, MAX_RANDOM_LEN};
pub use mark::{FIRST_DRAWN_LIFE, RolledBack, UnitMark};
pub use pattern::{VerificationPattern, WKID_LEN, Wkid};
pub use proof::MasterKeyProof;
pub use response::Response;
pub use status::{Condition, NewRegister, UnitId, UnitStatus};
pub use use_family::UseFamily;
pub use variants::{Variant, VariantKeys, Variants};
