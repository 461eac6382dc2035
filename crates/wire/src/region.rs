//! What the nodes of a pair of regions, their witness and their front tell each other.
//!
//! Over mutually authenticated TLS, as [frames](MAX_MESSAGE_LEN): the length in four bytes, most significant first, then as
//! many bytes. The first frame of a connection is a [`Hello`]; it says what the connection is for. Messages are JSON; what a
//! replication stream has after the hello is the format of the key service.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest message, in bytes. Events of replication are longer.
pub const MAX_MESSAGE_LEN: usize = 4096;
/// The version of this protocol.
pub const VERSION: u32 = 1;

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The version of the protocol that the client speaks.
    pub version: u32,
    /// What the connection is for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "snake_case", deny_unknown_fields)]
pub enum Purpose {
    /// The client, a region, sends [`PeerMessage`]s to its partner, which sends nothing.
    Messages,
    /// The client, a region, wants the changes of its partner, which sends events until the connection ends. The client tells
    /// how far it has come with [`Applied`].
    Replicate {
        /// How far the client has come; `None` to get everything.
        from: Option<Position>,
    },
    /// The client, a region, asks whose data its partner has. The answer is a [`Holding`].
    Holding,
    /// The client, a front, sends [`Probe`]s, each of which is answered with a [`ProbeAnswer`].
    Probe,
    /// The client, a region, sends [`LeaseRequest`]s to a witness, each of which is answered with a [`LeaseReply`].
    Lease,
}

/// Whose data a region has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "holding", rename_all = "snake_case", deny_unknown_fields)]
pub enum Holding {
    /// It has no instance and no copy.
    Nothing,
    /// An incomplete copy.
    Incomplete,
    /// A complete copy of another store, up to this position or later.
    Copy {
        /// The position.
        of: Position,
    },
    /// Its own.
    Own {
        /// The position in the store that it had followed when it took over; `None` if it never followed one.
        taken_over_at: Option<Position>,
    },
}

/// A region has the changes of its partner durably.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// Up to this position; `None` while it copies everything. It is told at least as often as the partner sends events, so
    /// that the partner notices when it is gone.
    pub at: Option<Position>,
}

/// A revision of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Identity of the store, 32 hexadecimal digits.
    pub store: String,
    /// The revision.
    pub revision: u64,
}

/// A part in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The region that an instance belongs to.
    Home,
    /// The region that its data are replicated to.
    Standby,
}

/// A number that no other start, and no other attempt of it, has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Random number of the start.
    pub boot: u64,
    /// Number since then.
    pub number: u64,
}

/// Why a region does not hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It has just started, and does not know yet whether it has the right to write.
    NotReady,
    /// It is taking over itself.
    TakingOver,
    /// It no longer stands still for this attempt.
    Late,
}

/// A message of a region to its partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case", deny_unknown_fields)]
pub enum PeerMessage {
    /// Asks for a sign of life.
    Poll {
        /// The sender's epoch.
        epoch: u64,
        /// Number of the poll.
        ping: u64,
        /// Random number of the sender's start.
        boot: u64,
    },
    /// Answers a poll.
    Heard {
        /// The sender's epoch.
        epoch: u64,
        /// Number of the poll.
        ping: u64,
        /// Random number of the start of the region that polled.
        boot: u64,
        /// Whether the sender promises not to take the right to write for the duration of a lease.
        promised: bool,
    },
    /// Asks to stand still.
    Freeze {
        /// The attempt to take over.
        handover: Attempt,
    },
    /// The sender stands still.
    Frozen {
        /// The attempt to take over.
        handover: Attempt,
        /// The freeze.
        freeze: Attempt,
        /// The last revision.
        revision: u64,
        /// The digest of the data there, 64 hexadecimal digits.
        digest: String,
    },
    /// The sender does not hand over.
    Refused {
        /// The attempt to take over.
        handover: Attempt,
        /// Why it does not.
        reason: Refusal,
    },
    /// The sender has every change: it asks for the right to write.
    Commit {
        /// The attempt to take over.
        handover: Attempt,
        /// The freeze.
        freeze: Attempt,
    },
    /// The sender has given its right to write away.
    Committed {
        /// The attempt to take over.
        handover: Attempt,
        /// The new epoch.
        epoch: u64,
    },
    /// The sender gives up its attempt.
    Cancel {
        /// The attempt to take over.
        handover: Attempt,
    },
}

/// A front asks a region for its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// For how long the front has not reached the partner, in milliseconds.
    pub partner_unreachable_ms: u64,
    /// The highest epoch that the front has seen.
    pub highest: u64,
}

/// The state of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeAnswer {
    /// The epoch that it acts by.
    pub epoch: u64,
    /// Whether keys can be used there.
    pub serves: bool,
    /// Whether it follows its partner and believes it to be lost.
    pub partner_lost: bool,
}

/// A region asks the witness for the lease on writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// Who asks.
    pub side: Side,
    /// The epoch that it wants to write under.
    pub epoch: u64,
    /// Number of the request.
    pub ping: u64,
    /// Random number of the sender's start.
    pub boot: u64,
    /// Whether it gives the lease back instead.
    pub release: bool,
}

/// The witness's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseReply {
    /// Number of the request.
    pub ping: u64,
    /// Random number of the start of the region that asked.
    pub boot: u64,
    /// Whether the lease is granted.
    pub granted: bool,
    /// The highest epoch that was granted.
    pub epoch: u64,
}

impl Hello {
    /// A hello in this version.
    #[must_use]
    pub const fn new(purpose: Purpose) -> Self {
        Self { version: VERSION, purpose }
    }
}

/// A message as the bytes of a frame.
#[must_use]
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // The types of this module have text keys and no other maps, which JSON always has a form for.
    serde_json::to_vec(message).unwrap_or_default()
}

/// The message in a frame.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Hello, MAX_MESSAGE_LEN, PeerMessage, Position, Purpose, decode, encode};

    #[test]
    fn wire_a_hello_is_the_documented_one() {
        let from = Some(Position { store: "0".repeat(32), revision: 7 });
        let hello = Hello::new(Purpose::Replicate { from });
        let text = String::from_utf8(encode(&hello)).unwrap();
        let store = "0".repeat(32);
        assert_eq!(
            text,
            format!(
                r#"{{"version":1,"purpose":{{"purpose":"replicate","from":{{"store":"{store}","revision":7}}}}}}"#
            )
        );
        assert_eq!(decode::<Hello>(text.as_bytes()).unwrap(), hello);
    }

    #[test]
    fn the_longest_message_fits_a_frame() {
        let attempt = Attempt { boot: u64::MAX, number: u64::MAX };
        let message = PeerMessage::Frozen {
            handover: attempt,
            freeze: attempt,
            revision: u64::MAX,
            digest: "f".repeat(64),
        };
        let bytes = encode(&message);
        assert!(bytes.len() < MAX_MESSAGE_LEN);
        assert_eq!(decode::<PeerMessage>(&bytes).unwrap(), message);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(
            decode::<PeerMessage>(br#"{"message":"poll","epoch":1,"ping":2,"boot":3,"more":4}"#).is_err()
        );
        assert!(decode::<PeerMessage>(br#"{"message":"surrender"}"#).is_err());
    }
}
