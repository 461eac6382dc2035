//! The table of metrics and what a node shows agree.

use crate::common::{PATIENCE, Region, TestNode};
use axum::http::Method;
use node::StoreConfig;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const TABLE: &str = include_str!("../../../docs/metrics.md");

/// Name, kind and labels of every metric in the table.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), labels))
    })
    .collect()
}

/// The same of what a node shows.
fn shown(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut shown = BTreeMap::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            shown.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let sample = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let base = |suffix| name.strip_suffix(suffix).filter(|base| shown.contains_key(*base));
            let family = ["_bucket", "_sum", "_count"].into_iter().find_map(base).unwrap_or(name).to_owned();
            let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
            let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
            shown.get_mut(&family).unwrap_or_else(|| panic!("{family} has no type")).1.extend(labels);
        }
    }
    shown
}

#[tokio::test]
async fn the_table_of_metrics_is_complete_and_right() {
    let mut region = Region::keyed();
    // The store that has figures of its own.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.redb");
    region.store = Arc::new(StoreConfig::Redb { path }.open().await.unwrap());
    let node = region.node("a", PATIENCE).await;
    let key = node.create_root().await;
    node.act(&key, "wrap", &json!({ "plaintext": "YQ==" })).await;
    region.clock.advance_days(1);
    assert_eq!(node.call(Method::DELETE, &format!("/api/v2/keys/{key}"), "").await.status, 204);
    region.clock.advance_days(91);
    crate::common::wait_until("the key is purged", async || {
        node.metrics().await.keys().any(|sample| sample.starts_with("hsm_purged_keys"))
    })
    .await;
    rotate(&region, &node).await;
    crate::common::wait_until("audit records are fetched", async || {
        let fetched =
            |(name, value): (&String, &f64)| name.starts_with("hsm_unit_audit_records") && *value > 0.0;
        node.metrics().await.iter().filter(|sample| fetched(*sample)).count() == 2
    })
    .await;
    let text = node.operator("/metrics").await.text;
    let mut expected = documented();
    // Of a region in a pair, and of a node that keeps backups.
    expected.retain(|name, _| !name.starts_with("hsm_region_") && !name.starts_with("hsm_backup"));
    assert_eq!(shown(&text), expected, "docs/metrics.md and /metrics differ");

    let metrics = node.metrics().await;
    let of = |part: &str| metrics.iter().find(|(name, _)| name.contains(part)).map(|(_, value)| *value);
    let wrap = "hsm_request_duration_seconds_count{api=\"rest\",method=\"POST\",\
                route=\"/api/v2/keys/{key}/actions/wrap\",code=\"200\"}";
    assert_eq!(of(wrap), Some(1.0), "{text}");
    assert_eq!(
        of("ibm_hpcs_api_request_gauge{ibm_hpcs_api=\"POST /api/v2/keys/{key}/actions/wrap\""),
        Some(1.0)
    );
    assert_eq!(of("hsm_unit_state{unit=\"1\""), Some(1.0), "{text}");
    assert_eq!((of("hsm_unit_audit_missed"), of("hsm_unit_audit_breaks")), (Some(0.0), Some(0.0)), "{text}");
    assert!(of("hsm_keystore_commits_total").unwrap() >= 3.0, "{text}");
    assert!(of("hsm_keystore_flush_seconds_count").unwrap() >= 3.0, "{text}");
}

/// Some metrics have no sample before a rotation has processed a key.
async fn rotate(region: &Region, node: &TestNode) {
    node.create_root().await;
    let new = region.prepare(2);
    node.rotation(json!({ "action": "begin", "pattern": new })).await;
    crate::common::wait_until("the key is re-enciphered", async || {
        node.rotation(serde_json::Value::Null).await["phase"] == "re-enciphered"
    })
    .await;
}
