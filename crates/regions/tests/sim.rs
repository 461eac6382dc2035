//! Two sites, a witness and a front on a network that loses, delays, repeats and reorders, with crashes between any two
//! actions, clocks of different rates, clients that write, and an operator.
//!
//! `SIM_SEED=<n> cargo test -p regions --test it sim` replays one seed of every scenario, `SIM_TRACE=1` shows what happens;
//! `cargo xtask simulate --seeds <n>` runs many seeds.

mod site_process;
mod world;

use world::{Sabotage, Scenario, World};

use regions::{Fence, WriteEnable};

fn seeds(count: u64) -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(count),
    }
}

const CALM: Scenario = Scenario {
    seed: 0,
    fence: Fence::Witness,
    write_enable: WriteEnable::Operator,
    faults: false,
    sabotage: Sabotage::None,
};

/// Runs a scenario on many seeds; every checker must be content with each. What all runs together have seen.
fn hold(count: u64, scenario: Scenario) -> world::Seen {
    let mut seen = world::Seen::default();
    let mut violations = Vec::new();
    for seed in seeds(count) {
        match World::run(Scenario { seed, ..scenario }) {
            Ok(run) => seen.add(&run),
            Err(violation) => violations.push(format!("SIM_SEED={seed}: {violation}")),
        }
    }
    assert!(violations.is_empty(), "{scenario:?}:\n{}", violations.join("\n"));
    seen
}

/// A checker that cannot find anything is worth nothing: with this sabotage, it must find this.
fn find(count: u64, scenario: Scenario, expected: &str) {
    let found = seeds(count).filter_map(|seed| World::run(Scenario { seed, ..scenario }).err());
    let mut others = Vec::new();
    for violation in found {
        if violation.contains(expected) {
            return;
        }
        others.push(violation);
    }
    panic!("{:?}: never found {expected:?}; found {others:?}", scenario.sabotage);
}

#[test]
fn sim_a_pair_without_faults_is_promoted_and_returns() {
    for fence in [Fence::Witness, Fence::Operator] {
        let seen = hold(50, Scenario { fence, ..CALM });
        assert!(seen.promotions > 0 && seen.returns > 0, "{seen:?}");
        assert_eq!(seen.lost_writes, 0, "a handover loses nothing");
    }
}

#[test]
fn sim_never_two_writers_with_a_witness() {
    let seen = hold(200, Scenario { faults: true, write_enable: WriteEnable::OperatorOrTimer, ..CALM });
    assert!(seen.promotions > 0 && seen.returns > 0 && seen.seizures > 0 && seen.lost_writes > 0, "{seen:?}");
    assert!(seen.crashes > 0 && seen.acknowledged > 0, "{seen:?}");
}

#[test]
fn sim_never_two_writers_with_a_truthful_operator() {
    let seen = hold(200, Scenario { faults: true, fence: Fence::Operator, ..CALM });
    assert!(seen.promotions > 0 && seen.returns > 0 && seen.seizures > 0 && seen.lost_writes > 0, "{seen:?}");
}

#[test]
fn sim_finds_two_writers_when_there_is_no_fence() {
    find(200, Scenario { faults: true, fence: Fence::None, ..CALM }, "two regions may write");
}

#[test]
fn sim_finds_two_writers_when_an_operator_is_wrong() {
    let scenario =
        Scenario { faults: true, fence: Fence::Operator, sabotage: Sabotage::WrongOperator, ..CALM };
    find(300, scenario, "two regions may write");
}

#[test]
fn sim_finds_two_writers_when_a_clock_runs_too_slowly() {
    let scenario = Scenario { faults: true, sabotage: Sabotage::SlowClock, ..CALM };
    find(600, scenario, "two regions may write");
}

#[test]
fn sim_finds_a_record_that_was_not_durable() {
    let scenario = Scenario { faults: true, sabotage: Sabotage::LostSaves, ..CALM };
    find(600, scenario, "two regions may write");
}

#[test]
fn sim_finds_a_witness_that_forgets() {
    let scenario = Scenario { faults: true, sabotage: Sabotage::ForgetfulWitness, ..CALM };
    find(600, scenario, "two regions may write");
}

#[test]
fn sim_finds_a_handover_that_loses_writes() {
    let scenario = Scenario { sabotage: Sabotage::IncompleteCatchUp, ..CALM };
    find(200, scenario, "a handover has lost");
}

#[test]
fn sim_finds_writes_that_are_acknowledged_without_a_second_look() {
    let scenario = Scenario { faults: true, sabotage: Sabotage::NoSecondLook, ..CALM };
    find(600, scenario, "acknowledged under epoch");
}

#[test]
fn sim_finds_a_pair_that_does_not_recover() {
    find(20, Scenario { faults: true, sabotage: Sabotage::DeafAfterHealing, ..CALM }, "no region writes");
}
