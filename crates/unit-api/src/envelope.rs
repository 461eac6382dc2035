//! What goes round a command on its way in, and round a response on its way out.

use crate::{Command, FRAME_HEADER_LEN, MAX_FRAME_LEN, Refusal, Response, UnitId};
use serde::{Deserialize, Serialize};

/// The one unit, in one life of its domain, that an administrative command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Serial number and instance of the module.
    pub unit: UnitId,
    /// Domain of the module.
    pub domain_index: u32,
    /// Life of the domain.
    pub domain_instance: u32,
}

/// A command on its way in. What authorises an administrative command is inside of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// What is asked for.
    #[serde(borrow)]
    pub command: Command<'a>,
}

impl<'a> Envelope<'a> {
    /// A command.
    #[must_use]
    pub const fn plain(command: Command<'a>) -> Self {
        Self { command }
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

impl Request<'_> {
    /// Room that holds the request's frame, in bytes: its length or a little more, at most that of the longest frame.
    #[must_use]
    pub const fn frame_len_hint(&self) -> usize {
        // Header, number and deadline at their longest, lengths of four fields, key specification.
        const FIXED: usize = 160;
        let hint = FIXED + self.envelope.command.payload_len();
        let longest = FRAME_HEADER_LEN + MAX_FRAME_LEN;
        if hint < longest { hint } else { longest }
    }
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
