//! What goes round a command on its way in, and round a response on its way out.

use crate::{Command, Refusal, Response, UnitId};
use serde::{Deserialize, Serialize};

/// The one unit, in one life of its domain, that an administrative command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Module.
    pub unit: UnitId,
    /// Domain of the module.
    pub domain_index: u32,
    /// Life of the domain.
    pub domain_instance: u32,
}

/// A command with what authorises it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// For whom; a unit refuses a command for another.
    pub target: Option<Target>,
    /// The unit's counter plus one, or 0 where none is asked for.
    pub transaction_counter: u128,
    /// What is asked for.
    #[serde(borrow)]
    pub command: Command<'a>,
    /// Signatures of administrators over all before, one after the other; empty where none is asked for.
    pub signatures: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// A command for whichever unit gets it, on nobody's authority.
    #[must_use]
    pub const fn plain(command: Command<'a>) -> Self {
        Self { target: None, transaction_counter: 0, command, signatures: &[] }
    }
}

/// One frame from a host.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Request<'a> {
    /// The caller's number, never 0; the reply bears it.
    pub number: u64,
    /// How long the caller still waits, in milliseconds; a unit refuses what is already late.
    pub deadline_ms: u32,
    /// What is asked.
    #[serde(borrow)]
    pub envelope: Envelope<'a>,
}

/// One frame from a unit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Reply<'a> {
    /// The request's number, or 0 for the connection as a whole.
    pub number: u64,
    /// How it ended.
    #[serde(borrow)]
    pub result: Result<Response<'a>, Refusal>,
}
