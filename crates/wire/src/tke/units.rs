//! `GET /v1/tke/{instance}/hsms`: the crypto units of an instance.

use super::HexBytes;
use super::words::words;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Crypto units by kind. Their numbers count from 1 through the three lists in this order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UnitList {
    /// Operational units.
    #[serde(default)]
    pub hsms: Vec<ListedUnit>,
    /// Recovery units.
    #[serde(default)]
    pub source_hsms: Vec<ListedUnit>,
    /// Failover units.
    #[serde(default)]
    pub failover_hsms: Vec<ListedUnit>,
}

/// One crypto unit as the service reports it. Not signed: what the module itself says is queried from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedUnit {
    /// Number of the unit in its instance, from 1, unique. Earlier services do not send it; units are then numbered in the
    /// order of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
    /// Identifier of the unit in paths.
    pub hsm_id: Uuid,
    /// Location, as `[region].[zone].[module].[domain]`.
    pub location: String,
    /// Serial number of the module, 8 characters.
    pub serial_number: String,
    /// Serial number and instance of the module.
    pub module_id: HexBytes<16>,
    /// Index of the domain in its module.
    pub domain: u32,
    /// State of the unit.
    pub state: UnitLifecycle,
    /// Version of the software that runs the unit.
    pub version: String,
}

words! {
    /// How far a crypto unit is set up.
    UnitLifecycle: "unit state" {
        /// In imprint mode: no administrator is installed.
        Reserved = "reserved",
        /// Administrators are installed; there is no current master key.
        Claimed = "claimed",
        /// Holds a current master key.
        Initialized = "initialized",
        /// Holds a current master key and serves the instance with it.
        KmsInitialized = "kms-initialized",
        /// In its error state: executes queries and zeroize only.
        Error = "error",
        /// Does not answer.
        Unreachable = "unreachable",
    }
}
