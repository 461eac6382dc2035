//! Commands about backups.

use super::{InRegionArgs, ReachArgs};
use clap::Subcommand;
use std::path::PathBuf;

/// Commands about backups.
#[derive(Clone, Debug, Subcommand)]
pub enum BackupCommand {
    /// Make a backup of each instance now, and test it by a restore into memory.
    Now(InRegionArgs),
    /// List the backups, oldest first.
    List(InRegionArgs),
    /// Show what a backup says about itself.
    Show {
        /// Name, as `backup list` shows it [default: the newest]
        name: Option<String>,
        /// The region to reach.
        #[command(flatten)]
        reach: InRegionArgs,
    },
    /// Test a backup again: restore it into memory and open everything in it.
    Verify {
        /// Name, as `backup list` shows it [default: the newest]
        name: Option<String>,
        /// The region to reach.
        #[command(flatten)]
        reach: InRegionArgs,
    },
    /// Restore instances into a region that accepts changes. Its keys are served once its units have the master key.
    Restore {
        /// Name of the region.
        #[arg(long, value_name = "REGION")]
        into: String,
        /// File of a backup [default: the newest tested one of each instance]
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// The region or pair to reach.
        #[command(flatten)]
        reach: ReachArgs,
    },
}
