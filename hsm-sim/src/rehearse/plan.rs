//! The plan of a rehearsal: everything that is decided before it starts. The same seed gives the same plan.

use super::random::Random;
use crate::region::ZONES;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Version of the form of plans and reports.
pub const SCHEMA: u32 = 1;

/// What is rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Every process of the home is killed; the standby is promoted, and the home returns.
    RegionLoss,
    /// Both regions live: writing is handed to the standby, and back.
    Failback,
    /// The crypto units of a zone are killed, and healed.
    ZoneLoss,
    /// The master key is rotated.
    Rotation,
    /// One of two regions with duplicate keys is killed, and started again.
    DuplicateKeys,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RegionLoss => "region-loss",
            Self::Failback => "failback",
            Self::ZoneLoss => "zone-loss",
            Self::Rotation => "rotation",
            Self::DuplicateKeys => "duplicate-keys",
        })
    }
}

impl Scenario {
    /// Whether it needs a pair of regions.
    #[must_use]
    pub const fn needs_pair(self) -> bool {
        match self {
            Self::RegionLoss | Self::Failback => true,
            Self::ZoneLoss | Self::Rotation | Self::DuplicateKeys => false,
        }
    }

    /// What is broken, in words.
    #[must_use]
    pub const fn fault(self) -> &'static str {
        match self {
            Self::RegionLoss => "the loss of the home region",
            Self::Failback => "the handover of writing from the standby back to the home",
            Self::ZoneLoss => "the loss of a zone",
            Self::Rotation => "a rotation of the master key",
            Self::DuplicateKeys => "the loss of one of two regions with duplicate keys",
        }
    }
}

/// What the person who starts the rehearsal chooses; the seed decides the rest.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is rehearsed.
    pub scenario: Scenario,
    /// Decides whatever is left open.
    pub seed: u64,
    /// Profile of the simulator; the scenario's if `None`.
    pub profile: Option<String>,
    /// Switches of the simulator, `name=value`.
    pub set: Vec<String>,
    /// Short times, for a look at the report. The objective is the same.
    pub quick: bool,
    /// Names of home and standby.
    pub regions: [String; 2],
    /// Number of clients.
    pub clients: u16,
    /// Operations that a client begins in a second.
    pub rate: u16,
    /// Time after which a client gives up a request.
    pub request_timeout: Duration,
    /// Changes to the scenario's objective.
    pub objective: ObjectiveWanted,
}

/// Changes to the objective of a scenario.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectiveWanted {
    /// Longest time until keys can be used.
    pub rto_use: Option<Duration>,
    /// Longest time until keys can be changed.
    pub rto_change: Option<Duration>,
    /// Longest time until everything is as before.
    pub rto_full: Option<Duration>,
    /// Oldest acknowledged change that may be lost, before the fault.
    pub rpo: Option<Duration>,
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the form, [`SCHEMA`].
    pub schema: u32,
    /// What is rehearsed.
    pub scenario: Scenario,
    /// Seed that the rest was made from.
    pub seed: u64,
    /// Profile of the simulator.
    pub profile: String,
    /// Switches of the simulator, `name=value`.
    pub set: Vec<String>,
    /// What is to be achieved.
    pub objective: Objective,
    /// What the clients do.
    pub load: Load,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// What is to be achieved. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// From the fault until keys can be used, at most.
    pub rto_use_ms: u64,
    /// From the fault until keys can be created, rotated and disabled, at most.
    pub rto_change_ms: u64,
    /// From the fault until everything is as it was before, at most.
    pub rto_full_ms: u64,
    /// How long before the fault a change that is lost may have been acknowledged, at most; 0: none may be lost.
    pub rpo_ms: u64,
    /// Uses that may fail, counting every attempt; `None`: as many as fail within `rto_use_ms`.
    pub failed_uses: Option<u64>,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Number of clients.
    pub clients: u16,
    /// How many of them retry: three attempts, one second apart, then two. The others never do.
    pub retrying_clients: u16,
    /// Operations that a client begins in a second.
    pub per_second: u16,
    /// Of 100 operations, how many are of each kind.
    pub mix: Mix,
    /// Time after which a client gives a request up.
    pub request_timeout_ms: u64,
}

