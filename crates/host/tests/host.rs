//! A host over fake units on real sockets, with faults.

use crate::common::{FakeUnit, Load, blob, pattern, proof};
use engine::MacMechanism;
use host::{Host, HostConfig, HostError, UnitAddress, UnitView};
use std::time::{Duration, Instant};
use unit_api::{Command, Condition, UnitError};

const SOON: Duration = Duration::from_secs(10);
const KEY: [u8; 32] = [3; 32];

struct Region {
    units: Vec<FakeUnit>,
    host: Host,
    _folder: tempfile::TempDir,
}

/// Three units in three zones; `prepare` changes them before the host sees them.
fn region(prepare: impl FnOnce(&[FakeUnit])) -> Region {
    let folder = tempfile::tempdir().unwrap();
    let units: Vec<_> = (1..=3).map(|number| FakeUnit::started(folder.path(), number, 1)).collect();
    prepare(&units);
    let addresses = units.iter().zip(1..).zip(["a", "b", "c"]);
    let addresses = addresses.map(|((unit, number), zone)| UnitAddress::new(number, zone, &unit.path));
    let config = HostConfig::new("a", proof(1)).with_units(addresses).with_seed(1);
    Region { host: Host::start(config), units, _folder: folder }
}

fn in_use(units: &[UnitView]) -> usize {
    units.iter().filter(|unit| unit.in_use).count()
}

async fn ready() -> Region {
    let region = region(|_| ());
    region.host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
    region
}

fn sign(key: &[u8]) -> Command<'_> {
    Command::Sign { by: MacMechanism::AesCmac, key, data: b"some data" }
}

