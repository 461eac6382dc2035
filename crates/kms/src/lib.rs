//! The key service: root and standard keys, their versions and states, over a port to units and a keystore.
//!
//! [`Kms`] serves the instances of one store. Key material lives in key blobs that only a unit opens; names and all
//! other text are sealed under keys derived from an instance secret that only a unit opens. Nothing is cached but
//! those derived keys: each operation reads the store, so that it sees every change acknowledged before it.
//!
//! The operations, each of one [`Call`] (instance, caller's `iam_id`, remaining time):
//! ```text
//! Kms::open(store, units, KmsOptions { clock, rng, timers }, deadline)   -> Result<Kms<S, U>, OpenError>
//! create_instance(instance, pattern, deadline)          -> Result<InstanceHeader, OpenError>   once, at its birth
//! create_key(&call, op, NewKey)                         -> Result<KeyMetadata, KmsError>
//! list_keys(&call, &KeyQuery)                           -> Result<Vec<KeyMetadata>, KmsError>
//! count_keys(&call, &KeyQuery)                          -> Result<usize, KmsError>
//! get_key(&call, &KeyRef)                               -> Result<Key, KmsError>
//! metadata(&call, &KeyRef)                              -> Result<KeyMetadata, KmsError>
//! list_versions(&call, &KeyRef, all_states: bool)       -> Result<Vec<KeyVersion>, KmsError>   newest first
//! wrap(&call, &KeyRef, Option<Plaintext>, aad: &[impl AsRef<str>]) -> Result<Wrapped, KmsError>
//! unwrap(&call, &KeyRef, ciphertext: &str, aad)         -> Result<Unwrapped, KmsError>
//! rewrap(&call, &KeyRef, ciphertext: &str, aad)         -> Result<Rewrapped, KmsError>
//! rotate(&call, op, &KeyRef, Option<Payload>)           -> Result<KeyMetadata, KmsError>
//! disable, enable, delete, restore(&call, op, &KeyRef)  -> Result<KeyMetadata, KmsError>
//! purge(&call, op, &KeyRef)                             -> Result<KeyMetadata, KmsError>
//! ```
//! `op` is the request's idempotency token; without one from the client, [`Kms::random_op`] gives one.
//!
//! What it deliberately does not know: HTTP and every other protocol, sockets, how a unit is reached, who may do
//! what. Callers have been authenticated and authorised before.
//!
//! Invariants:
//! - Nothing is acknowledged before the store has acknowledged it.
//! - Every write holds on the instance's header being unchanged: a frozen or fenced instance takes none.
//! - A lost race is re-read and decided anew; racing rotations leave exactly as many versions as they had successes.
//! - A ciphertext's associated data is the caller's list alone, never an identifier: keys of the same material open
//!   each other's ciphertexts, in any instance.
//! - No caller's text, and no material, stands in the store in the clear. The store sees identifiers, states, sizes
//!   and times; it can withhold a record or give an older one, but not change one or move it to another place.

mod call;
mod error;
mod header;
mod id;
mod key;
mod ports;
mod secret;
mod state;

pub use call::Call;
pub use error::{CiphertextError, Field, FieldRule, KmsError, RecordError};
pub use header::{CANARY_LABEL, COMMITMENT_LABEL, InstanceHeader, MasterKeyProof, Mode, SECRET_AAD};
pub use id::{InstanceId, KeyId, KeyRef, VersionId};
pub use key::{
    Deletion, Key, KeyKind, KeyMetadata, KeyOrigin, KeyQuery, KeyState, KeyVersion, NewKey, Rewrapped,
    Rewrapping, SortBy, SortProperty, StateSet, Unwrapped, Wrapped,
};
pub use keystore::OpId;
pub use ports::{Clock, OsRng, RandomFailed, Rng, SystemClock, UnitReply, Units, UnitsError};
pub use secret::{Payload, Plaintext};
pub use state::{Action, Timers};
