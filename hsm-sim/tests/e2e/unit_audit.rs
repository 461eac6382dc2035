//! Audit records that the service fetches from the units by itself.

use crate::common::control::kill;
use crate::common::tke::Tke;
use crate::common::tool::{Tool, said};
use crate::common::{until, up};
use bytes::Bytes;
use hsm_sim::region::DevelopmentCeremony;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::path::Path;
use tke::ceremony::Ceremony;
use tke::unit::PortError;
use tke::{AdminOperation, AdminUnit, UnitDescriptor, UnitPort};

/// More records than a unit keeps.
const COMMANDS: usize = 40;

/// A unit's socket, past the service.
struct SocketPort(std::path::PathBuf);

impl UnitPort for SocketPort {
    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, PortError> {
        Ok(node::administer(&self.0.clone().into(), request).await?)
    }
}

async fn administer<P: UnitPort>(unit: &AdminUnit<P>, keys: &DevelopmentCeremony, commands: usize) {
    let mut record = ();
    let mut ceremony = Ceremony { quorum: keys.quorum(), record: &mut record };
    for _ in 0..commands {
        ceremony.execute(unit, &AdminOperation::GenerateImporterKey).await.unwrap();
    }
}

async fn listed(tke: &Tke, number: u16) -> UnitDescriptor {
    tke.list().await.into_iter().map(|(listed, _)| listed).find(|unit| unit.number == number).unwrap()
}

async fn get(url: String) -> String {
    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = http.get(url.parse().unwrap()).await.unwrap();
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// A metric of unit 1.
fn metric(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name) && line.contains("unit=\"1\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap()
}

fn kept_files(data: &Path) -> Vec<String> {
    let files = std::fs::read_dir(data.join("unit-audit")).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_records_that_a_unit_overwrites_are_kept_and_missed_ones_are_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &["--recovery-units", "0"]);
    let (tke, tool) = (region.tke(), Tool::on(&region));
    let keys = DevelopmentCeremony::open(&region.data.join("ceremony")).unwrap();
    let operator = |path: &str| get(format!("{}{path}", region.ready.operator_url));
    // The node fetches what the ceremony has left.
    until("the first records", async || {
        let records = metric(&operator("/metrics").await, "hsm_unit_audit_records_total");
        if records > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;

    // Through the service, nothing is lost.
    administer(&tke.meet(1).await, &keys, COMMANDS).await;
    let audit = tool.json("audit --unit 1");
    let unit = &audit["crypto_units"][0];
    assert_eq!(unit["gaps"], serde_json::json!([]), "{unit}");
    assert!(unit["from_service"].as_u64().unwrap() >= COMMANDS as u64 - 32, "{unit}");
    let records = unit["records"].as_array().unwrap();
    assert_eq!(records.len() as u64, unit["last"].as_u64().unwrap());
    assert!(records.len() > COMMANDS);
    let text = operator("/metrics").await;
    assert_eq!(metric(&text, "hsm_unit_audit_missed_records_total"), 0);
    assert!(operator("/healthz?verbose").await.contains("[+] unit-audit"));

    // The service's records are believed as far as the unit's chain proves them.
    let file = std::fs::read_dir(region.data.join("unit-audit")).unwrap();
    let paths: Vec<_> = file.map(|file| file.unwrap().path()).collect();
    let saved: Vec<_> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for (path, text) in paths.iter().zip(&saved) {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut first: Value = serde_json::from_str(&lines[0]).unwrap();
        let changed = first["record"].as_str().unwrap().replacen('0', "1", 1);
        first["record"] = changed.into();
        lines[0] = first.to_string();
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    let other = Tool::on(&region);
    let output = other.run("audit --unit 1 --json");
    let audit: Value = serde_json::from_slice(&output.stdout).unwrap();
    let unit = &audit["crypto_units"][0];
    assert!(!output.status.success() && unit["service_problem"].is_string(), "{unit}");
    assert_eq!((unit["from_service"].as_u64(), unit["gaps"].as_array().unwrap().len()), (Some(0), 1));
    for (path, text) in paths.iter().zip(&saved) {
        std::fs::write(path, text).unwrap();
    }

    // Past the service, they are: the node says so, and the tool.
    let before: usize = kept_files(&region.data).iter().map(|text| text.lines().count()).sum();
    let socket = SocketPort(region.data.join("run/unit-1.sock"));
    let direct = AdminUnit::authenticate(listed(&tke, 1).await, socket, &tke.trust).await.unwrap();
    administer(&direct, &keys, COMMANDS).await;
    administer(&tke.meet(1).await, &keys, 8).await;
    assert!(metric(&operator("/metrics").await, "hsm_unit_audit_missed_records_total") > 0);
    let health = operator("/healthz?verbose").await;
    assert!(health.contains("overwritten before they were fetched"), "{health}");
    let files = kept_files(&region.data);
    assert!(files.iter().map(|text| text.lines().count()).sum::<usize>() > before);
    assert!(files.iter().any(|text| text.contains(r#""kind":"gap""#)));
    tool.refused("audit --unit 1", "are missing");

    // A unit that is down is named, and the records of the other are shown.
    region.control().fault(&kill(1)).await.unwrap();
    let output = tool.run("audit");
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("CRYPTO UNIT 2") && text.contains("crypto unit 1"), "{text}");
}
