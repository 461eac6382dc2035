//! The errors of the key service.

use jiff::Timestamp;
use keystore::StoreError;

use crate::{
    InstanceId, KeyAction, KeyRef, KeyState, LedgerFailed, Mode, RandomFailed, UnitsError, VersionId,
};

/// Reason why an operation on keys was not carried out.
///
/// Every variant except [`Self::OutcomeUnknown`] guarantees that nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// The store does not have the instance.
    #[error("there is no instance {0}")]
    InstanceNotFound(InstanceId),
    /// The instance does not have the key, or no longer has it.
    #[error("there is no key {0} in the instance")]
    KeyNotFound(KeyRef),
    /// The action is for root keys, and the key is a standard key.
    #[error("{action} needs a root key; this is a standard key")]
    RootKeyRequired {
        /// The requested action.
        action: KeyAction,
    },
    /// The key's state forbids the action.
    #[error("{action} is not possible in state {state:?}")]
    WrongState {
        /// The requested action.
        action: KeyAction,
        /// The key's state.
        state: KeyState,
    },
    /// The key is destroyed, and the action is not a restore or purge.
    #[error("{action} is not possible: the key was deleted on {at}")]
    KeyDeleted {
        /// The requested action.
        action: KeyAction,
        /// Time of the deletion.
        at: Timestamp,
    },
    /// The pause after the last lifecycle action is not over.
    #[error("{action} is not possible before {allowed_from}")]
    TooEarly {
        /// The requested action.
        action: KeyAction,
        /// Time from which the action is possible.
        allowed_from: Timestamp,
    },
    /// The interval since the last rotation is not over.
    #[error("the key was rotated on {rotated_at}; the next rotation is possible on {allowed_from}")]
    RotationTooEarly {
        /// Time of the last rotation.
        rotated_at: Timestamp,
        /// Time from which the next rotation is possible.
        allowed_from: Timestamp,
    },
    /// The period for a restore is over.
    #[error("the key could be restored until {until}")]
    RestoreExpired {
        /// Last time of a restore.
        until: Timestamp,
    },
    /// An expired key cannot be restored.
    #[error("the key expired on {expired_at}")]
    KeyExpired {
        /// Time of the expiry.
        expired_at: Timestamp,
    },
    /// Rotating an imported key needs new material from its owner.
    #[error("rotating an imported key needs a payload")]
    PayloadRequired,
    /// Rotating a generated key takes no material.
    #[error("rotating a generated key takes no payload")]
    PayloadNotAllowed,
    /// A field of the request breaks its rule.
    #[error("the field `{field}` must be: {rule}")]
    InvalidField {
        /// The field.
        field: Field,
        /// The broken rule.
        rule: FieldRule,
    },
    /// Another key of the instance has the alias.
    #[error("the alias {alias:?} is in use in the instance")]
    AliasNotUnique {
        /// The alias.
        alias: String,
    },
    /// The operation id was used for a creation or a rotation with other content.
    #[error("the operation id was used before for a different creation or rotation")]
    OpIdReused,
    /// The ciphertext does not have the format of wrap.
    #[error("the ciphertext is malformed")]
    CiphertextMalformed(#[source] CiphertextError),
    /// No version of the key made this ciphertext with this additional data, or the ciphertext was changed; not
    /// distinguished.
    #[error("the ciphertext cannot be opened with this key and this additional data")]
    CiphertextRejected,
    /// A limit of this service is reached.
    #[error("{what} are limited to {limit}")]
    LimitReached {
        /// The limited items, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The key version has encrypted as often as AES-GCM with random IVs permits.
    #[error(
        "version {version} of the key has been used for {limit} encryptions, the most that AES-GCM permits; rotate the key"
    )]
    InvocationsExhausted {
        /// The latest version of the key.
        version: VersionId,
        /// Most invocations of a key version.
        limit: u64,
    },
    /// The instance accepts no writes, or the store is a mirror, so that encryptions cannot be counted in it; and what is set
    /// aside for that is used up.
    #[error(
        "encryptions cannot be counted here, because the instance accepts no writes or the store is a mirror, and the {most} \
         that are set aside for that are used up for version {version} of the key; wrap, or rotate the key, where the \
         instance accepts writes"
    )]
    SetAsideExhausted {
        /// The latest version of the key.
        version: VersionId,
        /// Most invocations of a key version without a count in the store.
        most: u64,
    },
    /// The ledger of invocations could not be written.
    #[error("an encryption could not be counted")]
    Ledger(#[from] LedgerFailed),
    /// The instance accepts no writes.
    #[error("the instance accepts no writes: it is {mode:?} in epoch {epoch}")]
    ReadOnly {
        /// The instance's mode.
        mode: Mode,
        /// The epoch in which the mode was set.
        epoch: u64,
    },
    /// The instance's master key is being rotated, and the strict profile refuses the operation meanwhile.
    #[error(
        "{doing} is not possible while the instance's master key is being rotated; retry after the rotation"
    )]
    RotationInProgress {
        /// The operation.
        doing: &'static str,
    },
    /// Other requests changed the same records at every attempt; nothing was written.
    #[error("other requests changed the same records {attempts} times in a row")]
    Contended {
        /// Number of attempts.
        attempts: u32,
    },
    /// The deadline passed before anything was changed.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The change may or may not have been made; a repeat with the same operation id finds out.
    #[error("the outcome is unknown; repeat the request with the same operation id to find out")]
    OutcomeUnknown(#[source] StoreError),
    /// No unit carried out the command.
    #[error("no crypto unit carried out the command")]
    Units(#[from] UnitsError),
    /// The keystore failed or refused; nothing has changed.
    #[error("the keystore failed")]
    Store(#[source] StoreError),
    /// A stored record is damaged, forged or missing.
    #[error("the stored record {key} is not valid")]
    RecordInvalid {
        /// The record's name in the store.
        key: String,
        /// The cause.
        #[source]
        why: RecordError,
    },
    /// The source of random bytes failed.
    #[error("no random bytes are available")]
    Random(#[from] RandomFailed),
}

impl KmsError {
    /// Whether a unit could not open a blob because the master key has moved on since the blob was read.
    pub(crate) fn is_key_mismatch(&self) -> bool {
        matches!(self, Self::Units(error) if error.is_key_mismatch())
    }

    /// Whether the same call may succeed a little later without anything else changing.
    ///
    /// A write that is repeated after [`Self::OutcomeUnknown`] must have the same operation id.
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
            | Self::InvocationsExhausted { .. }
            | Self::SetAsideExhausted { .. }
            | Self::Ledger(_)
            | Self::ReadOnly { .. }
            | Self::RotationInProgress { .. }
            | Self::RecordInvalid { .. } => false,
        }
    }
}

/// [`StoreError::Unknown`] is an unknown outcome; after every other error nothing has changed.
impl From<StoreError> for KmsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown => Self::OutcomeUnknown(error),
            other => Self::Store(other),
        }
    }
}

