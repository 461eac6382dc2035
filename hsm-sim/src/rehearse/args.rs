//! Arguments of `hsm-sim rehearse`.

use super::plan::ObjectiveWanted;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;
use tke_cli::parse_duration;

/// Subcommands of `hsm-sim rehearse`.
#[derive(Clone, Debug, Subcommand)]
pub enum RehearseCommand {
    /// Kill every process of the home region under load, promote the standby, repair the home and return to it.
    RegionLoss(RehearseArgs),
    /// Under load, return writing from a standby to the home; both regions live.
    Failback(RehearseArgs),
    /// Kill the crypto units of a zone under load, and repair it.
    ZoneLoss(RehearseArgs),
    /// Rotate the master key under load, as two administrators do whose keys the rehearsal makes.
    Rotation(RehearseArgs),
    /// Kill one of two regions with duplicate keys under load; clients try the other one. Then start it again.
    DuplicateKeys(RehearseArgs),
    /// Check a report: timeline, signature, numbers and pages. Exits with 1 if something was changed.
    Verify(VerifyArgs),
}

/// Options of a rehearsal.
#[derive(Clone, Debug, Args)]
pub struct RehearseArgs {
    /// Folder for the report, which must not hold one yet
    #[arg(long, value_name = "DIR", required_unless_present = "plan_only")]
    pub report: Option<PathBuf>,
    /// Decides what the plan leaves open; the same seed gives the same plan [default: drawn, and reported]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Print the plan, and do nothing
    #[arg(long)]
    pub plan_only: bool,
    /// Rehearse on the simulator that runs on this data directory [default: start one, and stop it afterwards]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["profile", "set", "quick"])]
    pub data: Option<PathBuf>,
    /// Profile of the simulator [default: kp-2024 for a pair of regions]
    #[arg(long)]
    pub profile: Option<crate::pair::Profile>,
    /// Switch of the simulator, as with `up`. Repeatable
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Shorten the load, and the times after which a region counts as lost: to try the command, not to measure
    #[arg(long)]
    pub quick: bool,
    /// Number of clients; half of them retry
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub clients: u16,
    /// Operations that each client begins in a second
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub rate: u16,
    /// Time after which a client gives up a request
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", default_value = "5s")]
    pub request_timeout: Duration,
    /// Objective: longest time from the fault until keys can be used [default: by scenario]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub rto_use: Option<Duration>,
    /// Objective: longest time from the fault until keys can be changed [default: by scenario]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub rto_change: Option<Duration>,
    /// Objective: longest time from the fault until all is as before [default: by scenario]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub rto_full: Option<Duration>,
    /// Objective: how long before the fault a lost change may have been acknowledged, 0s for none [default: by scenario]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub rpo: Option<Duration>,
    /// Why the rehearsal is made, for the report
    #[arg(long, default_value = "", value_name = "TEXT", hide_default_value = true)]
    pub reason: String,
    /// File with the Ed25519 key that signs the report, made if it does not exist [default: a key that is not kept]
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,
    /// Print the report, or the plan, as JSON
    #[arg(long)]
    pub json: bool,
}

impl RehearseArgs {
    /// Changes to the scenario's objective.
    #[must_use]
    pub const fn objective(&self) -> ObjectiveWanted {
        let Self { rto_use, rto_change, rto_full, rpo, .. } = *self;
        ObjectiveWanted { rto_use, rto_change, rto_full, rpo }
    }
}

/// Options of `rehearse verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Folder of the report
    pub report: PathBuf,
    /// Public key that must have signed it, in hexadecimal, or the file of `--signing-key` [default: the one in the report]
    #[arg(long, value_name = "HEX|FILE")]
    pub key: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}