/// Of 100 operations, how many are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// Wraps of a data key.
    pub wrap: u8,
    /// Unwraps of a data key.
    pub unwrap: u8,
    /// Uses of a key whose disabling was acknowledged, which have to be refused.
    pub use_disabled: u8,
    /// Lists of keys.
    pub list: u8,
    /// New root keys.
    pub create: u8,
    /// Rotations of a root key.
    pub rotate: u8,
    /// Root keys that are disabled.
    pub disable: u8,
}

/// The mix with duplicate keys, which are created and rotated in both regions.
pub const DUPLICATES_MIX: Mix =
    Mix { wrap: 45, unwrap: 45, use_disabled: 0, list: 0, create: 6, rotate: 4, disable: 0 };
/// The mix of every other plan.
pub const MIX: Mix =
    Mix { wrap: 27, unwrap: 42, use_disabled: 6, list: 5, create: 10, rotate: 5, disable: 5 };

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// The clients go on.
    Load {
        /// For how long.
        ms: u64,
    },
    /// The fault.
    LoseRegion {
        /// Region whose processes are killed.
        region: String,
    },
    /// The fault.
    KillZone {
        /// Zone whose units are killed.
        zone: String,
    },
    /// A region takes the right to write over from one that lives; before the fault, as its preparation.
    Prepare {
        /// What an operator orders.
        order: Order,
    },
    /// The fault of a rehearsal that breaks nothing: an order by which writing stands still.
    HandOver {
        /// What an operator orders.
        order: Order,
    },
    /// The fault: one of two simulators is killed.
    KillTwin,
    /// The fault of a rehearsal of a rotation: administrators rotate the master key.
    RotateMasterKey,
    /// An operator decides and orders.
    Decide {
        /// How long the decision takes.
        after_ms: u64,
        /// What the operator orders.
        order: Order,
    },
    /// Waits for a condition.
    Await {
        /// The condition.
        condition: Condition,
        /// How long the wait may take; longer ends the rehearsal as failed.
        at_most_ms: u64,
    },
}

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum Order {
    /// The standby takes the right to write.
    Promote {
        /// Whether the operator states that the home is down.
        home_is_down: bool,
    },
    /// The home takes the right to write back.
    Return,
    /// A region is repaired.
    HealRegion {
        /// The region.
        region: String,
    },
    /// The simulator that was killed is started again.
    StartTwin,
    /// The units of a zone are repaired.
    HealZone {
        /// The zone.
        zone: String,
    },
}

/// What a plan waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Uses succeed again, and have for a second.
    UsesServed,
    /// Changes succeed again, and have for a second.
    ChangesServed,
    /// The pair would survive the loss of a region, and every change is in both regions.
    PairReady,
    /// Every operational unit serves.
    UnitsServe,
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;

impl Plan {
    /// The plan for what is wanted.
    #[must_use]
    pub fn of(wanted: &Wanted) -> Self {
        let mut random = Random::new(wanted.seed);
        let steps = steps(wanted, &mut random);
        // With duplicate keys, a client tries the other region instead.
        let (retrying_clients, mix) = match wanted.scenario {
            Scenario::DuplicateKeys => (0, DUPLICATES_MIX),
            Scenario::RegionLoss | Scenario::Failback | Scenario::ZoneLoss | Scenario::Rotation => {
                (wanted.clients / 2, MIX)
            }
        };
        Self {
            schema: SCHEMA,
            scenario: wanted.scenario,
            seed: wanted.seed,
            profile: wanted.profile.clone().unwrap_or_else(|| profile(wanted.scenario).to_owned()),
            set: switches(wanted),
            objective: objective(wanted),
            load: Load {
                clients: wanted.clients,
                retrying_clients,
                per_second: wanted.rate,
                mix,
                request_timeout_ms: u64::try_from(wanted.request_timeout.as_millis()).unwrap_or(u64::MAX),
            },
            steps,
        }
    }

