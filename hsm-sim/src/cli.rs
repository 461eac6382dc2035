//! The command line.

mod backup;
mod unit;

pub use self::backup::BackupCommand;
pub use self::unit::{OneUnitArgs, UnitCommand};
use crate::pair::{PairWanted, Profile};
use crate::region::{CeremonyKind, Engines, EnginesError, Wanted};
use crate::rehearse::RehearseCommand;
use crate::tke::LocalTkeArgs;
use crate::token::TokenCommand;
use clap::{Args, Parser, Subcommand, ValueEnum};
use keystore::Accepted;
use kms::RotationProfile;
use std::path::PathBuf;
use std::time::Duration;
use tke_cli::parse_duration;
use uuid::Uuid;

/// An open Hyper-Protect-style key service in a simulated region: crypto units whose master key only you hold.
#[derive(Debug, Parser)]
#[command(name = "hsm-sim", version, max_term_width = 110)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Start a region: three zones, crypto units, the Key Protect API. Ctrl-C stops it; starting again finds every key.
    ///
    /// With a profile that has a standby, start a pair of regions, the front that clients use, and a witness if the profile
    /// needs one.
    Up(Box<UpArgs>),
    /// Show units, their health and the clock of a running region.
    Status(InRegionArgs),
    /// Inject a fault into a unit, a zone or all units of a running region, or into a region or a link of a pair.
    Fault {
        /// Fault to inject.
        #[command(subcommand)]
        fault: FaultCommand,
    },
    /// Undo faults: start killed units, resume paused ones; with a development ceremony, set up zeroized ones again. In a pair
    /// also: start a lost region, join an isolated one, mend a link.
    Heal(HealArgs),
    /// Show a pair of regions, and change which one accepts changes.
    Region {
        /// Command about the pair.
        #[command(subcommand)]
        region: RegionCommand,
    },
    /// Keep or undo what this version has changed in the data directory of an earlier one.
    Upgrade {
        /// Whether to keep or to undo it.
        #[command(subcommand)]
        upgrade: UpgradeCommand,
    },
    /// Make, list, test and restore backups of the instances.
    Backup {
        /// Command about backups.
        #[command(subcommand)]
        backup: BackupCommand,
    },
    /// Show or advance the service's clock, which the timers of keys follow.
    Clock {
        /// Whether to show or advance it.
        #[command(subcommand)]
        clock: ClockCommand,
    },
    /// Use 20,000 data keys while each zone in turn is killed and healed; exit status 1 if anything was lost.
    Demo(DemoArgs),
    /// Break something under load on purpose, and write a signed report about the result. Exits with 0 if the objective
    /// was met, 1 if not, 3 if the rehearsal is void, 130 if it was interrupted.
    Rehearse {
        /// What is rehearsed.
        #[command(subcommand)]
        rehearse: RehearseCommand,
    },
    /// Administer crypto units as their customer: signature keys, key parts, administrators and master keys.
    Tke(Box<LocalTkeArgs>),
    /// Test whether a crypto unit can use a PKCS#11 token.
    Token {
        /// Command about the token.
        #[command(subcommand)]
        token: TokenCommand,
    },
    /// Run a crypto unit, or change which operational units a running region has.
    Unit {
        /// Command about the unit.
        #[command(subcommand)]
        unit: UnitCommand,
    },
}

