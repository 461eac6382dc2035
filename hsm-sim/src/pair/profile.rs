//! What a pair is configured to do: profiles, and the switches that they set.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use kms::RotationProfile;
use node::region::Acknowledge;
use regions::{ConfigError, Failback, Fence, PairConfig, WriteEnable};
use std::fmt;
use std::time::Duration;
use tke_cli::parse_duration;

/// Behaviour of a service as one of its documents describes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// One region.
    #[default]
    Default,
    /// Key Protect as of 2019: one region.
    Kp2019,
    /// Key Protect as of 2024: a standby; an operator or the time enables writing there.
    Kp2024,
    /// Key Protect as of 2025: a standby; the time enables writing there.
    Kp2025,
    /// Hyper Protect Crypto Services as of 2019: one region.
    Hpcs2019,
    /// Hyper Protect Crypto Services as of 2025: with `--standby`, a standby that writes as soon as it takes over.
    Hpcs2025,
}

/// Where an instance's data may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// In one region.
    Confined,
    /// In a standby region, too.
    Replicated,
}

/// What the service does about the loss of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing that this program simulates.
    None,
    /// Another region stands by.
    Standby,
    /// Another region stands by if one is named.
    StandbyIfNamed,
}

/// What an address of the standby of its own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateFailover {
    /// Clients have to be pointed to it.
    Manual,
    /// None: the front's address is the private one, too.
    Automatic,
}

/// Every switch. A profile sets all; `--set` changes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Where data may be: `residency`.
    pub residency: Residency,
    /// What is done about the loss of a region: `dr.mode`.
    pub recovery: Recovery,
    /// How a pair behaves: `fence`, `standby.*`.
    pub pair: PairConfig,
    /// What becomes of private addresses: `endpoint.private_failover`.
    pub private_failover: PrivateFailover,
    /// When a change is acknowledged: `replication.acknowledge`.
    pub acknowledge: Acknowledge,
    /// What is served during a rotation of the master key: `rotation.service`.
    pub rotation: RotationProfile,
    /// `slo.rto`: how long after a loss changes should be accepted again. Reported only.
    pub rto: Duration,
    /// `slo.rpo`: how far the standby should lag behind at most. Reported only.
    pub rpo: Duration,
}

/// Why switches are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// Not of the form `name=value`.
    #[error("`{0}` is not a switch: write NAME=VALUE, for example standby.write_after=6h")]
    Form(String),
    /// There is no such switch.
    #[error("there is no switch `{0}`; there are: {names}", names = NAMES.join(", "))]
    Unknown(String),
    /// The switch does not have this value.
    #[error("{name} cannot be `{value}`: expected {expected}")]
    Value {
        /// The switch.
        name: &'static str,
        /// What was requested.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
    /// The pair's configuration is refused.
    #[error("the switches do not fit each other: {0}")]
    Pair(#[from] ConfigError),
    /// Data that stay in one region cannot be in a standby.
    #[error(
        "residency=confined keeps keys in one region, and dr.mode=standby copies them to another: set \
         residency=replicated, or choose another dr.mode"
    )]
    Confined,
}

/// Names of the switches, for messages.
const NAMES: [&str; 17] = [
    "residency",
    "dr.mode",
    "fence",
    "standby.write_enable",
    "standby.write_after",
    "standby.initial_mode",
    "standby.lost_after",
    "standby.failback",
    "standby.freeze",
    "standby.lease",
    "standby.poll",
    "standby.confirm_loss",
    "endpoint.private_failover",
    "replication.acknowledge",
    "rotation.service",
    "slo.rto",
    "slo.rpo",
];

/// One region, with nothing that only pairs have.
impl Default for Switches {
    fn default() -> Self {
        Self {
            residency: Residency::Confined,
            recovery: Recovery::None,
            pair: PairConfig::default(),
            private_failover: PrivateFailover::Manual,
            acknowledge: Acknowledge::Local,
            rotation: RotationProfile::Online,
            rto: Duration::from_secs(9 * 60 * 60),
            rpo: Duration::from_secs(60 * 60),
        }
    }
}

