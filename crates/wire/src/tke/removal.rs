//! `DELETE /v1/tke/{instance}`: removal of an instance whose keys are deleted and whose crypto units are zeroized.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Query parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RemovalOptions {
    /// Remove the instance although keys are left.
    #[serde(default)]
    pub destroy_keys: bool,
}

impl RemovalOptions {
    /// The query string, with its `?`; empty for the defaults.
    #[must_use]
    pub const fn query(self) -> &'static str {
        if self.destroy_keys { "?destroy_keys=true" } else { "" }
    }
}

/// Body of a success. Removing an instance that does not exist any more succeeds with 0 entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalResponse {
    /// Number of keystore entries that were removed.
    pub entries: u64,
    /// The instance.
    pub instance: Uuid,
    /// What to do before the instance can be used again, for people.
    pub next: String,
}

/// Body of a refusal, HTTP status 409: everything that prevents the removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalRefusal {
    /// All reasons in one message.
    pub error: String,
    /// Number of keys that are left.
    #[serde(default)]
    pub keys: u64,
    /// No unit can open the key records: `keys` counts deleted keys too.
    #[serde(default)]
    pub unreadable: bool,
    /// Units that are not zeroized.
    #[serde(default)]
    pub units: Vec<KeyedUnit>,
}

/// A crypto unit that is not known to be zeroized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedUnit {
    /// Number of the unit in the instance, from 1.
    pub unit: u16,
    /// The reason, without a subject: `is not in imprint mode`.
    pub why: String,
}
