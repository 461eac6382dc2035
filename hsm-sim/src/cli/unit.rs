//! Commands about crypto units.

use super::{InRegionArgs, ServeUnitArgs};
use clap::{Args, Subcommand};

/// Commands about crypto units.
#[derive(Clone, Debug, Subcommand)]
pub enum UnitCommand {
    /// Run one crypto unit in this process, on a Unix socket, until a signal ends it.
    Serve(ServeUnitArgs),
    /// Add an operational unit to a running region. With a development ceremony it is set up, too.
    Add {
        /// Zone of the unit: az1, az2 or az3 [default: the first zone without an operational unit]
        #[arg(long)]
        zone: Option<String>,
        /// The region to reach.
        #[command(flatten)]
        reach: InRegionArgs,
    },
    /// Stop sending requests to an operational unit and wait until it has answered those it has.
    ///
    /// It stays drained until `unit resume`, or until the region restarts.
    Drain(OneUnitArgs),
    /// Have a drained unit serve again.
    Resume(OneUnitArgs),
    /// Drain, zeroize and remove an operational unit. At least two stay, and as many as there are failover units.
    Remove {
        /// Remove the unit even if it cannot be zeroized, for example because its process or its token is lost.
        #[arg(long)]
        lost: bool,
        /// The unit.
        #[command(flatten)]
        unit: OneUnitArgs,
    },
}

/// One unit of a running region.
#[derive(Clone, Debug, Args)]
pub struct OneUnitArgs {
    /// Number of the unit.
    #[arg(value_name = "NUMBER")]
    pub number: u16,
    /// The region to reach.
    #[command(flatten)]
    pub reach: InRegionArgs,
}
