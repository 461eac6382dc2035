//! A host over fake units that go on to another master key.

use crate::common::{FakeUnit, Load, blob, pattern, proof};
use engine::MacMechanism;
use host::{Host, HostConfig, HostError, UnitAddress, UnitView};
use std::time::Duration;
use unit_api::{Command, UnitError};

const SOON: Duration = Duration::from_secs(10);
const KEY: [u8; 32] = [3; 32];
const OLD: u8 = 1;
const NEW: u8 = 2;

/// Units under the old master key, all in use, the new one legal as well.
async fn rotating(count: u16) -> (Vec<FakeUnit>, Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let units: Vec<_> = (1..=count).map(|number| FakeUnit::started(folder.path(), number, OLD)).collect();
    let address = |(unit, number): (&FakeUnit, u16)| UnitAddress::new(number, number.to_string(), &unit.path);
    let config = HostConfig::new("1", proof(OLD)).with_units(units.iter().zip(1..).map(address));
    let host = Host::start(config.with_next_proof(Some(proof(NEW))).with_seed(1));
    host.wait_until(SOON, |units| units.iter().all(|unit| unit.in_use)).await.unwrap();
    (units, host, folder)
}

fn activate(unit: &FakeUnit) {
    unit.change(|b| (b.reported, b.held) = (Some(pattern(NEW)), Some(pattern(NEW))));
}

fn sign(key: &[u8]) -> Command<'_> {
    Command::Sign { by: MacMechanism::AesCmac, key, data: b"some data" }
}

fn shows(unit: &UnitView, seed: u8) -> bool {
    unit.in_use && unit.pattern.is_some_and(|found| found.is_of_same_key(&pattern(seed)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activation_unit_by_unit_costs_no_call() {
    for count in [1, 3] {
        let (units, host, _folder) = rotating(count).await;
        let load = Load::on(&host, 32, &[OLD, NEW]);
        load.more(500).await;
        for (i, unit) in units.iter().enumerate() {
            activate(unit);
            load.more(500).await;
            host.wait_until(SOON, |units| shows(&units[i], NEW)).await.unwrap();
        }
        host.set_proofs(proof(NEW), None);
        load.more(500).await;
        assert!(host.units().iter().all(|unit| shows(unit, NEW)));
        load.end().await;
    }
}

#[tokio::test]
async fn a_unit_that_only_shows_the_next_pattern_is_fenced() {
    let (units, host, _folder) = rotating(2).await;
    units[0].change(|b| b.reported = Some(pattern(NEW)));
    units[0].kill();
    units[0].start();
    let views = host.wait_until(SOON, |units| units[0].state == "fenced").await.unwrap();
    assert!(views[0].reason.contains(&pattern(NEW).to_string()), "{}", views[0].reason);
    activate(&units[0]);
    host.wait_until(SOON, |units| shows(&units[0], NEW)).await.unwrap();
}

#[tokio::test]
async fn a_unit_left_behind_is_fenced_with_both_patterns_and_comes_back() {
    let (units, host, _folder) = rotating(2).await;
    activate(&units[0]);
    host.set_proofs(proof(NEW), None);
    let views = host.wait_until(SOON, |units| units[1].state == "fenced" && units[0].in_use).await.unwrap();
    for seed in [OLD, NEW] {
        assert!(views[1].reason.contains(&pattern(seed).to_string()), "{}", views[1].reason);
    }
    let new = blob(pattern(NEW), KEY);
    host.call(&sign(&new), SOON).await.unwrap();
    // What only the old master key opens is refused at once, and no unit is blamed.
    let refused = host.call(&sign(&blob(pattern(OLD), KEY)), SOON).await;
    assert_eq!(refused.err(), Some(HostError::Refused(UnitError::WkidMismatch.into())));
    assert!(shows(&host.units()[0], NEW));
    activate(&units[1]);
    host.wait_until(SOON, |units| shows(&units[1], NEW)).await.unwrap();
}

#[tokio::test]
async fn before_the_rotation_and_without_it_the_next_pattern_is_not_legal() {
    let (units, host, _folder) = rotating(2).await;
    host.set_proofs(proof(OLD), None);
    activate(&units[0]);
    host.wait_until(SOON, |units| units[0].state == "fenced" && units[1].in_use).await.unwrap();
}

#[tokio::test]
async fn external_blobs_are_re_enciphered_or_refused_with_the_unit_s_reason() {
    let (units, host, _folder) = rotating(1).await;
    units[0].change(|b| b.refuse = Some(UnitError::NewNotCommitted));
    let refused = host.reencipher(&blob(pattern(OLD), KEY), SOON).await;
    assert_eq!(refused.err(), Some(HostError::Refused(UnitError::NewNotCommitted.into())));
}
