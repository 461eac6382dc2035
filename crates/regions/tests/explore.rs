//! Every order of events in a small model of a pair.
//!
//! Two regions, a witness, messages and an operator. Each [`Step`](world::Step) that is possible is tried in each state:
//! time passes, a timer fires (or is late), a message arrives (first, last, twice or never), a region copies a write, a
//! write begins or ends, a region or the witness crashes and starts again, an operator orders one to take over and states
//! that the other one is down, if it is. A region can crash before every save. A link that is cut is the loss of all its
//! messages; a message that is late is one that has not arrived yet.
//!
//! [`Budget`] is the bound: how often each may happen in one run. Within it, every run was seen. After each step:
//!
//! - at most one region may write;
//! - the epochs of acknowledgements never go back;
//! - a region that takes over by a handover has every acknowledged write that was not lost before;
//! - a region that may write has every acknowledged write, but for those that a region did not have when it took over with
//!   a fence; and from some of the states, faults end and the pair must write again.
//!
//! `cargo xtask explore` takes larger bounds.

mod region;
mod search;
mod world;

use regions::{Failback, Fence, PairConfig, WriteEnable};
use search::{Order, Report, Violation, search};
use std::time::Duration;
use world::{Budget, Sabotage, Scenario, Start};

/// Durations that some steps of time are longer than.
fn config(fence: Fence) -> PairConfig {
    let ms = Duration::from_millis;
    PairConfig {
        fence,
        write_enable: WriteEnable::Operator,
        write_after: ms(2),
        lost_after: ms(3),
        failback: Failback::Operator,
        freeze: ms(6),
        lease: ms(6),
        poll: ms(1),
        fronts_confirm_loss: false,
    }
}

const NOTHING: Budget =
    Budget { ticks: 0, timeouts: 0, writes: 0, orders: 0, crashes: 0, repeated: 0, witness_restarts: 0 };

fn scenario(fence: Fence, start: Start, budget: Budget) -> Scenario {
    Scenario { config: config(fence), start, budget, in_flight: 2, sabotage: Sabotage::None, heal_each: 50 }
}

fn large() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
    let size = std::env::var("EXPLORE");
    size.as_deref() == Ok("large")
}

/// Searches all that a scenario permits, in `large` bounds if that was asked for.
fn hold(name: &str, small: Scenario, larger: Budget) -> Report {
    let (scenario, order) = if large() {
        (Scenario { budget: larger, heal_each: 5000, ..small }, Order::Depth)
    } else {
        (small, Order::Breadth)
    };
    match search(&scenario, order) {
        Ok(report) => {
            eprintln!("{name}, {:?}: {report:?}", scenario.budget);
            report
        }
        Err(Violation { what, trace }) => panic!("{name}, {:?}: {what}\n{trace}", scenario.budget),
    }
}

/// A search that cannot find anything is worth nothing: with this sabotage, it must find this.
fn find(scenario: &Scenario, expected: &str) {
    match search(scenario, Order::Breadth) {
        Err(Violation { what, trace }) if what.contains(expected) => eprintln!("{what}\n{trace}"),
        Err(Violation { what, trace }) => panic!("expected {expected:?}, found: {what}\n{trace}"),
        Ok(report) => panic!("{expected:?} was not found in {report:?}"),
    }
}

#[test]
fn exhaustive_a_handover_loses_nothing_in_any_order() {
    let small = Budget { ticks: 1, timeouts: 1, writes: 2, orders: 1, repeated: 1, ..NOTHING };
    let larger = Budget { ticks: 2, timeouts: 2, writes: 3, orders: 1, crashes: 1, repeated: 1, ..NOTHING };
    for fence in [Fence::Witness, Fence::Operator] {
        let scenario = scenario(fence, Start::Normal, small);
        let report = hold(&format!("a handover, {fence:?}"), scenario, larger);
        assert!(report.promotions > 0, "{report:?}");
    }
}

