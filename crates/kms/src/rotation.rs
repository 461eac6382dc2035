//! Rotation of the master key of an instance.
//!
//! During a rotation every key is kept under both master keys, so that it can be used, made, rotated and removed as always,
//! whichever of the two master keys the serving unit has.
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
//! [`cancel_rotation`](crate::Kms::cancel_rotation) leads from the first two phases to cancelling; from `activating` on a
//! rotation cannot be cancelled.
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

/// Identifier of a rotation, the same for all instances that share their units.
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

/// The phase of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RotationPhase {
    /// Every key gets its form under the next master key.
    ReEnciphering = 1,
    /// Every key has both forms.
    ReEnciphered = 2,
    /// Units activate the next master key. The rotation can no longer be cancelled.
    Activating = 3,
    /// The next master key is the instance's; forms under the old one are being removed.
    Finishing = 4,
    /// No form under the old master key is left.
    Done = 5,
    /// The old master key stays; forms under the next one are being removed.
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

    /// Whether the phase processes keys in batches.
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

/// The rotation in an instance's journal.
#[derive(Clone, Copy, Debug)]
pub struct RotationStatus {
    /// The rotation's identifier.
    pub id: RotationId,
    /// Verification pattern of the old master key.
    pub old: VerificationPattern,
    /// Verification pattern of the new master key.
    pub new: VerificationPattern,
    /// The present phase.
    pub phase: RotationPhase,
    /// Key versions that the present phase has processed.
    pub done: u64,
    /// Number of key versions at the beginning of the phase; `done` may exceed it if keys are made meanwhile.
    pub total: u64,
    /// Time of its beginning.
    pub started_at: Timestamp,
    /// Time of the last change of the journal.
    pub changed_at: Timestamp,
}

/// The operations that are possible while the master key is being rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RotationProfile {
    /// All operations.
    #[default]
    Online,
    /// As in Hyper Protect Crypto Services: keys can be listed, shown and deleted; operations that need a crypto unit are
    /// refused until the rotation has finished.
    Strict,
}

/// Reason why a step of a rotation was not carried out. Nothing has changed, unless the cause is an unknown outcome.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// An error of the key service.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The new master key is already the instance's.
    #[error("{pattern} is already the instance's master key; load another one")]
    SameMasterKey {
        /// Verification pattern of the master key.
        pattern: VerificationPattern,
    },
    /// Another rotation must end first.
    #[error(
        "a rotation to {} is {}; finish or cancel it first", under_way.new, under_way.phase
    )]
    UnderWay {
        /// The other rotation.
        under_way: Box<RotationStatus>,
    },
    /// No rotation is in progress.
    #[error("no rotation is in progress; commit the new master key on every unit, then begin")]
    NotUnderWay,
    /// The phase does not permit the step.
    #[error("{doing} is not possible while the rotation is {phase}: {instead}")]
    WrongPhase {
        /// The step that is not possible.
        doing: &'static str,
        /// The present phase.
        phase: RotationPhase,
        /// The possible steps.
        instead: &'static str,
    },
    /// Not every unit that is not excluded has the new master key.
    #[error("the crypto units are not ready: {}", advice.next)]
    UnitsBehind {
        /// The next step.
        advice: Box<Advice>,
    },
    /// A key lacks its second form and would be lost.
    #[error("{missing} key versions are not under the new master key; cancel the rotation and begin again")]
    Incomplete {
        /// Number of key versions.
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
