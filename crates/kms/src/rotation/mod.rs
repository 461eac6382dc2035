//! The rotation of the master key under an instance's keys.
//!
//! While a rotation is under way every key is kept under both master keys, so that it can be used, made, rotated and
//! removed as always, whichever master key the unit has that serves the request.
//!
//! | phase | units | header | what is done | leads to |
//! |---|---|---|---|---|
//! | – | New committed on all | old | [`begin_rotation`](crate::Kms::begin_rotation) | re-enciphering |
//! | re-enciphering | Current old | old, next | each key gets its second form, in batches | re-enciphered |
//! | re-enciphered | Current old | old, next | nothing; [`begin_activation`](crate::Kms::begin_activation) | activating |
//! | activating | some old, some new | old, next | units are activated; [`finish_rotation`](crate::Kms::finish_rotation) | finishing |
//! | finishing | Current new | new | first forms are removed, in batches | done |
//! | done | Current new | new | nothing | – |
//! | cancelling | Current old | old | second forms are removed, in batches | – |
//!
//! [`cancel_rotation`](crate::Kms::cancel_rotation) leads from the first two phases to cancelling; from `activating` on
//! there is no way back.
//!
//! Source: the concurrent change of master keys of openCryptoki, its EP11 token.

mod journal;
mod region;
mod resume;

use jiff::Timestamp;
use unit_api::VerificationPattern;
use uuid::Uuid;

pub(crate) use journal::Journal;
pub use region::{RegionError, RegionRotation, RegionStatus};
pub use resume::{Advice, JournalState, Position, Step, UnitState, resume};

use crate::{InstanceId, KmsError, UnitsError, layout};

/// The key of the store that the journal of an instance's rotation stands under, to be watched.
#[must_use]
pub fn journal_key(instance: InstanceId) -> keystore::Key {
    layout::journal(instance)
}

/// Which rotation: the same for all instances that share their units.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RotationId(pub [u8; 16]);

/// In the form of a UUID.
impl std::fmt::Display for RotationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Uuid::from_bytes(self.0).fmt(f)
    }
}

impl std::fmt::Debug for RotationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RotationId({self})")
    }
}

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RotationPhase {
    /// Keys get their form under the next master key.
    ReEnciphering = 1,
    /// Every key has both forms.
    ReEnciphered = 2,
    /// Units go on to the next master key. There is no way back.
    Activating = 3,
    /// The next master key is the instance's; what is under the old one is being removed.
    Finishing = 4,
    /// Nothing is under the old master key any more.
    Done = 5,
    /// The old master key stays; what is under the next one is being removed.
    Cancelling = 6,
}

impl RotationPhase {
    /// Every phase, for tables and tests.
    pub const ALL: [Self; 6] = [
        Self::ReEnciphering,
        Self::ReEnciphered,
        Self::Activating,
        Self::Finishing,
        Self::Done,
        Self::Cancelling,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| *phase as u8 == number)
    }

    /// The phase's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReEnciphering => "re-enciphering",
            Self::ReEnciphered => "re-enciphered",
            Self::Activating => "activating",
            Self::Finishing => "finishing",
            Self::Done => "done",
            Self::Cancelling => "cancelling",
        }
    }

    /// Whether keys have to be gone through, batch by batch.
    #[must_use]
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::ReEnciphering | Self::Finishing | Self::Cancelling)
    }

    /// Whether the rotation can be cancelled.
    #[must_use]
    pub const fn is_cancellable(self) -> bool {
        matches!(self, Self::ReEnciphering | Self::ReEnciphered)
    }
}

impl std::fmt::Display for RotationPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A rotation as its instance's journal has it.
#[derive(Clone, Copy, Debug)]
pub struct RotationStatus {
    /// Which.
    pub id: RotationId,
    /// The pattern of the master key that it began with.
    pub old: VerificationPattern,
    /// The pattern of the master key that it leads to.
    pub new: VerificationPattern,
    /// How far it has come.
    pub phase: RotationPhase,
    /// Key versions that the present phase has gone through.
    pub done: u64,
    /// Key versions there were when the phase began; while keys are made, `done` may come to exceed it.
    pub total: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When its journal was last written.
    pub changed_at: Timestamp,
}

/// What requests see while the master key is being rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RotationProfile {
    /// Everything works.
    #[default]
    Online,
    /// As Hyper Protect Crypto Services has it: keys are listed, shown and deleted; what needs a crypto unit is refused
    /// until the rotation has finished.
    Strict,
}

/// Why a step of a rotation was not taken. Nothing has changed, unless the cause says that it is not known.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// As with any operation.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The instance's master key is this already.
    #[error("{pattern} is the instance's master key already: load another one")]
    SameMasterKey {
        /// The pattern.
        pattern: VerificationPattern,
    },
    /// Another rotation has to end first.
    #[error(
        "a rotation to {} is {}: finish or cancel it first", under_way.new, under_way.phase
    )]
    UnderWay {
        /// That one.
        under_way: Box<RotationStatus>,
    },
    /// There is nothing to go on with.
    #[error("no rotation is under way: commit the new master key on every unit, then begin")]
    NotUnderWay,
    /// The phase does not permit the step.
    #[error("{doing} is not possible while the rotation is {phase}: {instead}")]
    WrongPhase {
        /// The step.
        doing: &'static str,
        /// The phase.
        phase: RotationPhase,
        /// What is possible.
        instead: &'static str,
    },
    /// Not every unit that counts has the new master key.
    #[error("the crypto units are not ready: {}", advice.next)]
    UnitsBehind {
        /// What to do first.
        advice: Box<Advice>,
    },
    /// A key lacks its second form: going on would lose it.
    #[error("{missing} key versions are not under the new master key: cancel the rotation and begin it anew")]
    Incomplete {
        /// How many.
        missing: u64,
    },
}

impl RotationError {
    /// Whether the same call may succeed a little later without anything else changing.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Kms(error) => error.is_retryable(),
            Self::SameMasterKey { .. }
            | Self::UnderWay { .. }
            | Self::NotUnderWay
            | Self::WrongPhase { .. }
            | Self::UnitsBehind { .. }
            | Self::Incomplete { .. } => false,
        }
    }
}

impl From<UnitsError> for RotationError {
    fn from(error: UnitsError) -> Self {
        Self::Kms(error.into())
    }
}
