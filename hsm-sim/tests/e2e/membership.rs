//! Operational units that are added, drained, resumed and removed by command while callers use keys.

use crate::common::control::{all_serve, fault, kill, status_once, unit};
use crate::common::load::{Callers, PLAINTEXT};
use crate::common::tool::Tool;
use crate::common::{Region, is_alive, program, up, wait_for};
use hsm_sim::control::{ControlClient, FaultKind, Status, Target};
use hsm_sim::region::ReadyFile;
use node::{UnitEntry, query_units};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use unit_api::UnitId;

/// Runs `hsm-sim unit …` against a region.
fn command(region: &Region, line: &str) -> Output {
    let arguments = line.split(' ');
    program().arg("unit").args(arguments).arg("--data").arg(&region.data).output().unwrap()
}

/// The message of a command that is refused.
fn refusal(region: &Region, line: &str) -> String {
    let output = command(region, line);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{line}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

async fn numbers(control: &ControlClient) -> Vec<u16> {
    control.status().await.unwrap().units.iter().map(|unit| unit.unit).collect()
}

/// Numbers and zones in a ready file.
fn announced(path: &Path) -> Vec<(u16, String)> {
    let ready: ReadyFile = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    ready.units.into_iter().map(|unit| (unit.unit, unit.zone)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_units_join_and_leave_without_a_failed_request() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &["--recovery-units", "2"]);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("members").await.unwrap();
    let before = status_once(&control, all_serve).await;
    let callers = Callers::start(&rest, &key);
    callers.do_more(40).await;

    // The numbers of the recovery units do not change.
    let added = control.add_unit(None).await.unwrap();
    assert_eq!(added.unit, 5);
    let added = added.status;
    assert_eq!((unit(&added, 5).zone.as_str(), unit(&added, 3).kind.as_str()), ("az3", "RECOVERY"));
    status_once(&control, |status| all_serve(status) && unit(status, 5).served > 0).await;
    let listed = [(1, "az1"), (2, "az2"), (3, "az3"), (4, "us-east/az1"), (5, "az3")];
    let listed = listed.map(|(number, zone)| (number, zone.to_owned()));
    assert_eq!(announced(&data.join("ready.json")), listed);
    assert_eq!(announced(&data.with_extension("ready.json")), listed);

    let drained = control.drain_unit(1).await.unwrap();
    assert_eq!((unit(&drained, 1).state.as_str(), unit(&drained, 1).outstanding), ("draining", 0));
    callers.do_more(80).await;
    let later = control.status().await.unwrap();
    assert_eq!(unit(&later, 1).served, unit(&drained, 1).served, "a drained unit got requests");
    control.resume_unit(1).await.unwrap();
    status_once(&control, all_serve).await;
    callers.do_more(40).await;

    let leaving = unit(&before, 2).pid.unwrap();
    control.remove_unit(2, false).await.unwrap();
    assert_eq!(numbers(&control).await, [1, 3, 4, 5]);
    wait_for("the end of the unit's process", || !is_alive(leaving));
    callers.do_more(80).await;

    // The other two are enough, also after one of them is lost.
    control.fault(&kill(5)).await.unwrap();
    callers.do_more(80).await;
    control.heal(&Target::Unit(5)).await.unwrap();
    status_once(&control, all_serve).await;
    callers.end().await;

    // No process of the region can leave its memory in a core dump.
    let status = control.status().await.unwrap();
    for pid in status.units.iter().filter_map(|unit| unit.pid).chain([region.process.id()]) {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    }

    // The region starts with the units that it had.
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    drop(region);
    let region = up(&data, &[]);
    let (rest, control) = (region.rest(), region.control());
    assert_eq!(numbers(&control).await, [1, 3, 4, 5]);
    let callers = Callers::start(&rest, &key);

    // The unit in the zone that is free comes back under the number that is free, as the module that it was.
    let back = control.add_unit(Some("az2".to_owned())).await.unwrap().status;
    assert_eq!(unit(&back, 2).location, unit(&before, 2).location);
    status_once(&control, |status| all_serve(status) && unit(status, 2).served > 0).await;
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_a_removed_unit_holds_no_key_and_no_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let region = up(&data, &["--units", "3"]);
    status_once(&region.control(), all_serve).await;
    let removed = command(&region, "remove 3");
    assert!(removed.status.success(), "{removed:?}");
    assert!(!String::from_utf8(removed.stdout).unwrap().contains("az3].["), "the unit is still shown");

    // Its process is started again on its folder, outside the region.
    let (state, socket) = (data.join("units/3"), folder.path().join("unit.sock"));
    let mut process = program();
    process.args(["unit", "serve", "--state"]).arg(&state).arg("--socket").arg(&socket);
    process.arg("--factory").arg(data.join("factory"));
    let process = process.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let _ended = Region { process, ready: region.ready.clone(), data: data.clone(), log: region.log.clone() };
    wait_for("the unit's socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let entry = UnitEntry::new(3, "az3", socket, UnitId([0; 16]));
    let queried = query_units([entry], Duration::from_secs(60)).await;
    let status = queried.first().unwrap().status.clone().unwrap();
    assert_eq!((status.administrators, status.signature_threshold), (0, 0));
    assert!(status.current.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_units_are_not_changed_against_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let region = up(&data, &["--recovery-units", "2"]);
    let control = region.control();
    let before = status_once(&control, all_serve).await;
    let refused = |line: &str, reason: &str| {
        let message = refusal(&region, line);
        assert!(message.contains(reason), "{line}: {message}");
    };
    refused("add --zone az1", "zone az1 has operational unit 1");
    refused("add --zone az9", "there is no zone `az9`; this region has az1, az2, az3");
    refused("remove 1", "at least 2 operational units");
    refused("remove 3", "unit 3 is a recovery unit");
    refused("drain 4", "unit 4 is a recovery unit");
    refused("resume 7", "there is no unit 7; this region has units 1, 2, 3, 4");
    assert!(command(&region, "drain 1").status.success());
    refused("drain 2", "no other unit is in use");
    assert!(command(&region, "resume 1").status.success());
    status_once(&control, all_serve).await;
    assert!(command(&region, "add --json").status.success());
    refused("add", "at most 3 operational units");

    // A unit that cannot be zeroized keeps its master key: it is removed only by those who know that.
    let later = status_once(&control, all_serve).await;
    control.fault(&kill(5)).await.unwrap();
    refused("remove 5", "--lost");
    control.heal(&Target::Unit(5)).await.unwrap();
    control.fault(&fault(FaultKind::Pause, 5)).await.unwrap();
    refused("remove 5", "--lost");
    assert!(command(&region, "remove 5 --lost").status.success());
    let numbers = |status: &Status| status.units.iter().map(|unit| unit.unit).collect::<Vec<_>>();
    assert_eq!(numbers(&control.status().await.unwrap()), numbers(&before));

    // Its folder was moved aside: a unit that is added in its place is a new one.
    assert!(data.join("units/3.lost-1/slot-a").exists() && !data.join("units/3").exists());
    let lost = unit(&later, 5);
    assert!(command(&region, "add").status.success());
    let status = status_once(&control, all_serve).await;
    assert_eq!(unit(&status, 5).location, lost.location);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_a_change_of_units_that_cannot_be_stored_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let region = up(&data, &["--units", "3"]);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("kept").await.unwrap();
    status_once(&control, all_serve).await;
    let callers = Callers::start(&rest, &key);

    // A folder in its place keeps the file from being written, also for root.
    let (file, aside) = (data.join("region.json"), data.join("region.json.aside"));
    let block = || {
        std::fs::rename(&file, &aside).unwrap();
        std::fs::create_dir(&file).unwrap();
    };
    let unblock = || {
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(&aside, &file).unwrap();
    };
    block();
    assert!(refusal(&region, "remove 3").contains("region.json cannot be used"));
    // It has been zeroized by then: it stays in the region, and does not serve.
    status_once(&control, |status| unit(status, 3).state == "fenced").await;
    unblock();
    assert!(command(&region, "remove 3").status.success());
    assert_eq!(numbers(&control).await, [1, 2]);

    block();
    assert!(refusal(&region, "add").contains("region.json cannot be used"));
    assert_eq!(numbers(&control).await, [1, 2]);
    let socket = data.join("run/unit-3.sock");
    wait_for("the end of the new unit", || std::os::unix::net::UnixStream::connect(&socket).is_err());
    unblock();
    assert!(command(&region, "add").status.success());
    status_once(&control, |status| all_serve(status) && status.units.len() == 3).await;
    callers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_a_caller_that_hangs_up_leaves_no_change_half_done() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let control = region.control();
    let url: hyper::Uri = region.ready.control_url.parse().unwrap();
    let hang_up = |path: &str, body: &str| {
        let mut stream = TcpStream::connect(url.authority().unwrap().as_str()).unwrap();
        let token = &region.ready.control_token;
        let header = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}");
        let header = format!("{header}\r\nContent-Length: {}", body.len());
        stream.write_all(format!("{header}\r\n\r\n{body}").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // Closed, as a rule without an answer.
        let _ = stream.read_to_end(&mut Vec::new());
    };
    hang_up("/units", "{}");
    status_once(&control, |status| status.units.len() == 3 && all_serve(status)).await;
    hang_up("/units/3/drain", "");
    status_once(&control, |status| unit(status, 3).state == "draining").await;
    hang_up("/units/3/remove", "{}");
    status_once(&control, |status| status.units.len() == 2).await;
    hang_up("/units", "{}");
    status_once(&control, |status| status.units.len() == 3 && all_serve(status)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_ctrl_c_during_a_change_of_units_leaves_no_ready_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &[]);
    let control = region.control();
    let adding = tokio::spawn(async move { control.add_unit(None).await });
    let unit = data.join("units/3");
    wait_for("the new unit's folder", || unit.exists());
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    assert!(!data.join("ready.json").exists() && !data.with_extension("ready.json").exists());
    // The command was carried out, or refused; the region starts again in either case.
    let added = adding.await.unwrap().is_ok();
    let region = up(&data, &[]);
    let status = status_once(&region.control(), all_serve).await;
    assert!(status.units.len() == 3 || !added, "{status:#?}");
}

#[tokio::test]
async fn e2e_tke_numbers_units_as_the_region_does() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &["--ceremony", "manual", "--recovery-units", "2"]);
    let (tool, control) = (Tool::on(&region), region.control());
    tool.text("auto-init --new-administrator alice --new-administrator bob");
    let rest = region.rest();
    let key = rest.create_when_ready("numbers").await;

    // The new unit gets no work before administrators have set it up.
    let added = control.add_unit(None).await.unwrap();
    let state = unit(&added.status, 5);
    assert!((added.unit, state.imprint_mode, state.serves()) == (5, Some(true), false), "{state:#?}");
    let listed = tool.json("cryptounits");
    let listed = listed["crypto_units"].as_array().unwrap().iter();
    let listed = listed.map(|unit| (unit["number"].as_u64().unwrap(), unit["location"].as_str().unwrap()));
    let shown = added.status.units.iter().map(|unit| (u64::from(unit.unit), unit.location.as_str()));
    assert_eq!(listed.collect::<Vec<_>>(), shown.collect::<Vec<_>>());
    tool.text("sigkey-sel alice bob");
    tool.text("converge");
    status_once(&control, all_serve).await;

    // A rotation leaves out the unit that the region means by the number.
    control.fault(&kill(5)).await.unwrap();
    tool.text("mk-add one --random");
    tool.text("mk-add two --random");
    tool.text("cryptounit-rm all");
    tool.text("cryptounit-add 1 2 3 4");
    tool.text("cryptounit-mk-load --part one --part two");
    tool.text("cryptounit-mk-commit");
    tool.refused("cryptounit-mk-rotate", "crypto unit 5");
    tool.text("cryptounit-mk-rotate --exclude 5");
    rest.wrap(&key, PLAINTEXT).await.unwrap();

    // It must not serve until it has the new master key.
    control.heal(&Target::Unit(5)).await.unwrap();
    status_once(&control, |status| unit(status, 5).state == "fenced").await;
}
