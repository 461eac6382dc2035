#![doc = include_str!("../README.md")]

mod ask;
pub mod backup;
mod call;
mod ciphertext;
#[cfg(feature = "constant-time")]
pub mod constant_time;
mod error;
mod field;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod header;
mod id;
mod index;
mod invocations;
mod join;
mod key;
mod layout;
mod mark;
mod meta;
mod ports;
mod record;
pub mod replica;
mod rng;
pub mod rotation;
mod seal;
mod secret;
mod seen;
mod service;
mod state;
mod time;
mod variants;

pub use call::{Call, ChangedAt};
pub use error::{CiphertextError, Field, FieldRule, KmsError, RecordError};
pub use header::{InstanceError, InstanceHeader, MasterKeyProof, Mode, NextMasterKey};
pub use id::{InstanceId, KeyId, KeyRef, VersionId};
pub use invocations::{
    INVOCATIONS_PER_COMMAND, InvocationCount, InvocationLedger, InvocationLimits, InvocationStats,
    LedgerFailed, VolatileLedger,
};
pub use key::{
    Deletion, Key, KeyKind, KeyMetadata, KeyOrigin, KeyQuery, KeyState, KeyVersion, NewKey, Rewrapped,
    Rewrapping, SortBy, SortProperty, StateSet, Unwrapped, Wrapped,
};
pub use keystore::OpId;
pub use mark::{HighWaterMarks, InstanceMark, VolatileMarks};
pub use meta::{OpenError, StoreMeta};
pub use ports::{Clock, NoEligibleUnit, SystemClock, UnavailableUnit, UnitReply, Units, UnitsError};
pub use rng::{RandomFailed, SharedRng};
pub use rotation::{RotationError, RotationId, RotationPhase, RotationProfile, RotationStatus, UnitState};
pub use secret::{Payload, Plaintext};
pub use service::{CheckedInstance, EpochError, Kms, KmsOptions, RemovalError, StoredInstance};
pub use state::{KeyAction, Timers};
