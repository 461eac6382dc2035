//! A region of three units on a simulated network, with load and faults drawn from a seed.
//!
//! `SIM_SEED=<n> cargo test -p cluster --test sim` replays one seed of every scenario.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod checkers;
mod world;

use world::{Fault, Sabotage, Scenario, World};

fn seeds(count: u64) -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
    match std::env::var("SIM_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

/// A scenario in which units neither go on to another master key nor come and go.
fn scenario(faults: &'static [Fault]) -> Scenario {
    Scenario { seed: 0, faults, rotation: false, membership: false, sabotage: Sabotage::None }
}

/// Runs a scenario on many seeds; every checker must be content with each.
fn hold(count: u64, faults: &'static [Fault]) {
    hold_with(count, scenario(faults));
}

fn hold_with(count: u64, scenario: Scenario) {
    for seed in seeds(count) {
        if let Err(violation) = World::run(Scenario { seed, ..scenario }) {
            panic!("SIM_SEED={seed} {scenario:?}: {violation}");
        }
    }
}

/// With units that go on to another master key under load.
fn rotating(faults: &'static [Fault]) -> Scenario {
    Scenario { rotation: true, ..scenario(faults) }
}

/// With units that are drained, removed and added under load.
fn changing(faults: &'static [Fault]) -> Scenario {
    Scenario { membership: true, ..scenario(faults) }
}

#[test]
fn sim_nothing_fails_without_faults() {
    hold(50, &[]);
}

#[test]
fn sim_a_killed_unit_costs_no_request() {
    hold(250, &[Fault::Kill]);
}

#[test]
fn sim_a_silent_unit_costs_no_request() {
    hold(250, &[Fault::Pause, Fault::Cut]);
}

#[test]
fn sim_a_slow_unit_costs_no_request() {
    hold(250, &[Fault::Slow]);
}

#[test]
fn sim_a_unit_with_another_master_key_gets_no_work() {
    hold(250, &[Fault::WrongKey, Fault::Lie, Fault::Clear]);
}

#[test]
fn sim_faults_in_swarms_cost_no_request_while_one_unit_is_well() {
    hold(
        1000,
        &[Fault::Kill, Fault::Pause, Fault::Cut, Fault::Slow, Fault::WrongKey, Fault::Lie, Fault::Clear],
    );
}

#[test]
fn sim_activation_unit_by_unit_costs_no_request() {
    hold_with(1000, rotating(&[]));
}

#[test]
fn sim_activation_among_faults_costs_no_request() {
    hold_with(500, rotating(&[Fault::Kill]));
    hold_with(500, rotating(&[Fault::Kill, Fault::Pause, Fault::Cut, Fault::Slow]));
    hold_with(500, rotating(&[Fault::Kill, Fault::WrongKey, Fault::Lie, Fault::Clear]));
}

#[test]
fn sim_units_that_come_and_go_cost_no_request() {
    hold_with(1000, changing(&[]));
    hold_with(500, changing(&[Fault::Kill]));
    hold_with(500, changing(&[Fault::Kill, Fault::Pause, Fault::Cut, Fault::Slow]));
    hold_with(500, changing(&[Fault::Kill, Fault::WrongKey, Fault::Lie, Fault::Clear]));
    hold_with(500, Scenario { membership: true, ..rotating(&[Fault::Kill]) });
}

#[test]
fn sim_the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let faults = &[Fault::Kill, Fault::Pause, Fault::Slow];
        let (rotation, membership) = (seed % 2 == 0, seed % 3 == 0);
        World::run(Scenario { seed, rotation, membership, ..scenario(faults) }).unwrap()
    };
    for seed in seeds(20) {
        assert_eq!(run(seed), run(seed), "SIM_SEED={seed}");
    }
    assert_ne!(run(1), run(2));
}

/// Every checker must find the fault that is planted for it, on nearly every seed.
#[test]
fn sim_canaries_are_caught() {
    for (sabotage, faults, checker) in [
        (Sabotage::UseFenced, &[Fault::WrongKey, Fault::Lie, Fault::Clear][..], "I8"),
        (Sabotage::UseDrained, &[], "I8"),
        (Sabotage::IgnoreTime, &[Fault::Cut], "I9"),
        (Sabotage::SendTwice, &[], "I18"),
        (Sabotage::KillAll, &[Fault::Kill], "no request fails"),
        (Sabotage::AnswerTwice, &[], "one end"),
        (Sabotage::NeverHeal, &[Fault::Kill], "heals"),
        (Sabotage::OneForm, &[], "no request fails"),
    ] {
        let caught = (0..20)
            .filter(|seed| {
                let rotation = sabotage == Sabotage::OneForm;
                let membership = sabotage == Sabotage::UseDrained;
                let scenario = Scenario { seed: *seed, faults, rotation, membership, sabotage };
                World::run(scenario).is_err_and(|violation| violation.starts_with(checker))
            })
            .count();
        assert!(caught >= 15, "{sabotage:?} was caught by {checker} on {caught} of 20 seeds");
    }
}