impl Profile {
    /// Its switches.
    #[must_use]
    pub fn switches(self) -> Switches {
        let one = Switches::default();
        let two = |write_enable| Switches {
            residency: Residency::Replicated,
            recovery: Recovery::Standby,
            pair: PairConfig { fence: Fence::Witness, write_enable, ..PairConfig::default() },
            ..Switches::default()
        };
        match self {
            Self::Default | Self::Kp2019 => one,
            Self::Kp2024 => two(WriteEnable::OperatorOrTimer),
            Self::Kp2025 => two(WriteEnable::Timer),
            Self::Hpcs2019 => Switches { rotation: RotationProfile::Strict, ..one },
            Self::Hpcs2025 => {
                let mut switches = two(WriteEnable::OperatorOrTimer);
                switches.recovery = Recovery::StandbyIfNamed;
                switches.rotation = RotationProfile::Strict;
                switches.pair.write_after = Duration::ZERO;
                switches
            }
        }
    }

    /// What the document says and this program does not simulate.
    #[must_use]
    pub const fn not_simulated(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Kp2019 => {
                &["keys that are gone once they are deleted: they can be restored for 30 days, as later"]
            }
            Self::Kp2024 => &["two instances of which only some are replicated: both are"],
            Self::Kp2025 => &["instances without the plan that replicates them: both are replicated"],
            Self::Hpcs2019 => &["another region for backups: name its folder with --backup-dir"],
            Self::Hpcs2025 => &[
                "another region for backups without a standby: name its folder with --backup-dir",
                "failover units that are not a region of their own: name one with --standby",
            ],
        }
    }

    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Kp2019 => "kp-2019",
            Self::Kp2024 => "kp-2024",
            Self::Kp2025 => "kp-2025",
            Self::Hpcs2019 => "hpcs-2019",
            Self::Hpcs2025 => "hpcs-2025",
        }
    }
}

/// Name of a fence as a value of its switch.
#[must_use]
pub const fn fence_name(fence: Fence) -> &'static str {
    match fence {
        Fence::Operator => "operator",
        Fence::Witness => "witness",
        Fence::None => "none",
    }
}