    /// The plan as bytes that are the same wherever the plan is: JSON with sorted keys and no spaces.
    ///
    /// # Errors
    /// Never, in practice: every field has a form in JSON.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&serde_json::to_value(self)?)
    }

    /// How long the steps take if every wait is short, for a progress bar.
    #[must_use]
    pub fn expected(&self) -> Duration {
        let ms = self.steps.iter().map(|step| match step {
            Step::Load { ms } => *ms,
            Step::Decide { after_ms, .. } => after_ms + 2 * SECOND,
            Step::Await { at_most_ms, .. } => (at_most_ms / 12).min(20 * SECOND),
            Step::LoseRegion { .. } | Step::KillZone { .. } => SECOND,
            Step::RotateMasterKey => 10 * SECOND,
            Step::KillTwin => SECOND,
            Step::Prepare { .. } | Step::HandOver { .. } => 2 * SECOND,
        });
        Duration::from_millis(ms.sum())
    }

    /// The plan as text, a line for each step.
    #[must_use]
    pub fn text(&self) -> String {
        let Objective { rto_use_ms, rto_change_ms, rto_full_ms, rpo_ms, failed_uses } = self.objective;
        let failed = failed_uses.map_or_else(String::new, |failed| format!(", {failed} failed uses"));
        let load = &self.load;
        let mut text = format!(
            "rehearsal of {}, seed {}, profile {}\nobjective: uses within {}, changes within {}, all within {},\n  \
             lost changes no older than {}{failed}\nload: {} clients, {} of which retry, {} operations a second each\n",
            self.scenario,
            self.seed,
            self.profile,
            shown(rto_use_ms),
            shown(rto_change_ms),
            shown(rto_full_ms),
            shown(rpo_ms),
            load.clients,
            load.retrying_clients,
            load.per_second,
        );
        for switch in &self.set {
            text += &format!("  --set {switch}\n");
        }
        for (number, step) in self.steps.iter().enumerate() {
            text += &format!("{:>3}  {step}\n", number + 1);
        }
        text.trim_end().to_owned()
    }
}

/// A duration in milliseconds as people write it.
#[must_use]
pub fn shown(ms: u64) -> String {
    match ms {
        ms if ms < SECOND => format!("{ms} ms"),
        ms if ms < 10 * MINUTE => format!("{}.{} s", ms / SECOND, ms % SECOND / 100),
        ms => format!("{} min", ms / MINUTE),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { ms } => write!(f, "load for {}", shown(*ms)),
            Self::LoseRegion { region } => write!(f, "FAULT: every process of region {region} is killed"),
            Self::KillZone { zone } => write!(f, "FAULT: the crypto units of zone {zone} are killed"),
            Self::Prepare { order } => write!(f, "prepare: {order}"),
            Self::HandOver { order } => write!(f, "FAULT: {order}"),
            Self::KillTwin => f.write_str("FAULT: every process of region one is killed"),
            Self::RotateMasterKey => f.write_str("FAULT: administrators rotate the master key"),
            Self::Decide { after_ms, order } => {
                write!(f, "after {}, an operator orders: {order}", shown(*after_ms))
            }
            Self::Await { condition, at_most_ms } => {
                write!(f, "wait until {condition}, at most {}", shown(*at_most_ms))
            }
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promote { home_is_down: true } => f.write_str("promote the standby, the home is down"),
            Self::Promote { home_is_down: false } => f.write_str("promote the standby"),
            Self::Return => f.write_str("return writing to the home"),
            Self::StartTwin => f.write_str("start region one again"),
            Self::HealRegion { region } => write!(f, "repair region {region}"),
            Self::HealZone { zone } => write!(f, "repair zone {zone}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UsesServed => "uses succeed again",
            Self::ChangesServed => "changes succeed again",
            Self::PairReady => "the pair is ready for the loss of a region",
            Self::UnitsServe => "every crypto unit serves",
        })
    }
}

const fn profile(scenario: Scenario) -> &'static str {
    match scenario {
        // An operator promotes; with the other profiles of a pair only the time does, after six hours.
        Scenario::RegionLoss | Scenario::Failback => "kp-2024",
        Scenario::ZoneLoss | Scenario::Rotation | Scenario::DuplicateKeys => "default",
    }
}

