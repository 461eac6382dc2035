//! `GET /v1/tke/{instance}/keystore`: the master key that the keystore's keys are under.

use super::Pattern;
use super::words::words;
use serde::{Deserialize, Serialize};

/// The keystore as the service reports it. Not signed by a module: tools use it to prevent mistakes, not as proof.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct KeystoreStatus {
    /// Master key that every key is under. `None` while the keystore has no instance: any master key may be activated.
    pub pattern: Option<Pattern>,
    /// Master key that a rotation under way leads to.
    #[serde(default)]
    pub next: Option<Pattern>,
    /// Number of keys, including destroyed keys that are not purged yet. `None` while no unit can open their records.
    #[serde(default)]
    pub keys: Option<u64>,
    /// State of the instance.
    pub state: InstanceState,
}

words! {
    /// State of an instance.
    InstanceState: "instance state" {
        /// The keystore has no instance yet.
        Unkeyed = "unkeyed",
        /// The keystore has keys, and no unit serves them.
        Locked = "locked",
        /// At least one unit serves, and the master key is being rotated.
        Rotating = "rotating",
        /// Some operational units serve, others do not.
        Degraded = "degraded",
        /// Every operational unit serves.
        Ready = "ready",
    }
}
