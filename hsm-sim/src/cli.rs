//! The command line.

use crate::region::{CeremonyKind, Engines, EnginesError, Wanted};
use crate::tke::LocalTkeArgs;
use crate::token::TokenCommand;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kms::RotationProfile;
use std::path::PathBuf;
use std::time::Duration;
use tke_cli::parse_duration;
use uuid::Uuid;

/// An open Hyper-Protect-style key service in a simulated region: crypto units whose master key only you hold.
#[derive(Debug, Parser)]
#[command(name = "hsm-sim", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Start a region: three zones, crypto units, the Key Protect API. Ctrl-C stops it; starting again finds every key.
    Up(UpArgs),
    /// Show units, their health and the clock of a running region.
    Status(ReachArgs),
    /// Do something bad to a unit or a zone of a running region.
    Fault {
        /// What.
        #[command(subcommand)]
        fault: FaultCommand,
    },
    /// Undo faults: start killed units, let paused ones go on; with a development ceremony, bring zeroized ones into service.
    Heal {
        /// What to heal.
        #[command(flatten)]
        target: TargetArgs,
        /// The region to reach.
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// The service's clock, which timers of keys follow.
    Clock {
        /// What to do with it.
        #[command(subcommand)]
        clock: ClockCommand,
    },
    /// Use 20,000 data keys while each zone in turn is killed and healed; exit status 1 if anything was lost.
    Demo(DemoArgs),
    /// What an instance's customer does: signature keys, key parts, administrators and master keys of crypto units.
    Tke(Box<LocalTkeArgs>),
    /// Find out whether a PKCS#11 token can carry a crypto unit.
    Token {
        /// What to do with it.
        #[command(subcommand)]
        token: TokenCommand,
    },
    /// Run a crypto unit.
    Unit {
        /// What to do.
        #[command(subcommand)]
        unit: UnitCommand,
    },
}

/// Commands about crypto units.
#[derive(Clone, Debug, Subcommand)]
pub enum UnitCommand {
    /// Run one crypto unit in this process, on a Unix socket, until a signal ends it.
    Serve(ServeUnitArgs),
}

/// Options of `up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Where keys and unit states are kept.
    #[arg(long, default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Operational crypto units [default: 2, or what the data directory has]
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=3))]
    pub units: Option<u16>,
    /// Recovery units, 0 or 2: one in the home region, one in another [default: 2 with a manual ceremony, else 0]
    #[arg(long, value_parser = parse_recovery_units)]
    pub recovery_units: Option<u16>,
    /// Failover units in another region, 0, 2 or 3, no more than operational ones [default: 0]
    #[arg(long, value_parser = parse_failover_units)]
    pub failover_units: Option<u16>,
    /// Who gives the units administrators and a master key; settled at the first start [default: development]
    #[arg(long, value_enum)]
    pub ceremony: Option<CeremonyKind>,
    /// Where the crypto units' keys are: `soft`, `pkcs11:softhsm` (a SoftHSM token for each unit), or the PKCS#11 URI of a
    /// token; ZONE=ENGINE for one zone. Repeatable; settled when a zone gets its first unit [default: soft]
    #[arg(long = "engine", value_name = "[ZONE=]ENGINE", env = "HSM_SIM_ENGINE", value_delimiter = ' ')]
    pub engines: Vec<String>,
    /// What keys can be used for while the master key is being rotated
    #[arg(long, value_enum, default_value_t)]
    pub rotation: RotationKind,
    /// Port of the Key Protect API on the loopback interface; 0 for any free one. The control API takes the next.
    #[arg(long, default_value_t = 8900)]
    pub port: u16,
    /// Write addresses and credentials to this file, as JSON, once the region serves.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
}

/// What keys can be used for while the master key is being rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RotationKind {
    /// Everything.
    #[default]
    Online,
    /// As in the original: keys are listed, shown and deleted, and nothing else until the rotation has finished.
    Strict,
}

impl From<RotationKind> for RotationProfile {
    fn from(kind: RotationKind) -> Self {
        match kind {
            RotationKind::Online => Self::Online,
            RotationKind::Strict => Self::Strict,
        }
    }
}

impl UpArgs {
    /// What they ask of a region.
    ///
    /// # Errors
    /// [`EnginesError`] for engines that there are none of.
    pub fn wanted(&self) -> Result<Wanted, EnginesError> {
        let Self { units, recovery_units, failover_units, ceremony, .. } = *self;
        let engines = Engines::parse(&self.engines)?;
        Ok(Wanted { units, recovery_units, failover_units, ceremony, engines })
    }
}

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where keys and unit states are kept [default: a temporary directory]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Operational crypto units [default: 2, or what the data directory has]
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=3))]
    pub units: Option<u16>,
    /// Where the crypto units' keys are, as with `up`.
    #[arg(long = "engine", value_name = "[ZONE=]ENGINE", env = "HSM_SIM_ENGINE", value_delimiter = ' ')]
    pub engines: Vec<String>,
    /// Port of the Key Protect API on the loopback interface; 0 for any free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Write addresses and credentials to this file, as JSON, once the region serves.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// Data keys to wrap and unwrap.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub keys: u32,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `unit serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeUnitArgs {
    /// Folder of the unit's state; made if it is not there.
    #[arg(long)]
    pub state: PathBuf,
    /// Unix socket to listen on.
    #[arg(long)]
    pub socket: PathBuf,
    /// Folder of the simulated manufacturer, made if it is not there [default: `factory` in the folder of the state]
    #[arg(long)]
    pub factory: Option<PathBuf>,
    /// Serial number of the module of a unit that is made, 8 characters.
    #[arg(long, default_value = "SIM00000")]
    pub serial: String,
    /// Index of the domain in its module [default: 0, or what the unit has]
    #[arg(long)]
    pub domain: Option<u32>,
    /// Service instance that the unit belongs to [default: one of its own, or what the unit has]
    #[arg(long)]
    pub instance: Option<Uuid>,
    /// Where the unit's keys are: `soft`, `pkcs11:softhsm` (a SoftHSM token of its own), or the PKCS#11 URI of a token, such
    /// as `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin` (or `env:NAME`, `prompt`)
    /// [default: soft, or what the unit has]
    #[arg(long)]
    pub engine: Option<String>,
    /// Number of the unit in its region: take orders on standard input, and end when it ends.
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub supervised_as: Option<u16>,
}