/// Name of what enables changes in a standby, as a value of its switch.
#[must_use]
pub const fn write_enable_name(by: WriteEnable) -> &'static str {
    match by {
        WriteEnable::Operator => "operator",
        WriteEnable::Timer => "timer",
        WriteEnable::OperatorOrTimer => "operator-or-timer",
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ValueEnum for Profile {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Default, Self::Kp2019, Self::Kp2024, Self::Kp2025, Self::Hpcs2019, Self::Hpcs2025]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Default | Self::Kp2019 | Self::Hpcs2019 => "one region",
            Self::Kp2024 => "a standby; an operator or, after 6 h, the time enables writing there",
            Self::Kp2025 => "a standby; the time enables writing there after 6 h",
            Self::Hpcs2025 => "with --standby, a standby that writes once the lost region's lease has ended",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

impl Switches {
    /// Changes one switch, `name=value`.
    ///
    /// # Errors
    /// [`SwitchError`].
    pub fn set(&mut self, text: &str) -> Result<(), SwitchError> {
        let (name, value) = text.split_once('=').ok_or_else(|| SwitchError::Form(text.to_owned()))?;
        let pair = &mut self.pair;
        match name {
            "residency" => {
                let values = [("confined", Residency::Confined), ("replicated", Residency::Replicated)];
                self.residency = one_of("residency", value, "confined or replicated", &values)?;
            }
            "dr.mode" => {
                let values = [("none", Recovery::None), ("standby", Recovery::Standby)];
                self.recovery = one_of("dr.mode", value, "none or standby", &values)?;
            }
            "fence" => {
                let values =
                    [("operator", Fence::Operator), ("witness", Fence::Witness), ("none", Fence::None)];
                pair.fence = one_of("fence", value, "operator, witness or, for tests alone, none", &values)?;
            }
            "standby.write_enable" => {
                let values = [
                    ("operator", WriteEnable::Operator),
                    ("timer", WriteEnable::Timer),
                    ("operator-or-timer", WriteEnable::OperatorOrTimer),
                ];
                let expected = "operator, timer or operator-or-timer";
                pair.write_enable = one_of("standby.write_enable", value, expected, &values)?;
            }
            "standby.write_after" => pair.write_after = duration("standby.write_after", value)?,
            "standby.initial_mode" => {
                let values = [("read-only", false), ("read-write", true)];
                if one_of("standby.initial_mode", value, "read-only or read-write", &values)? {
                    pair.write_after = Duration::ZERO;
                    if pair.write_enable == WriteEnable::Operator {
                        pair.write_enable = WriteEnable::OperatorOrTimer;
                    }
                } else if pair.write_after.is_zero() {
                    pair.write_after = PairConfig::default().write_after;
                }
            }
            "standby.lost_after" => pair.lost_after = duration("standby.lost_after", value)?,
            "standby.failback" if value == "operator" => pair.failback = Failback::Operator,
            "standby.failback" => pair.failback = Failback::AfterReady(duration("standby.failback", value)?),
            "standby.freeze" => pair.freeze = duration("standby.freeze", value)?,
            "standby.lease" => pair.lease = duration("standby.lease", value)?,
            "standby.poll" => pair.poll = duration("standby.poll", value)?,
            "standby.confirm_loss" => {
                let values = [("fronts", true), ("none", false)];
                pair.fronts_confirm_loss = one_of("standby.confirm_loss", value, "fronts or none", &values)?;
            }
            "endpoint.private_failover" => {
                let values = [("manual", PrivateFailover::Manual), ("automatic", PrivateFailover::Automatic)];
                self.private_failover =
                    one_of("endpoint.private_failover", value, "manual or automatic", &values)?;
            }
            "replication.acknowledge" => {
                let values = [("local", Acknowledge::Local), ("standby", Acknowledge::Standby)];
                self.acknowledge = one_of("replication.acknowledge", value, "local or standby", &values)?;
            }
            "rotation.service" => {
                let values = [("online", RotationProfile::Online), ("strict", RotationProfile::Strict)];
                self.rotation = one_of("rotation.service", value, "online or strict", &values)?;
            }
            "slo.rto" => self.rto = duration("slo.rto", value)?,
            "slo.rpo" => self.rpo = duration("slo.rpo", value)?,
            other => return Err(SwitchError::Unknown(other.to_owned())),
        }
        Ok(())
    }

    /// Whether there is a standby: if the switches say so, or leave it to whether one is `named`.
    ///
    /// # Errors
    /// [`SwitchError::Pair`], [`SwitchError::Confined`].
    pub fn has_standby(&self, named: bool) -> Result<bool, SwitchError> {
        let has_standby = match self.recovery {
            Recovery::None => false,
            Recovery::Standby => true,
            Recovery::StandbyIfNamed => named,
        };
        if has_standby {
            if self.residency == Residency::Confined {
                return Err(SwitchError::Confined);
            }
            self.pair.check()?;
        }
        Ok(has_standby)
    }
}

fn one_of<T: Copy>(
    name: &'static str,
    value: &str,
    expected: &'static str,
    values: &[(&str, T)],
) -> Result<T, SwitchError> {
    let found = values.iter().find(|(known, _)| *known == value).map(|(_, value)| *value);
    found.ok_or_else(|| SwitchError::Value { name, value: value.to_owned(), expected })
}

fn duration(name: &'static str, value: &str) -> Result<Duration, SwitchError> {
    let expected = "a duration, such as 500ms, 90s, 15m or 6h";
    parse_duration(value).map_err(|_| SwitchError::Value { name, value: value.to_owned(), expected })
}

#[cfg(test)]
mod tests;