/// A field of a request, by its name in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `name`: the name of a key.
    Name,
    /// `description`: free text about a key.
    Description,
    /// `aliases`: alternative names of a key.
    Aliases,
    /// `tags`: labels of a key (legacy).
    Tags,
    /// `expirationDate`: time at which a key is deactivated.
    ExpirationDate,
    /// `payload`: base64 of the material of an imported key.
    Payload,
    /// `plaintext`: base64 of the data key to wrap.
    Plaintext,
    /// `aad`: additional authenticated data of a wrap or unwrap.
    Aad,
    /// `ciphertext`: result of an earlier wrap.
    Ciphertext,
}

impl Field {
    /// The field's name in the API.
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

/// The rule that a field breaks. It shows lengths, never content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldRule {
    /// A length in characters.
    #[error("{min}-{max} characters long")]
    Characters {
        /// Minimum length, in characters.
        min: usize,
        /// Maximum length, in characters.
        max: usize,
        /// Length in the request, in characters.
        found: usize,
    },
    /// A length in bytes.
    #[error("{min}-{max} bytes long")]
    Bytes {
        /// Minimum length, in bytes.
        min: usize,
        /// Maximum length, in bytes.
        max: usize,
        /// Length in the request, in bytes.
        found: usize,
    },
    /// The length of a root key.
    #[error("16, 24 or 32 bytes long")]
    RootKeyLen {
        /// Length in the request, in bytes.
        found: usize,
    },
    /// Not all bytes zero.
    #[error("other than zeros only")]
    NotAllZero,
    /// A number of entries.
    #[error("at most {max} entries")]
    Entries {
        /// Maximum number of entries.
        max: usize,
        /// Number of entries in the request.
        found: usize,
    },
    /// No repeated entries.
    #[error("free of repeated entries")]
    Distinct,
    /// The alphabet of aliases.
    #[error("of the characters A-Z, a-z, 0-9, `_` and `-`")]
    AliasAlphabet,
    /// Not a UUID, and not a word in the paths of the API.
    #[error("neither a UUID nor a reserved word")]
    NotReserved,
    /// The alphabet of tags.
    #[error("free of the characters `<`, `>`, `,`, `:`, `&` and `|`")]
    TagAlphabet,
    /// A time in the future.
    #[error("a time in the future")]
    Future,
}

/// Reason why a text is not a ciphertext of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CiphertextError {
    /// Not base64.
    #[error("it is not base64")]
    NotBase64,
    /// Base64 of something else: changed, or made by another service.
    #[error("it is not a wrapped key")]
    NotEnvelope,
    /// A version that this service does not know.
    #[error("its version is not 4.0.0")]
    UnknownVersion,
}

/// Reason why a stored record is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record is missing, although another record refers to it.
    #[error("it is missing")]
    Missing,
    /// The format number is unknown.
    #[error("its format is {found}, and this program knows {expected}")]
    Format {
        /// Length or number in the request.
        found: u8,
        /// Format number that this program knows.
        expected: u8,
    },
    /// Damaged, forged, or moved from another place.
    #[error("its authentication failed")]
    Forged,
    /// Authentic, but another value was written after it.
    #[error("it is an older value that was put back; restore the newest keystore")]
    Older,
    /// Authentic, but it was removed later.
    #[error("it had been removed and was put back; restore the newest keystore")]
    PutBack,
    /// The whole instance, or a part of it, is older than the high-water mark that is kept outside of the store.
    #[error("the instance is older than it has been; restore the newest keystore, or accept an older one")]
    RolledBack,
    /// Authentic, but it does not decode: a bug.
    #[error("it does not decode")]
    Malformed,
}