/// Options of `up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Data directory: keys and states of units
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
    /// What keys can be used for while the master key is being rotated [default: online, or what the profile says]
    #[arg(long, value_enum)]
    pub rotation: Option<RotationKind>,
    /// Behave as a service does, or did; the data directory keeps it [default: default]
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Change a switch that the profile sets, for example standby.write_after=2h or fence=witness. Repeatable; replaces the
    /// switches of earlier starts
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Name of the home in a pair of regions [default: us-south]
    #[arg(long, value_name = "NAME")]
    pub home: Option<String>,
    /// Name of the standby [default: us-east for us-south, jp-osa for jp-tok, eu-fr2 for eu-de]
    #[arg(long, value_name = "NAME")]
    pub standby: Option<String>,
    /// Whether to allow faults and clock changes, which can lose or expire keys [default: on with a development ceremony,
    /// else off]
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub faults: Option<Switch>,
    /// Folder for daily backups of the instances [default: `backups` in the data directory]
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Name under which the region is addressed, beside those of the loopback interface; others are refused. Repeatable.
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Port of the Key Protect API on the loopback interface; 0 for any free one. The control API takes the next.
    #[arg(long, default_value_t = 8900)]
    pub port: u16,
    /// Write addresses and credentials to this file, as JSON, once the region serves.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// Print credentials, too. They can end up in logs; without this, lines to paste read them from the data directory.
    #[arg(long)]
    pub show_credentials: bool,
    /// Start with a keystore that is older than it has been: later changes are lost, and keys made later for good
    #[arg(long)]
    pub accept_older_keystore: bool,
    /// Start with a new, empty keystore in place of one that is missing: all its keys are lost
    #[arg(long)]
    pub accept_missing_keystore: bool,
    /// Start with another keystore than the one that the region had
    #[arg(long)]
    pub accept_other_keystore: bool,
    /// Stop at the end of standard input, for a program that starts this one
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// Whether something that can lose or expire keys is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Faults and clock changes are allowed.
    On,
    /// Faults and clock changes are refused.
    Off,
}

/// What keys can be used for while the master key is being rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RotationKind {
    /// Every operation.
    #[default]
    Online,
    /// As in the original: keys can only be listed, shown and deleted until the rotation has finished.
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
    /// Deviations of the keystore from its pin that are accepted.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        Accepted::default()
            .older(self.accept_older_keystore)
            .missing(self.accept_missing_keystore)
            .other(self.accept_other_keystore)
    }

    /// The same, as a list: older, missing, other.
    #[must_use]
    pub const fn accepted_list(&self) -> [bool; 3] {
        [self.accept_older_keystore, self.accept_missing_keystore, self.accept_other_keystore]
    }

    /// Profile, switches and regions that the arguments request.
    #[must_use]
    pub fn pair(&self) -> PairWanted {
        let Self { profile, set, home, standby, .. } = self;
        PairWanted { profile: *profile, set: set.clone(), home: home.clone(), standby: standby.clone() }
    }

    /// Units, ceremony and engines that the arguments request.
    ///
    /// # Errors
    /// [`EnginesError`] for an invalid or unavailable engine.
    pub fn wanted(&self) -> Result<Wanted, EnginesError> {
        let Self { units, recovery_units, failover_units, ceremony, .. } = *self;
        let engines = Engines::parse(&self.engines)?;
        Ok(Wanted { units, recovery_units, failover_units, ceremony, engines })
    }
}

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Data directory: keys and states of units [default: a temporary directory]
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
    /// Folder of the unit's state, created if it does not exist.
    #[arg(long)]
    pub state: PathBuf,
    /// Unix socket to listen on.
    #[arg(long)]
    pub socket: PathBuf,
    /// Folder of the simulated manufacturer, created if it does not exist [default: `factory` in the folder of the state]
    #[arg(long)]
    pub factory: Option<PathBuf>,
    /// Serial number of the module of a new unit, 8 characters.
    #[arg(long, default_value = "SIM00000")]
    pub serial: String,
    /// Index of the domain in its module [default: 0, or what the unit has]
    #[arg(long)]
    pub domain: Option<u32>,
    /// Service instance that the unit belongs to [default: a random one, or what the unit has]
    #[arg(long)]
    pub instance: Option<Uuid>,
    /// Where the unit's keys are: `soft`, `pkcs11:softhsm` (a SoftHSM token of its own), or the PKCS#11 URI of a token, such
    /// as `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin` (or `env:NAME`, `prompt`)
    /// [default: soft, or what the unit has]
    #[arg(long)]
    pub engine: Option<String>,
    /// Number of the unit in its region: read orders from standard input, and exit at its end.
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub supervised_as: Option<u16>,
}

