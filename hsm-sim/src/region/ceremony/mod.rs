//! Who brings a region's units into service, and the ceremony that development regions do by themselves.
//!
//! | ceremony | signature keys and key parts | for |
//! |---|---|---|
//! | development | drawn by the region, kept in its data directory in the clear | continuous integration, trying things out |
//! | manual | the customer's; the region never sees them | rehearsing what production asks of people |

mod development;
mod keys;
mod port;

pub use development::{CeremonyError, DevelopmentCeremony};
pub use port::SocketPort;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who brings the units into service. Settled at a region's first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CeremonyKind {
    /// The region itself, with keys that lie in the data directory in the clear.
    #[default]
    Development,
    /// You, with `hsm-sim tke` or other tools; until then the region serves no keys.
    Manual,
}

impl CeremonyKind {
    /// Recovery units that a new region gets where nobody says: a copy of the master key is worth having where it is not
    /// lying about anyway.
    #[must_use]
    pub const fn recovery_units(self) -> u16 {
        match self {
            Self::Development => 0,
            Self::Manual => 2,
        }
    }
}

impl fmt::Display for CeremonyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Manual => "manual",
        })
    }
}