#[test]
fn exhaustive_a_return_with_crashes() {
    let small = Budget { ticks: 1, timeouts: 1, writes: 1, orders: 1, crashes: 1, ..NOTHING };
    let larger = Budget { ticks: 2, timeouts: 2, writes: 2, orders: 1, crashes: 2, ..NOTHING };
    for fence in [Fence::Witness, Fence::Operator] {
        let scenario = scenario(fence, Start::Promoted, small);
        let report = hold(&format!("a return, {fence:?}"), scenario, larger);
        assert!(report.returns > 0, "{report:?}");
    }
}

#[test]
fn exhaustive_a_witness_gives_the_lease_to_one() {
    let small = Budget { ticks: 2, timeouts: 2, writes: 0, orders: 1, witness_restarts: 1, ..NOTHING };
    let larger = Budget { ticks: 3, timeouts: 3, writes: 1, orders: 1, crashes: 1, ..small };
    let report = hold("a witness", scenario(Fence::Witness, Start::Normal, small), larger);
    assert!(report.promotions > 0 && report.fenced > 0, "{report:?}");
}

/// A region that gives its right away promises not to take it back while the answer may still be believed.
#[test]
fn exhaustive_a_late_answer_to_a_commit_gives_nothing() {
    let small = Budget { ticks: 3, timeouts: 1, orders: 2, ..NOTHING };
    let larger = Budget { ticks: 3, timeouts: 2, writes: 1, orders: 2, ..NOTHING };
    let report = hold("two orders", scenario(Fence::Witness, Start::Normal, small), larger);
    assert!(report.promotions > 0 && report.returns > 0, "{report:?}");
}

#[test]
fn exhaustive_a_truthful_operator_makes_one_writer() {
    let small = Budget { ticks: 2, timeouts: 2, orders: 1, crashes: 1, ..NOTHING };
    let larger = Budget { ticks: 3, timeouts: 3, writes: 1, orders: 1, crashes: 1, ..NOTHING };
    let report = hold("an operator", scenario(Fence::Operator, Start::Normal, small), larger);
    assert!(report.promotions > 0 && report.fenced > 0, "{report:?}");
}

#[test]
fn exhaustive_a_home_that_has_lost_writes_returns() {
    let small = Budget { ticks: 2, timeouts: 2, orders: 1, ..NOTHING };
    let larger = Budget { ticks: 3, timeouts: 3, writes: 1, orders: 1, ..NOTHING };
    for fence in [Fence::Witness, Fence::Operator] {
        let report =
            hold(&format!("a diverged home, {fence:?}"), scenario(fence, Start::Diverged, small), larger);
        assert!(report.returns > 0, "{report:?}");
    }
}

/// Enough for each of the canaries.
const SOME: Budget =
    Budget { ticks: 3, timeouts: 3, writes: 2, orders: 1, crashes: 0, repeated: 0, witness_restarts: 0 };

#[test]
fn explore_finds_two_writers_when_there_is_no_fence() {
    find(&scenario(Fence::None, Start::Normal, SOME), "two regions may write");
}

#[test]
fn explore_finds_two_writers_when_an_operator_is_wrong() {
    let scenario = scenario(Fence::Operator, Start::Normal, SOME);
    find(&Scenario { sabotage: Sabotage::WrongOperator, ..scenario }, "two regions may write");
}

#[test]
fn explore_finds_two_writers_when_a_lease_is_relied_on_for_longer_than_granted() {
    let scenario = scenario(Fence::Witness, Start::Normal, Budget { writes: 0, ..SOME });
    find(&Scenario { sabotage: Sabotage::SlowClock, ..scenario }, "two regions may write");
}

#[test]
fn explore_finds_a_record_that_was_not_durable() {
    let scenario = scenario(Fence::Operator, Start::Promoted, Budget { crashes: 1, writes: 1, ..SOME });
    // Regions that have forgotten their epochs may also stand still for ever, which is not looked for here.
    let heal_each = usize::MAX;
    find(&Scenario { sabotage: Sabotage::LostSaves, heal_each, ..scenario }, "two regions may write");
}

#[test]
fn explore_finds_a_handover_that_loses_a_write() {
    let scenario = scenario(Fence::Witness, Start::Normal, SOME);
    find(&Scenario { sabotage: Sabotage::IncompleteCatchUp, ..scenario }, "a handover has lost");
}
