//! What a program needs to know of a running region, as a file.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

/// Written whole when the region serves, mode 0600: it has credentials in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadyFile {
    /// Base of the Key Protect API: `<rest_url>/api/v2/…`.
    pub rest_url: String,
    /// Base of the token service: `<iam_url>/identity/token`.
    pub iam_url: String,
    /// Base of the control API: faults, healing, clock, status.
    pub control_url: String,
    /// The service instance.
    pub instance_id: Uuid,
    /// A second, separate one.
    pub instance_id_2: Uuid,
    /// API key that the token service takes.
    pub api_key: String,
    /// Static bearer tokens of two managers, what goes behind `Bearer `.
    pub tokens: Vec<String>,
    /// Name of the region.
    pub region: String,
    /// Its zones.
    pub zones: Vec<String>,
    /// Its crypto units.
    pub units: Vec<ReadyUnit>,
    /// Process that serves; its end is the region's.
    pub pid: u32,
    /// Where the region's data is.
    pub data: PathBuf,
}

/// Where a crypto unit is.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadyUnit {
    /// Number, from 1.
    pub unit: u16,
    /// Zone.
    pub zone: String,
    /// Socket it listens on.
    pub socket: PathBuf,
}
