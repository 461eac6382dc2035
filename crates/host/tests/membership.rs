//! Units that join and leave while commands run.

use crate::common::{FakeUnit, blob, pattern, proof};
use engine::MacMechanism;
use host::{AdditionRefused, DrainRefused, Endpoint, Host, HostConfig, UnitAddress, UnitView};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (host, stop, done) = (host.clone(), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let key = blob(pattern(1), [3; 32]);
                let command = Command::Sign { by: MacMechanism::AesCmac, key: &key, data: b"some data" };
                while !stop.load(Ordering::Relaxed) {
                    let frame = host.call(&command, SOON).await.unwrap();
                    assert!(matches!(frame.response(), Ok(Response::Signature(_))));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async |calls: u64| {
        let goal = done.load(Ordering::Relaxed) + calls;
        while done.load(Ordering::Relaxed) < goal {
            assert!(!callers.iter().any(tokio::task::JoinHandle::is_finished), "a call failed");
            tokio::task::yield_now().await;
        }
    };
    for round in 0..3 {
        more(200).await;
        host.add_unit(address(&units[2], 3)).unwrap();
        assert_eq!(host.add_unit(address(&units[2], 3)), Err(AdditionRefused::NumberInUse));
        host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
        more(200).await;
        assert_eq!(host.remove_unit(1, false), Err(DrainRefused::NotDrained), "round {round}");
        host.drain(1, false).unwrap();
        assert!(host.wait_until_drained(1, SOON).await);
        host.remove_unit(1, false).unwrap();
        assert_eq!(host.remove_unit(1, false), Err(DrainRefused::UnknownUnit));
        more(200).await;
        host.add_unit(address(&units[0], 1)).unwrap();
        host.wait_until(SOON, |units| in_use(units) == 3).await.unwrap();
        host.remove_unit(3, true).unwrap();
        more(200).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(units[2].served() > 0);
    host.drain(2, false).unwrap();
    assert_eq!(host.drain(1, false), Err(DrainRefused::LastUnit));
    let stats = host.snapshot().retries;
    assert!(stats.requests >= done.load(Ordering::Relaxed) && stats.retry_budget_millis > 0, "{stats:?}");
}

#[tokio::test]
async fn a_unit_in_this_process_serves_like_one_behind_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (FakeUnit::new(folder.path(), 1, 1), FakeUnit::new(folder.path(), 2, 1));
    let (duplex, blocking) = (one.in_process(), two.blocking());
    assert!(duplex.is_same(&duplex.clone()) && !duplex.is_same(&blocking));
    let units = [UnitAddress::new(1, "az1", duplex), UnitAddress::new(2, "az2", blocking)];
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
