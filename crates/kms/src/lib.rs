//! The key service: root and standard keys, their versions and states, over a port to units and a keystore.
//!
//! [`Kms`] serves the instances of one store. Key material lives in key blobs that only a unit opens; names and all
//! other text are sealed under keys derived from an instance secret that only a unit opens. Nothing is cached but
//! those derived keys: each operation reads the store, so that it sees every change acknowledged before it.
//!
//! What it deliberately does not know: HTTP and every other protocol, sockets, how a unit is reached, who may do
//! what. Callers have been authenticated and authorised before.
//!
//! Invariants:
//! - Nothing is acknowledged before the store has acknowledged it.
//! - Every write holds on the instance's header being unchanged: a frozen or fenced instance takes none.
//! - While the master key is being rotated, a key that can be used with one legal master key can be used with the other.
//! - A lost race is re-read and decided anew; racing rotations leave exactly as many versions as they had successes.
//! - A ciphertext's associated data is the caller's list alone, never an identifier: keys of the same material open
//!   each other's ciphertexts, in any instance.
//! - No caller's text, and no material, stands in the store in the clear. The store sees identifiers, states, sizes
//!   and times; it can withhold a record or give an older one, but not change one or move it to another place.

mod ask;
mod call;
mod ciphertext;
mod error;
mod field;
mod forms;
mod header;
mod id;
mod join;
mod key;
mod layout;
mod meta;
mod ports;
mod record;
mod rng;
pub mod rotation;
mod seal;
mod secret;
mod service;
mod state;
mod time;

pub use call::Call;
pub use error::{CiphertextError, Field, FieldRule, KmsError, RecordError};
pub use forms::{Form, Forms};
pub use header::{InstanceError, InstanceHeader, MasterKeyProof, Mode, NextMasterKey};
pub use id::{InstanceId, KeyId, KeyRef, VersionId};
pub use key::{
    Deletion, Key, KeyKind, KeyMetadata, KeyOrigin, KeyQuery, KeyState, KeyVersion, NewKey, Rewrapped,
    Rewrapping, SortBy, SortProperty, StateSet, Unwrapped, Wrapped,
};
pub use keystore::OpId;
pub use meta::{OpenError, StoreMeta};
pub use ports::{Clock, SystemClock, UnitReply, Units, UnitsError};
pub use rng::{RandomFailed, SharedRng};
pub use rotation::{RotationError, RotationId, RotationPhase, RotationProfile, RotationStatus, UnitState};
pub use secret::{Payload, Plaintext};
pub use service::{Kms, KmsOptions, RemovalError, StoredInstance};
pub use state::{KeyAction, Timers};
