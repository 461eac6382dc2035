//! Why the key service did not do what was asked.

use jiff::Timestamp;
use keystore::StoreError;

use crate::{Action, InstanceId, KeyRef, KeyState, Mode, RandomFailed, UnitsError};

/// Why an operation on keys did not happen.
///
/// Every variant but [`Self::OutcomeUnknown`] promises that nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// The caller named an instance that this store does not have.
    #[error("there is no instance {0}")]
    InstanceNotFound(InstanceId),
    /// The caller named a key that the instance does not have, or no longer has.
    #[error("there is no key {0} in the instance")]
    KeyNotFound(KeyRef),
    /// The action is for root keys, the key is a standard key.
    #[error("{action} needs a root key, and this is a standard key")]
    RootKeyRequired {
        /// What was asked.
        action: Action,
    },
    /// The key's state forbids the action.
    #[error("{action} is not possible in state {state:?}")]
    WrongState {
        /// What was asked.
        action: Action,
        /// The key's state.
        state: KeyState,
    },
    /// The key is destroyed, and the action is not one that brings it back.
    #[error("{action} is not possible: the key was deleted on {at}")]
    KeyDeleted {
        /// What was asked.
        action: Action,
        /// When it was deleted.
        at: Timestamp,
    },
    /// Another lifecycle action has just happened.
    #[error("{action} is not possible before {allowed_from}")]
    TooEarly {
        /// What was asked.
        action: Action,
        /// When it will be.
        allowed_from: Timestamp,
    },
    /// The key was rotated within the hour.
    #[error("the key was rotated on {rotated_at}; the next rotation is possible on {allowed_from}")]
    RotationTooEarly {
        /// When it was last rotated.
        rotated_at: Timestamp,
        /// When it may be rotated again.
        allowed_from: Timestamp,
    },
    /// The time for a restore is over.
    #[error("the key could be restored until {until}")]
    RestoreExpired {
        /// When it was over.
        until: Timestamp,
    },
    /// A key whose expiry has passed is not restored.
    #[error("the key expired on {expired_at}")]
    KeyExpired {
        /// When it expired.
        expired_at: Timestamp,
    },
    /// An imported key is rotated with new material from its owner.
    #[error("an imported key is rotated with a payload, and there is none")]
    PayloadRequired,
    /// A generated key is rotated without material.
    #[error("a generated key is rotated without a payload, and there is one")]
    PayloadNotAllowed,
    /// Something the caller gave is not as it must be.
    #[error("the field `{field}` must be: {rule}")]
    InvalidField {
        /// Which.
        field: Field,
        /// What it must be.
        rule: FieldRule,
    },
    /// The alias is another key's.
    #[error("the alias {alias:?} is in use in the instance")]
    AliasNotUnique {
        /// Which.
        alias: String,
    },
    /// The operation id was used for a creation or a rotation with other content.
    #[error("the operation id was used before, for another key or version than the one described now")]
    OpIdReused,
    /// The ciphertext is not in the form that wrap gives.
    #[error("the ciphertext is not as wrap gave it")]
    CiphertextMalformed(#[source] CiphertextError),
    /// No version of the key made this ciphertext with this additional data, or it was changed. Not told apart.
    #[error("the ciphertext cannot be opened with this key and this additional data")]
    CiphertextRejected,
    /// A named limit of this service.
    #[error("{what} are limited to {limit}")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The instance takes no writes.
    #[error("the instance takes no writes: it is {mode:?} in epoch {epoch}")]
    ReadOnly {
        /// Why.
        mode: Mode,
        /// Since.
        epoch: u64,
    },
    /// The instance's master key is being rotated, and the service's profile is to wait until it has been.
    #[error(
        "{doing} is not possible while the instance's master key is being rotated: repeat it when the rotation is done"
    )]
    RotationInProgress {
        /// What was asked.
        doing: &'static str,
    },
    /// Others changed the same records every time; nothing was applied.
    #[error("other requests changed the same records {attempts} times in a row")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// The deadline passed before anything was changed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The change may or may not have been made. The same operation id sent again tells.
    #[error("the outcome is not known; the same operation sent again will tell")]
    OutcomeUnknown(#[source] StoreError),
    /// No unit did its part.
    #[error("the crypto units did not serve")]
    Units(#[from] UnitsError),
    /// The keystore failed or refused; nothing has changed.
    #[error("the keystore did not serve")]
    Store(#[source] StoreError),
    /// A stored record is damaged, forged or missing.
    #[error("the stored record {key} is not valid")]
    RecordInvalid {
        /// Its name in the store.
        key: String,
        /// What is wrong.
        #[source]
        why: RecordError,
    },
    /// Random bytes could not be had.
    #[error("no random bytes")]
    Random(#[from] RandomFailed),
}

impl KmsError {
    /// Whether a unit could not open a blob because the master key has moved on since the blob was read.
    pub(crate) fn is_key_mismatch(&self) -> bool {
        matches!(self, Self::Units(error) if error.is_key_mismatch())
    }

    /// Whether the same call may succeed a little later without anything else changing.
    ///
    /// A write repeated after [`Self::OutcomeUnknown`] must bear the same operation id.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended { .. } | Self::DeadlineExceeded | Self::OutcomeUnknown(_) | Self::Random(_) => {
                true
            }
            Self::Units(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::InstanceNotFound(_)
            | Self::KeyNotFound(_)
            | Self::RootKeyRequired { .. }
            | Self::WrongState { .. }
            | Self::KeyDeleted { .. }
            | Self::TooEarly { .. }
            | Self::RotationTooEarly { .. }
            | Self::RestoreExpired { .. }
            | Self::KeyExpired { .. }
            | Self::PayloadRequired
            | Self::PayloadNotAllowed
            | Self::InvalidField { .. }
            | Self::AliasNotUnique { .. }
            | Self::OpIdReused
            | Self::CiphertextMalformed(_)
            | Self::CiphertextRejected
            | Self::LimitReached { .. }
            | Self::ReadOnly { .. }
            | Self::RotationInProgress { .. }
            | Self::RecordInvalid { .. } => false,
        }
    }
}

/// `Unknown` is an unknown outcome whoever asked; everything else certainly changed nothing.
impl From<StoreError> for KmsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown => Self::OutcomeUnknown(error),
            other => Self::Store(other),
        }
    }
}

