//! Faults of units under load: no request of a caller fails.

use crate::common::control::{all_serve, fault, status_once, unit};
use crate::common::load::{Callers, PLAINTEXT};
use crate::common::{is_alive, program, signal, up, wait_for};
use hsm_sim::control::{FaultKind, FaultRequest, Status, Target};
use hsm_sim::region::DevelopmentCeremony;
use rustix::process::Signal;
use tke::ceremony::{Ceremony, KeySource};
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::{AdminOperation, UnitKind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_faults_cost_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("faults").await.unwrap();
    let callers = Callers::start(&rest, &key);
    for kind in [FaultKind::Kill, FaultKind::Pause, FaultKind::Slow, FaultKind::Zeroize, FaultKind::Tamper] {
        for number in [1, 2] {
            status_once(&control, all_serve).await;
            callers.do_more(40).await;
            control.fault(&fault(kind, number)).await.unwrap();
            callers.do_more(80).await;
            // A slow unit may continue to serve.
            if kind != FaultKind::Slow {
                let status = status_once(&control, |status| !unit(status, number).serves()).await;
                assert!(!unit(&status, number).reason.is_empty(), "{kind:?}: {status:#?}");
            }
            control.heal(&Target::Unit(number)).await.unwrap();
        }
    }
    // A process that ends without a fault is restarted.
    let before = status_once(&control, all_serve).await;
    signal(unit(&before, 1).pid.unwrap(), Signal::KILL);
    callers.do_more(80).await;
    let after = status_once(&control, |status| all_serve(status) && unit(status, 1).restarts == 1).await;
    assert_ne!(unit(&before, 1).pid, unit(&after, 1).pid);
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_a_unit_with_another_master_key_never_serves() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let region = up(&data, &[]);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("fenced").await.unwrap();
    status_once(&control, all_serve).await;
    let callers = Callers::start(&rest, &key);

    // The administrators of unit 2 load other key parts, bypassing the region.
    let ours = DevelopmentCeremony::open(&data.join("ceremony")).unwrap();
    let others = DevelopmentCeremony::open(&folder.path().join("others")).unwrap();
    let other = others.pattern();
    let second = region.tke().meet(2).await;
    let mut record = ();
    let mut ceremony = Ceremony { quorum: ours.quorum(), record: &mut record };
    ceremony.execute(&second, &AdminOperation::ClearCurrent).await.unwrap();
    let goal = UnitGoal { master_key: MasterKeyGoal::Current(other), ..ours.goal(UnitKind::Operational) };
    ceremony.converge(&second, &goal, &KeySource::Parts(&others.parts())).await.unwrap();

    // Before the load it had no master key, which the host may have detected first.
    let named = |status: &Status| unit(status, 2).reason.contains(&other.to_string()[..8]);
    let status = status_once(&control, named).await;
    assert_eq!(unit(&status, 2).state, "fenced");
    let why = &unit(&status, 2).reason;
    assert!(why.contains(&status.pattern.as_ref().unwrap()[..8]), "{why}");
    let served = unit(&status, 2).served;
    callers.do_more(100).await;
    assert_eq!(unit(&control.status().await.unwrap(), 2).served, served, "a fenced unit got work");
    // Healing refuses to change a unit with another master key.
    let refused = control.heal(&Target::Unit(2)).await.unwrap_err().to_string();
    assert!(refused.contains("another master key"), "{refused}");
    // A restart of the region does not change it either.
    callers.end().await;
    let mut region = region;
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    let region = up(&data, &[]);
    let (rest, control) = (region.rest(), region.control());
    let status = status_once(&control, |status| unit(status, 2).state == "fenced").await;
    assert!(unit(&status, 1).serves(), "{status:#?}");
    rest.wrap(&key, PLAINTEXT).await.unwrap();

    control.fault(&fault(FaultKind::Zeroize, 2)).await.unwrap();
    status_once(&control, |status| unit(status, 2).reason.contains("master key")).await;
    control.heal(&Target::Unit(2)).await.unwrap();
    status_once(&control, all_serve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_without_any_unit_callers_are_told_and_recover() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("locked").await.unwrap();
    let ciphertext = rest.wrap(&key, PLAINTEXT).await.unwrap();
    control
        .fault(&FaultRequest { fault: FaultKind::Zeroize, target: Target::All, slow_by_ms: None })
        .await
        .unwrap();
    status_once(&control, |status| status.state == "locked").await;
    let refused = rest.unwrap(&key, &ciphertext).await.unwrap_err();
    assert!(refused.starts_with("503"), "{refused}");
    control.heal(&Target::All).await.unwrap();
    status_once(&control, all_serve).await;
    assert_eq!(rest.unwrap(&key, &ciphertext).await.as_deref(), Ok(PLAINTEXT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_ctrl_c_ends_every_process_and_a_new_start_finds_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &["--units", "3"]);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("kept").await.unwrap();
    let ciphertext = rest.wrap(&key, PLAINTEXT).await.unwrap();
    // One of them is paused, and cannot end by itself.
    control.fault(&fault(FaultKind::Pause, 3)).await.unwrap();
    let pids: Vec<u32> = control.status().await.unwrap().units.iter().map(|unit| unit.pid.unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    wait_for("all units to end", || pids.iter().all(|pid| !is_alive(*pid)));
    assert!(!hsm_sim::region::DataDir::ready_file(&data).exists());

    let before = region.ready.clone();
    let region = up(&data, &[]);
    assert_eq!(region.ready.units.len(), 3, "the number of units is kept");
    assert_eq!((region.ready.instance_id, &region.ready.api_key), (before.instance_id, &before.api_key));
    assert_eq!(region.rest().unwrap(&key, &ciphertext).await.as_deref(), Ok(PLAINTEXT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_demo_loses_nothing() {
    let output =
        tokio::task::spawn_blocking(|| program().args(["demo", "--keys", "1500", "--json"]).output())
            .await
            .unwrap()
            .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report:#}");
    assert_eq!((&report["failed_requests"], &report["lost_keys"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(report["phases"].as_array().unwrap().len(), 8, "{report:#}");
    assert!(report["requests"].as_u64().unwrap() >= 4500, "{report:#}");
}