/// The switches of the simulator. Those that are named last win.
fn switches(wanted: &Wanted) -> Vec<String> {
    let mut set: Vec<String> = Vec::new();
    if wanted.scenario.needs_pair() {
        // The rehearsal itself returns writing to the home, so that it knows when.
        set.push("standby.failback=operator".to_owned());
        if wanted.quick {
            let quick = ["standby.lost_after=2s", "standby.lease=2s", "standby.poll=100ms"];
            set.extend(quick.map(str::to_owned));
        }
    }
    set.extend(wanted.set.iter().cloned());
    set
}

fn objective(wanted: &Wanted) -> Objective {
    let usual = match wanted.scenario {
        Scenario::RegionLoss => Objective {
            rto_use_ms: 30 * SECOND,
            rto_change_ms: 90 * SECOND,
            rto_full_ms: 10 * MINUTE,
            rpo_ms: 5 * SECOND,
            failed_uses: None,
        },
        Scenario::Failback => Objective {
            rto_use_ms: 0,
            rto_change_ms: 5 * SECOND,
            rto_full_ms: MINUTE,
            rpo_ms: 0,
            failed_uses: Some(0),
        },
        // Both regions are needed to change both keys alike.
        Scenario::DuplicateKeys => Objective {
            rto_use_ms: 0,
            rto_change_ms: 2 * MINUTE,
            rto_full_ms: 2 * MINUTE,
            rpo_ms: 0,
            failed_uses: Some(0),
        },
        Scenario::Rotation => Objective {
            rto_use_ms: 0,
            rto_change_ms: SECOND,
            rto_full_ms: 2 * MINUTE,
            rpo_ms: 0,
            failed_uses: Some(0),
        },
        Scenario::ZoneLoss => Objective {
            rto_use_ms: SECOND,
            rto_change_ms: 2500,
            rto_full_ms: MINUTE,
            rpo_ms: 0,
            failed_uses: Some(0),
        },
    };
    let or = |wanted: Option<Duration>, usual| {
        wanted.map_or(usual, |wanted| u64::try_from(wanted.as_millis()).unwrap_or(u64::MAX))
    };
    let ObjectiveWanted { rto_use, rto_change, rto_full, rpo } = wanted.objective;
    Objective {
        rto_use_ms: or(rto_use, usual.rto_use_ms),
        rto_change_ms: or(rto_change, usual.rto_change_ms),
        rto_full_ms: or(rto_full, usual.rto_full_ms),
        rpo_ms: or(rpo, usual.rpo_ms),
        failed_uses: usual.failed_uses,
    }
}

