//! Units that join and leave while commands run.

use crate::common::{FakeUnit, Load, proof};
use host::{AdditionRefused, DrainRefused, Endpoint, Host, HostConfig, UnitAddress, UnitView};
use std::time::Duration;
use unit_api::{Command, Response};

const SOON: Duration = Duration::from_secs(20);

fn in_use(units: &[UnitView]) -> usize {
    units.iter().filter(|unit| unit.in_use).count()
}

fn address(unit: &FakeUnit, number: u16) -> UnitAddress {
    UnitAddress::new(number, format!("az{number}"), &unit.path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_join_and_leave_without_a_failed_call() {
    let folder = tempfile::tempdir().unwrap();
    let units: Vec<_> = (1..=3).map(|number| FakeUnit::started(folder.path(), number, 1)).collect();
    let first_two = units.iter().zip(1..).take(2).map(|(unit, number)| address(unit, number));
    let host = Host::start(HostConfig::new("az1", proof(1)).with_units(first_two));
    host.wait_until(SOON, |units| in_use(units) == 2).await.unwrap();

    let load = Load::on(&host, 32, &[1]);
    for round in 0..3 {
        load.more(200).await;
        host.add_unit(address(&units[2], 3)).unwrap();
        assert_eq!(host.add_unit(address(&units[2], 3)), Err(AdditionRefused::NumberInUse));
        host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
        load.more(200).await;
        assert_eq!(host.remove_unit(1, false), Err(DrainRefused::NotDrained), "round {round}");
        host.drain(1, false).unwrap();
        assert!(host.wait_until_drained(1, SOON).await);
        host.remove_unit(1, false).unwrap();
        assert_eq!(host.remove_unit(1, false), Err(DrainRefused::UnknownUnit));
        load.more(200).await;
        host.add_unit(address(&units[0], 1)).unwrap();
        host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
        host.remove_unit(3, true).unwrap();
        load.more(200).await;
    }
    let done = load.done();
    load.end().await;
    assert!(units[2].served() > 0);
    host.drain(2, false).unwrap();
    assert_eq!(host.drain(1, false), Err(DrainRefused::LastUnit));
    let stats = host.snapshot().retries;
    assert!(stats.requests >= done && stats.retry_budget_millis > 0, "{stats:?}");
}

#[tokio::test]
async fn a_unit_in_this_process_serves_like_one_behind_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (FakeUnit::new(folder.path(), 1, 1), FakeUnit::new(folder.path(), 2, 1));
    let (tasks, threads) = (one.in_process(), two.blocking());
    assert!(tasks.is_same(&tasks.clone()) && !tasks.is_same(&threads));
    let units = [UnitAddress::new(1, "az1", tasks), UnitAddress::new(2, "az2", threads)];
    let host = Host::start(HostConfig::new("az1", proof(1)).with_units(units));
    host.wait_until(SOON, |units| in_use(units) == 2).await.unwrap();
    for unit in [1, 2] {
        host.drain(3 - unit, false).unwrap();
        let frame = host.call(&Command::GenerateRandom { len: 9 }, SOON).await.unwrap();
        assert!(matches!(frame.response(), Ok(Response::Random([9, ..]))));
        host.resume(3 - unit).unwrap();
        host.wait_until(SOON, |units| in_use(units) == 2).await.unwrap();
    }
    assert!(one.served() > 0 && two.served() > 0);
    assert_eq!(Endpoint::unix("/run/u.sock").to_string(), "/run/u.sock");
}

#[tokio::test]
async fn attack_a_unit_that_rejoins_with_an_older_state_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let units: Vec<_> = (1..=2).map(|number| FakeUnit::started(folder.path(), number, 1)).collect();
    let addresses = units.iter().zip(1..).map(|(unit, number)| address(unit, number));
    let host = Host::start(HostConfig::new("az1", proof(1)).with_units(addresses));
    host.wait_until(SOON, |units| in_use(units) == 2).await.unwrap();
    // Leaving and joining, under another number too, must not make the host forget the unit's transaction counter.
    units[1].change(|b| b.transaction_counter -= 1);
    for number in [2, 3] {
        host.remove_unit(2, true).unwrap();
        host.add_unit(address(&units[1], number)).unwrap();
        let views = host.wait_until(SOON, |units| units[1].state == "fenced").await.unwrap();
        assert!(views[1].reason.contains("transaction counter went back"), "{}", views[1].reason);
    }
}