/// How to reach the running region, and how to print.
#[derive(Clone, Debug, Args)]
pub struct ReachArgs {
    /// Data directory of the running region.
    #[arg(long, default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Address of the control API, instead of the data directory. Its token is read from the environment variable
    /// HSM_SIM_CONTROL_TOKEN, or from the data directory of the region that has this address.
    #[arg(long)]
    pub control_url: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// How to reach a running region, which may be one of a pair.
#[derive(Clone, Debug, Args)]
pub struct InRegionArgs {
    /// Region of a pair [default: the home]
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The region or pair to reach.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// Default data directory.
pub const DEFAULT_DATA: &str = "hsm-sim-data";

/// The faults.
#[derive(Clone, Debug, Subcommand)]
pub enum FaultCommand {
    /// Kill unit processes (SIGKILL); they are not restarted until healed.
    Kill(FaultArgs),
    /// Stop unit processes (SIGSTOP): they stay connected and do not answer.
    Pause(FaultArgs),
    /// Delay every command of units.
    Slow {
        /// Delay of each command.
        #[arg(long, default_value = "50ms", value_parser = parse_duration)]
        by: Duration,
        /// Units that are slow.
        #[command(flatten)]
        args: FaultArgs,
    },
    /// Erase administrators and master keys of crypto units, as their operator can.
    Zeroize(FaultArgs),
    /// Make modules detect tampering: they erase everything.
    Tamper(FaultArgs),
    /// Kill every process of a region (SIGKILL); it stays away until healed, and nothing answers in its place.
    Lose(OneRegionArgs),
    /// Cut a region off: it lives, and nothing outside reaches it or is reached by it.
    Isolate(OneRegionArgs),
    /// Drop everything between two of: the regions, `witness`, `front`.
    Cut {
        /// The word `link`, and both ends.
        #[command(flatten)]
        link: LinkArgs,
        /// Drop only what the first one sends to the second one.
        #[arg(long)]
        one_way: bool,
        /// The pair to reach.
        #[command(flatten)]
        reach: ReachArgs,
    },
}

/// A region of a pair.
#[derive(Clone, Debug, Args)]
pub struct OneRegionArgs {
    /// The word `region`.
    pub kind: RegionWord,
    /// Name of the region.
    pub name: String,
    /// The pair to reach.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// A link of a pair.
#[derive(Clone, Debug, Args)]
pub struct LinkArgs {
    /// The word `link`.
    pub kind: LinkWord,
    /// One end: the name of a region, `witness` or `front`.
    pub from: String,
    /// The other end.
    pub to: String,
}

/// The word `region`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RegionWord {
    /// A region of a pair.
    Region,
}

/// The word `link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkWord {
    /// A link of a pair.
    Link,
}

/// What to heal, and where.
#[derive(Clone, Debug, Args)]
pub struct HealArgs {
    /// One unit, all units of a zone, all; in a pair also a region or a link.
    pub kind: HealKind,
    /// Number of the unit, name of the zone or region, or both ends of the link.
    #[arg(num_args = 0..=2, required_if_eq_any([
        ("kind", "unit"), ("kind", "zone"), ("kind", "region"), ("kind", "link")
    ]))]
    pub names: Vec<String>,
    /// The region or pair to reach.
    #[command(flatten)]
    pub reach: InRegionArgs,
}

/// Kinds of things to heal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HealKind {
    /// One unit, by number.
    Unit,
    /// All units of a zone, by name: az1, az2, az3.
    Zone,
    /// Every unit; in a pair also every region and link.
    All,
    /// A region of a pair, by name.
    Region,
    /// A link of a pair, by its two ends: names of regions, `witness`, `front`.
    Link,
}

/// What becomes of the copy of an earlier version.
#[derive(Clone, Debug, Subcommand)]
pub enum UpgradeCommand {
    /// Remove the copy of the earlier version, overwriting it. There is no way back to that version afterwards.
    Confirm(UpgradeArgs),
    /// Put the files of the earlier version back, for its program. What was changed since the upgrade is lost.
    Undo(UpgradeArgs),
}

/// A data directory on which nothing runs.
#[derive(Clone, Debug, Args)]
pub struct UpgradeArgs {
    /// Data directory of a region or a pair that does not run.
    #[arg(long, default_value = DEFAULT_DATA)]
    pub data: PathBuf,
}