fn steps(wanted: &Wanted, random: &mut Random) -> Vec<Step> {
    let [home, _] = &wanted.regions;
    // The numbers are drawn in every case, so that `quick` leaves the others as they are.
    let (warm_up, decision, between, cool_down) = (
        random.between(5 * SECOND, 8 * SECOND),
        random.between(SECOND, 4 * SECOND),
        random.between(5 * SECOND, 8 * SECOND),
        random.between(5 * SECOND, 7 * SECOND),
    );
    let zone = random.one_of(&ZONES[..2]).copied().unwrap_or(ZONES[0]).to_owned();
    let share = if wanted.quick { 2 } else { 1 };
    let load = |ms| Step::Load { ms: ms / share };
    let decide = |after_ms, order| Step::Decide { after_ms, order };
    let wait = |condition, at_most_ms| Step::Await { condition, at_most_ms };
    match wanted.scenario {
        Scenario::RegionLoss => vec![
            wait(Condition::PairReady, 2 * MINUTE),
            load(warm_up),
            Step::LoseRegion { region: home.clone() },
            wait(Condition::UsesServed, 2 * MINUTE),
            decide(decision / share, Order::Promote { home_is_down: true }),
            wait(Condition::ChangesServed, 2 * MINUTE),
            load(between),
            decide(0, Order::HealRegion { region: home.clone() }),
            wait(Condition::PairReady, 2 * MINUTE),
            decide(0, Order::Return),
            wait(Condition::ChangesServed, MINUTE),
            wait(Condition::PairReady, 2 * MINUTE),
            load(cool_down),
        ],
        Scenario::Failback => vec![
            wait(Condition::PairReady, 2 * MINUTE),
            Step::Prepare { order: Order::Promote { home_is_down: false } },
            wait(Condition::PairReady, 2 * MINUTE),
            load(warm_up),
            Step::HandOver { order: Order::Return },
            wait(Condition::ChangesServed, MINUTE),
            wait(Condition::PairReady, 2 * MINUTE),
            load(cool_down),
        ],
        Scenario::DuplicateKeys => vec![
            wait(Condition::UnitsServe, MINUTE),
            load(warm_up),
            Step::KillTwin,
            wait(Condition::UsesServed, MINUTE),
            load(between),
            decide(decision / share, Order::StartTwin),
            wait(Condition::ChangesServed, MINUTE),
            wait(Condition::UnitsServe, MINUTE),
            load(cool_down),
        ],
        Scenario::Rotation => vec![
            wait(Condition::UnitsServe, MINUTE),
            load(warm_up),
            Step::RotateMasterKey,
            wait(Condition::UnitsServe, MINUTE),
            load(cool_down),
        ],
        Scenario::ZoneLoss => vec![
            wait(Condition::UnitsServe, MINUTE),
            load(warm_up),
            Step::KillZone { zone: zone.clone() },
            wait(Condition::UsesServed, MINUTE),
            wait(Condition::ChangesServed, MINUTE),
            load(between),
            decide(0, Order::HealZone { zone }),
            wait(Condition::UnitsServe, 2 * MINUTE),
            load(cool_down),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{DUPLICATES_MIX, MIX, Mix, ObjectiveWanted, Plan, Scenario, Step, Wanted};
    use clap::ValueEnum;
    use std::time::Duration;

    fn wanted(scenario: Scenario, seed: u64) -> Wanted {
        Wanted {
            scenario,
            seed,
            profile: None,
            set: Vec::new(),
            quick: false,
            regions: ["us-south".to_owned(), "us-east".to_owned()],
            clients: 8,
            rate: 15,
            request_timeout: Duration::from_secs(5),
            objective: ObjectiveWanted::default(),
        }
    }

    #[test]
    fn a_seed_gives_one_plan() {
        for scenario in Scenario::value_variants() {
            let plan = Plan::of(&wanted(*scenario, 7));
            assert_eq!(plan, Plan::of(&wanted(*scenario, 7)));
            assert_eq!(plan.canonical().unwrap(), Plan::of(&wanted(*scenario, 7)).canonical().unwrap());
            assert!((8..40).any(|seed| Plan::of(&wanted(*scenario, seed)).steps != plan.steps));
            // One command, ten minutes at most.
            assert!(plan.expected() < Duration::from_secs(600), "{scenario}");
        }
    }

    #[test]
    fn a_plan_has_one_fault_and_a_line_for_each_step() {
        for scenario in Scenario::value_variants() {
            let plan = Plan::of(&wanted(*scenario, 3));
            let is_fault = |step: &&Step| {
                matches!(
                    step,
                    Step::LoseRegion { .. }
                        | Step::KillZone { .. }
                        | Step::HandOver { .. }
                        | Step::RotateMasterKey
                        | Step::KillTwin
                )
            };
            assert_eq!(plan.steps.iter().filter(is_fault).count(), 1, "{scenario}");
            let text = plan.text();
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            assert_eq!(text.matches("FAULT").count(), 1, "{text}");
        }
    }

    #[test]
    fn the_objective_can_be_changed() {
        let objective = ObjectiveWanted { rpo: Some(Duration::ZERO), ..ObjectiveWanted::default() };
        let plan = Plan::of(&Wanted { objective, ..wanted(Scenario::RegionLoss, 1) });
        assert_eq!((plan.objective.rpo_ms, plan.objective.rto_use_ms), (0, 30_000));
    }

    #[test]
    fn the_mix_is_of_a_hundred() {
        for mix in [MIX, DUPLICATES_MIX] {
            let Mix { wrap, unwrap, use_disabled, list, create, rotate, disable } = mix;
            let of = [wrap, unwrap, use_disabled, list, create, rotate, disable];
            assert_eq!(of.iter().map(|share| u32::from(*share)).sum::<u32>(), 100);
        }
    }
}