/// Where the running region is, and how to print.
#[derive(Clone, Debug, Args)]
pub struct ReachArgs {
    /// Data directory of the running region.
    #[arg(long, default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Address of its control API, in place of the data directory.
    #[arg(long)]
    pub control_url: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The data directory where none is named.
pub const DEFAULT_DATA: &str = "hsm-sim-data";

/// Faults.
#[derive(Clone, Debug, Subcommand)]
pub enum FaultCommand {
    /// End processes at once (SIGKILL), and keep them from starting again until healed.
    Kill(FaultArgs),
    /// Stop processes where they stand (SIGSTOP): connected, and silent.
    Pause(FaultArgs),
    /// Take longer over every command.
    Slow {
        /// How much longer.
        #[arg(long, default_value = "50ms", value_parser = parse_duration)]
        by: Duration,
        /// Of whom.
        #[command(flatten)]
        args: FaultArgs,
    },
    /// Empty crypto units of administrators and master keys, as their operator can.
    Zeroize(FaultArgs),
    /// Have modules notice tampering: they erase everything.
    Tamper(FaultArgs),
}

/// Units of a fault, and the region they are in.
#[derive(Clone, Debug, Args)]
pub struct FaultArgs {
    /// Units that the fault is for.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The region to reach.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `unit N`, `zone Z` or `all`.
#[derive(Clone, Debug, Args)]
pub struct TargetArgs {
    /// One unit, all units of a zone, or all.
    pub kind: TargetKind,
    /// Number of the unit, or name of the zone.
    #[arg(required_if_eq_any([("kind", "unit"), ("kind", "zone")]))]
    pub name: Option<String>,
}

/// Kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TargetKind {
    /// One unit, by number.
    Unit,
    /// All units of a zone, by name: az1, az2, az3.
    Zone,
    /// All units.
    All,
}

/// What to do with the clock.
#[derive(Clone, Debug, Subcommand)]
pub enum ClockCommand {
    /// Show it.
    Show(ReachArgs),
    /// Move it forward: 90s, 15m, 6h, 31d.
    Advance {
        /// By how much.
        #[arg(value_parser = parse_duration)]
        by: Duration,
        /// The region to reach.
        #[command(flatten)]
        reach: ReachArgs,
    },
}

fn parse_recovery_units(text: &str) -> Result<u16, String> {
    one_of(text, &[0, 2])
}

fn parse_failover_units(text: &str) -> Result<u16, String> {
    one_of(text, &[0, 2, 3])
}

fn one_of(text: &str, allowed: &[u16]) -> Result<u16, String> {
    let expected = || {
        let allowed: Vec<String> = allowed.iter().map(u16::to_string).collect();
        format!("there can be {}", allowed.join(" or "))
    };
    text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documented_commands_parse() {
        for line in [
            "up --rotation strict",
            "up --engine az1=soft --engine az2=pkcs11:softhsm",
            "demo --engine pkcs11:softhsm",
            "unit serve --state s --socket u --engine pkcs11:token=t?module-path=/m.so&pin-source=prompt",
            "up --data d --units 3 --port 0 --ready-file r",
            "up --ceremony manual --recovery-units 2 --failover-units 3",
            "status --json",
            "fault tamper unit 1",
            "unit serve --state s --socket u --domain 3 --instance 0f0e0d0c-0b0a-4908-8706-050403020100 --factory f",
            "fault kill unit 1",
            "fault slow --by 20ms unit 2",
            "fault kill zone az1",
            "heal all",
            "heal unit 2",
            "clock advance 31d",
            "demo --units 3",
            "token probe softhsm --json",
            "token probe --module /m.so --serial 0a0b --pin-file p",
            "tke cryptounits --json",
            "tke cryptounit-add all --data d --files f",
            "tke cryptounit-thrhld-set --signature 2 --revocation 2",
            "tke cryptounit-mk-load --part one --part-card card#two --card c --pin-file c=p",
            "tke propose --unit 1 --out f commit",
            "tke auto-init --new-administrator a --new-administrator b",
        ] {
            Cli::try_parse_from(std::iter::once("hsm-sim").chain(line.split(' '))).unwrap();
        }
        for line in [
            "fault kill unit",
            "token probe",
            "token probe softhsm --module /m.so",
            "token probe softhsm --token t",
            "up --units 1",
            "up --recovery-units 1",
            "up --failover-units 1",
            "clock advance 31",
            "fault kill zone",
        ] {
            assert!(
                Cli::try_parse_from(std::iter::once("hsm-sim").chain(line.split(' '))).is_err(),
                "{line}"
            );
        }
    }
}