#[tokio::test]
async fn a_killed_unit_costs_no_call_and_comes_back() {
    let Region { units, host, _folder } = ready().await;
    let load = Load::on(&host, 32, &[1]);
    load.more(200).await;
    for unit in &units {
        unit.kill();
        load.more(200).await;
        host.wait_until(SOON, |units| in_use(units) == 2).await.unwrap();
        unit.start();
        host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
    }
    load.end().await;
    assert!(units.iter().all(|unit| unit.served() > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_units_killed_together_cost_no_call() {
    let Region { units, host, _folder } = ready().await;
    let load = Load::on(&host, 64, &[1]);
    load.more(500).await;
    units[0].kill();
    units[2].kill();
    load.more(1000).await;
    units[0].start();
    units[2].start();
    host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
    load.more(500).await;
    load.end().await;
}

#[tokio::test]
async fn a_paused_unit_costs_no_call() {
    let Region { units, host, _folder } = ready().await;
    let load = Load::on(&host, 16, &[1]);
    load.more(500).await;
    units[0].change(|b| b.paused = true);
    load.more(2000).await;
    host.wait_until(SOON, |units| units[0].state == "ejected").await.unwrap();
    units[0].change(|b| b.paused = false);
    host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
    load.end().await;
}

#[tokio::test]
async fn a_slow_unit_is_left_alone() {
    let Region { units, host, _folder } = ready().await;
    let load = Load::on(&host, 8, &[1]);
    load.more(500).await;
    units[0].change(|b| b.delay = Duration::from_millis(30));
    let views = host.wait_until(SOON, |units| units[0].state == "ejected").await.unwrap();
    assert!(!views[0].reason.is_empty());
    load.more(500).await;
    load.end().await;
}

#[tokio::test]
async fn a_unit_that_talks_garbage_costs_no_call() {
    for garbage in [vec![0xff; 9], vec![0, 0, 0, 3, 1, 9, 9], vec![0, 0, 0, 40, 1, 2, 3], vec![]] {
        let Region { units, host, _folder } = ready().await;
        units[0].change(|b| b.garbage = Some(garbage));
        let load = Load::on(&host, 8, &[1]);
        host.wait_until(SOON, |units| units[0].state == "ejected").await.unwrap();
        load.more(300).await;
        load.end().await;
        assert_eq!(units[0].served(), 0);
    }
}

#[tokio::test]
async fn a_unit_in_trouble_costs_no_call() {
    let Region { units, host, _folder } = ready().await;
    units[0].change(|b| b.refuse = Some(UnitError::StorageFailed));
    let load = Load::on(&host, 8, &[1]);
    let views = host.wait_until(SOON, |units| units[0].state == "ejected").await.unwrap();
    assert_eq!(views[0].reason, "most of its answers are failures");
    load.more(300).await;
    load.end().await;
}

#[tokio::test]
async fn a_unit_with_another_master_key_is_fenced_and_says_which() {
    let Region { units, host, _folder } = region(|units| {
        units[1].change(|b| (b.reported, b.held) = (Some(pattern(2)), Some(pattern(2))));
    });
    let views = host.wait_until(SOON, |u| in_use(u) == 2 && u[1].state == "fenced").await.unwrap();
    assert!(views[1].reason.contains(&pattern(1).to_string()), "{}", views[1].reason);
    assert!(views[1].reason.contains(&pattern(2).to_string()), "{}", views[1].reason);
    let load = Load::on(&host, 8, &[1]);
    load.more(300).await;
    load.end().await;
    assert_eq!(units[1].served(), 0);
    // The right one is loaded: the host finds out by itself.
    units[1].change(|b| (b.reported, b.held) = (Some(pattern(1)), Some(pattern(1))));
    host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
}

#[tokio::test]
async fn a_liar_is_fenced() {
    let Region { units, host, _folder } = region(|units| {
        units[0].change(|b| b.held = Some(pattern(2)));
    });
    let views = host.wait_until(SOON, |u| in_use(u) == 2 && u[0].state == "fenced").await.unwrap();
    assert!(views[0].reason.contains("does not show"), "{}", views[0].reason);
    let load = Load::on(&host, 8, &[1]);
    load.more(100).await;
    load.end().await;
    assert_eq!(units[0].served(), 0);
}

#[tokio::test]
async fn a_forged_proof_does_not_pass() {
    for forged in ["Decrypt", "Sign"] {
        let Region { host, units, _folder } = region(|units| units[2].change(|b| b.forge = Some(forged)));
        host.wait_until(SOON, |u| in_use(u) == 2 && u[2].state == "fenced").await.unwrap();
        units[2].change(|b| b.forge = None);
        host.wait_until(SOON, |u| in_use(u) == 3).await.unwrap();
    }
}

#[tokio::test]
async fn the_canary_finds_a_unit_whose_answers_turn_wrong() {
    let Region { host, units, _folder } = ready().await;
    units[1].change(|b| b.forge = Some("Sign"));
    host.wait_until(SOON, |units| units[1].state == "fenced").await.unwrap();
}

#[tokio::test]
async fn a_unit_that_becomes_a_liar_is_fenced_at_its_first_answer() {
    let Region { units, host, _folder } = ready().await;
    let load = Load::on(&host, 8, &[1]);
    load.more(100).await;
    units[0].change(|b| b.held = Some(pattern(2)));
    host.wait_until(SOON, |units| units[0].state == "fenced").await.unwrap();
    load.more(100).await;
    load.end().await;
}

#[tokio::test]
async fn a_zeroized_unit_costs_no_call() {
    let Region { units, host, _folder } = ready().await;
    let load = Load::on(&host, 32, &[1]);
    load.more(100).await;
    units[0].change(|b| (b.reported, b.held) = (None, None));
    let views = host.wait_until(SOON, |units| units[0].state == "fenced").await.unwrap();
    assert_eq!(views[0].reason, "it has no valid current master key");
    load.more(300).await;
    load.end().await;
}

#[tokio::test]
async fn clones_rolled_back_and_broken_units_are_fenced() {
    let Region { units, host, _folder } = ready().await;
    // A copy of unit 1's state takes unit 2's place; unit 3 comes back with an old state.
    let first = host.units()[0].unit.unwrap();
    units[1].kill();
    units[1].change(|b| b.unit = first);
    units[2].kill();
    units[2].change(|b| b.transaction_counter = 4);
    units[1].start();
    units[2].start();
    let fenced = |units: &[UnitView]| units[1].state == "fenced" && units[2].state == "fenced";
    let views = host.wait_until(SOON, fenced).await.unwrap();
    assert!(views[1].reason.contains("is that of unit 1"), "{}", views[1].reason);
    assert!(views[2].reason.contains("went back from 5 to 4"), "{}", views[2].reason);
    assert!(views[0].in_use);
    units[2].change(|b| (b.transaction_counter, b.condition) = (6, Condition::Error(0x243)));
    let broken = |units: &[UnitView]| units[2].reason.contains("error state (0x0243)");
    host.wait_until(SOON, broken).await.unwrap();
}

#[tokio::test]
async fn without_units_a_call_waits_and_then_says_why() {
    let Region { units, host, _folder } = ready().await;
    units[0].kill();
    units[1].kill();
    units[2].change(|b| (b.reported, b.held) = (None, None));
    host.wait_until(SOON, |units| in_use(units) <= 1).await.unwrap();
    let key = blob(pattern(1), KEY);
    let began = Instant::now();
    let error = host.call(&sign(&key), Duration::from_millis(400)).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(400));
    let HostError::NoEligibleUnit { units: unavailable } = &error else { panic!("{error:?}") };
    assert!(error.is_retryable());
    assert_eq!(unavailable.len(), 3);
    let text = error.to_string();
    assert!(text.contains("unit 1 is ejected (no connection"), "{text}");
    assert!(text.contains("unit 3 is fenced (it has no valid current master key)"), "{text}");
    // One comes back while a call waits.
    let command = sign(&key);
    let (answer, ()) = tokio::join!(host.call(&command, SOON), async { units[1].start() });
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn the_only_unit_may_die_and_return_under_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let unit = FakeUnit::started(folder.path(), 1, 1);
    let address = UnitAddress::new(7, "z", &unit.path);
    let config = HostConfig::new("a", proof(1)).with_units([address]).with_seed(9);
    let host = Host::start(config);
    host.wait_until(SOON, |units| in_use(units) == 1).await.unwrap();
    unit.change(|b| b.paused = true);
    let key = blob(pattern(1), KEY);
    let command = sign(&key);
    let call = host.call(&command, SOON);
    let (answer, ()) = tokio::join!(call, async {
        unit.kill();
        host.wait_until(SOON, |units| in_use(units) == 0).await.unwrap();
        unit.change(|b| b.paused = false);
        unit.start();
    });
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn a_foreign_blob_is_the_callers_fault_and_fences_no_unit() {
    let Region { host, units: _units, _folder } = ready().await;
    let foreign = blob(pattern(2), KEY);
    for _ in 0..50 {
        let error = host.call(&sign(&foreign), SOON).await.unwrap_err();
        assert_eq!(error, HostError::Refused(UnitError::WkidMismatch.into()));
        assert!(!error.is_retryable());
    }
    assert_eq!(in_use(&host.units()), 3);
}

#[tokio::test]
async fn what_is_not_for_a_host_is_refused_unsent() {
    let Region { host, units: _units, _folder } = region(|_| ());
    let error = host.call(&Command::Administer { request: &[] }, SOON).await.unwrap_err();
    assert_eq!(error, HostError::AdministrativeCommand("Administer"));
    let long = vec![0; 70_000];
    let error =
        host.call(&Command::Encrypt { key: &[], aad: &[], plaintext: &long }, SOON).await.unwrap_err();
    assert_eq!(error, HostError::RequestTooLong);
}

#[tokio::test]
async fn draining_and_shutting_down() {
    let Region { host, units, _folder } = ready().await;
    host.drain(1, false).unwrap();
    host.drain(2, false).unwrap();
    assert_eq!(host.drain(3, false).unwrap_err().to_string(), "no other unit is in use");
    let load = Load::on(&host, 4, &[1]);
    load.more(100).await;
    load.end().await;
    assert_eq!((units[0].served(), units[1].served()), (0, 0));
    host.resume(1).unwrap();
    host.wait_until(SOON, |units| units[0].in_use).await.unwrap();

    units[0].change(|b| b.paused = true);
    units[2].change(|b| b.paused = true);
    let key = blob(pattern(1), KEY);
    let command = sign(&key);
    let (answer, ()) = tokio::join!(host.call(&command, SOON), host.shutdown());
    assert_eq!(answer.unwrap_err(), HostError::ShutDown);
    assert_eq!(host.call(&command, SOON).await.unwrap_err(), HostError::ShutDown);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_behind() {
    let Region { host, units, _folder } = ready().await;
    let key = blob(pattern(1), KEY);
    units.iter().for_each(|unit| unit.change(|b| b.paused = true));
    let given_up = tokio::time::timeout(Duration::from_millis(20), host.call(&sign(&key), SOON)).await;
    assert!(given_up.is_err());
    assert!(host.units().iter().any(|unit| unit.outstanding > 0));
    units.iter().for_each(|unit| unit.change(|b| b.paused = false));
    host.call(&sign(&key), SOON).await.unwrap();
    while host.units().iter().any(|unit| unit.outstanding > 0) {
        tokio::task::yield_now().await;
    }
}