/// Commands about a pair of regions.
#[derive(Clone, Debug, Subcommand)]
pub enum RegionCommand {
    /// Show the state of the pair, who accepts changes, the lag, and whether the loss of a region would be survived now.
    Status(ReachArgs),
    /// Say what the loss of a region would do now, and what would stop it. Exits with 1 if it would not be survived.
    Ready(ReachArgs),
    /// Have the standby accept changes. The home hands over; if it does not answer, you have to state that it is down.
    Promote {
        /// I state that the home is down and cannot accept changes: what it accepts from now on is lost.
        #[arg(long)]
        home_is_down: bool,
        /// Promote a standby whose data differ from those of the home.
        #[arg(long)]
        accept_divergence: bool,
        /// The pair to reach.
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// Have the home accept changes again. It first copies everything that the standby has.
    Return(ReachArgs),
    /// Wait until a change is in both regions. Exits with 1 if it is not there in time.
    WaitReplicated {
        /// The header `hsm-revision` of the answer to the change.
        revision: String,
        /// How long to wait.
        #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
        timeout: Duration,
        /// The pair to reach.
        #[command(flatten)]
        reach: ReachArgs,
    },
    /// Show the public address and each region's own.
    Endpoints(ReachArgs),
    /// Show what has happened, with times.
    Log(ReachArgs),
    /// Run one region of a pair in this process, as its pair tells it.
    #[command(hide = true)]
    Serve(PartArgs),
    /// Run the witness of a pair in this process, as its pair tells it.
    #[command(hide = true)]
    Witness(PartArgs),
}

/// What a process of a pair is told.
#[derive(Clone, Debug, Args)]
pub struct PartArgs {
    /// File that its pair has written.
    #[arg(long)]
    pub part: PathBuf,
}

/// Units that get a fault, and their region.
#[derive(Clone, Debug, Args)]
pub struct FaultArgs {
    /// Units that the fault is for.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The region to reach.
    #[command(flatten)]
    pub reach: InRegionArgs,
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

/// Commands about the clock.
#[derive(Clone, Debug, Subcommand)]
pub enum ClockCommand {
    /// Show the clock.
    Show(ReachArgs),
    /// Move the clock forward.
    Advance {
        /// Duration, such as 90s, 15m, 6h or 31d.
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
        format!("must be {}", allowed.join(" or "))
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
            "up --faults --port 0 --show-credentials",
            "up --faults=off --host kms.example",
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
            "unit add --zone az3 --data d",
            "unit add",
            "unit drain 2",
            "unit resume 2 --json",
            "unit remove 2 --lost",
            "heal all",
            "heal unit 2",
            "clock advance 31d",
            "up --backup-dir b",
            "backup now --json",
            "backup list --region us-east",
            "backup show 20260101T000000.000Z-000000000001.backup",
            "backup verify",
            "backup restore --into us-east --from f --json",
            "up --profile kp-2025 --home jp-tok --set standby.write_after=2h --set fence=witness",
            "up --profile hpcs-2025 --home a --standby b",
            "fault kill zone az1 --region us-east",
            "fault lose region us-south --json",
            "fault isolate region us-east",
            "fault cut link us-south witness --one-way",
            "heal region us-south",
            "heal link us-south front",
            "heal unit 1 --region us-east",
            "region status --json",
            "region promote --home-is-down --accept-divergence",
            "region return",
            "region endpoints",
            "region ready --json",
            "upgrade confirm --data d",
            "upgrade undo",
            "region wait-replicated 00-7 --timeout 5s",
            "region log --data d",
            "status --region us-east",
            "demo --units 3",
            "rehearse region-loss --report r --seed 7 --rto-use 10s --json",
            "rehearse zone-loss --plan-only",
            "rehearse failback --report r --data d",
            "rehearse rotation --report r",
            "rehearse duplicate-keys --report r",
            "rehearse verify r --key 00",
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
            "up --faults=maybe",
            "up --recovery-units 1",
            "up --failover-units 1",
            "clock advance 31",
            "fault kill zone",
            "unit remove",
            "unit drain two",
            "up --profile kp-2031",
            "rehearse region-loss",
            "rehearse region-loss --report r --data d --quick",
            "rehearse zone-loss --report r --clients 1",
            "fault lose us-south",
            "fault lose region",
            "fault cut link us-south",
            "heal region",
            "heal link",
            "backup",
            "backup restore",
            "region",
        ] {
            assert!(
                Cli::try_parse_from(std::iter::once("hsm-sim").chain(line.split(' '))).is_err(),
                "{line}"
            );
        }
    }
}