/// A field that a caller gives, by the name it has in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `name`.
    Name,
    /// `description`.
    Description,
    /// `aliases`.
    Aliases,
    /// `tags`.
    Tags,
    /// `expirationDate`.
    ExpirationDate,
    /// `payload`.
    Payload,
    /// `plaintext`.
    Plaintext,
    /// `aad`.
    Aad,
    /// `ciphertext`.
    Ciphertext,
}

impl Field {
    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Description => "description",
            Self::Aliases => "aliases",
            Self::Tags => "tags",
            Self::ExpirationDate => "expirationDate",
            Self::Payload => "payload",
            Self::Plaintext => "plaintext",
            Self::Aad => "aad",
            Self::Ciphertext => "ciphertext",
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a field must be, and what came instead. Shows lengths, never content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldRule {
    /// Of a length in characters.
    #[error("{min}-{max} characters long")]
    Characters {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
        /// What came.
        found: usize,
    },
    /// Of a length in bytes.
    #[error("{min}-{max} bytes long")]
    Bytes {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
        /// What came.
        found: usize,
    },
    /// The length of a root key.
    #[error("16, 24 or 32 bytes long")]
    RootKeyLen {
        /// What came, in bytes.
        found: usize,
    },
    /// Not zeros alone.
    #[error("other than zeros only")]
    NotAllZero,
    /// No more than so many entries.
    #[error("at most {max} entries")]
    Entries {
        /// Most.
        max: usize,
        /// What came.
        found: usize,
    },
    /// Each entry once.
    #[error("free of repeated entries")]
    Distinct,
    /// An alias's alphabet.
    #[error("of the characters A-Z, a-z, 0-9, `_` and `-`")]
    AliasAlphabet,
    /// No UUID, and no word that the paths of the API use.
    #[error("neither a UUID nor a reserved word")]
    NotReserved,
    /// A tag's alphabet.
    #[error("free of the characters `<`, `>`, `,`, `:`, `&` and `|`")]
    TagAlphabet,
    /// A time to come.
    #[error("a time ahead of now")]
    Future,
}

/// Why text is no ciphertext of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CiphertextError {
    /// Not base64. A client's mistake in handling it.
    #[error("it is not base64")]
    NotBase64,
    /// Base64 of something else: tampered with, or another service's.
    #[error("it is not a wrapped key")]
    NotEnvelope,
    /// A form that only a newer or an older service knows.
    #[error("it is of another version than 4.0.0")]
    UnknownVersion,
}

/// Why a stored record is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is not there, though another record says so.
    #[error("it is missing")]
    Missing,
    /// Its format number is not known here.
    #[error("its format {found} is not {expected}")]
    Format {
        /// What came.
        found: u8,
        /// What is known.
        expected: u8,
    },
    /// Damaged, forged, or moved from another place.
    #[error("it does not pass its check")]
    Forged,
    /// It passes its check but does not decode: a bug.
    #[error("it does not decode")]
    Malformed,
}
