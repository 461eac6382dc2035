//! Background jobs of several nodes over one store: each item is done once, and a dead node is replaced.

use crate::common::{INSTANCE, PATIENCE, Region, TestNode, wait_until};
use axum::http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Key versions: two batches of a rotation and some more.
const KEYS: usize = 140;
/// Key versions in one batch.
const BATCH: usize = 64;

fn processed() -> String {
    format!("hsm_rotation_processed_key_versions_total{{instance=\"{INSTANCE}\"}}")
}

fn purged() -> String {
    format!("hsm_purged_keys_total{{instance=\"{INSTANCE}\"}}")
}

async fn phase(node: &TestNode) -> Value {
    node.rotation(Value::Null).await["phase"].clone()
}

async fn create_keys(node: &TestNode) {
    for _ in 0..KEYS {
        node.create_root().await;
    }
}

#[tokio::test]
async fn two_nodes_process_each_key_of_a_rotation_once() {
    let region = Region::keyed();
    let (a, b) = (region.node("a", PATIENCE).await, region.node("b", PATIENCE).await);
    create_keys(&a).await;
    let new = region.prepare(2);
    a.rotation(json!({ "action": "begin", "pattern": new })).await;
    wait_until("every key is re-enciphered", async || phase(&b).await == "re-enciphered").await;
    let done = [a.metric(&processed()).await, b.metric(&processed()).await];
    assert_eq!(done.iter().sum::<f64>(), KEYS as f64, "{done:?}");
    assert!(done.contains(&0.0), "both nodes worked on one phase: {done:?}");

    // The host of the node that was told nothing follows: keys are served through it under the next master key.
    a.rotation(json!({ "action": "activate" })).await;
    region.activate(2);
    wait_until("the other node's host follows", async || {
        b.metric("hsm_unit_in_use{unit=\"1\",zone=\"az1\"}").await == 1.0
    })
    .await;
    a.rotation(json!({ "action": "finish" })).await;
    wait_until("old forms are removed", async || phase(&b).await.is_null()).await;
    let done = a.metric(&processed()).await + b.metric(&processed()).await;
    assert_eq!(done, 2.0 * KEYS as f64);
    let key = b.create_root().await;
    b.act(&key, "wrap", &json!({ "plaintext": "YQ==" })).await;
}

#[tokio::test]
async fn a_node_that_dies_within_a_rotation_is_replaced_within_its_lease() {
    const LEASE: Duration = Duration::from_secs(3);
    let region = Region::keyed();
    let (a, b) = (region.node("a", LEASE).await, region.node("b", LEASE).await);
    create_keys(&a).await;
    let new = region.prepare(2);
    // Enough for the instance's own two blobs, the first batch, and a part of the second.
    region.reenciphers.send_replace(2 + BATCH + 20);
    a.rotation(json!({ "action": "begin", "pattern": new })).await;
    let claimed = "hsm_job_claimed{job=\"rotation\"}";
    wait_until("the first batch is done", async || {
        a.metric(&processed()).await + b.metric(&processed()).await == BATCH as f64
    })
    .await;
    let (worker, other) = if a.metric(claimed).await == 1.0 { (a, b) } else { (b, a) };
    assert_eq!(worker.metric(&processed()).await, BATCH as f64);
    drop(worker);
    let died = Instant::now();
    region.reenciphers.send_replace(usize::MAX);
    wait_until("the other node takes over", async || other.metric(&processed()).await > 0.0).await;
    let took = died.elapsed();
    // The lease, and what it takes to notice its end and to process a batch on a busy machine.
    assert!(took < LEASE + PATIENCE / 4, "handed over after {took:?}");
    wait_until("every key is re-enciphered", async || phase(&other).await == "re-enciphered").await;
    assert_eq!(other.metric(&processed()).await, (KEYS - BATCH) as f64);
}

#[tokio::test]
async fn one_node_sweeps_and_another_takes_over_when_it_dies() {
    const LEASE: Duration = Duration::from_secs(3);
    let region = Region::keyed();
    let (a, b) = (region.node("a", LEASE).await, region.node("b", LEASE).await);
    let delete_some = async |node: &TestNode| {
        for _ in 0..5 {
            let key = node.create_root().await;
            let answer = node.call(Method::DELETE, &format!("/api/v2/keys/{key}"), "").await;
            assert_eq!(answer.status, 204, "{}", answer.text);
        }
        region.clock.advance_days(91);
    };
    delete_some(&a).await;
    let sum = async |sample: &str| a.metric(sample).await + b.metric(sample).await;
    wait_until("deleted keys are purged", async || sum(&purged()).await == 5.0).await;
    let sweeps = [a.metric("hsm_sweeps_total").await, b.metric("hsm_sweeps_total").await];
    assert!(sweeps.contains(&0.0), "both nodes swept: {sweeps:?}");

    let (worker, other) = if sweeps[0] > 0.0 { (a, b) } else { (b, a) };
    delete_some(&other).await;
    wait_until("deleted keys are purged again", async || worker.metric(&purged()).await == 10.0).await;
    delete_some(&other).await;
    let before = worker.metric(&purged()).await;
    drop(worker);
    let died = Instant::now();
    wait_until("the other node purges the rest", async || before + other.metric(&purged()).await == 15.0)
        .await;
    assert!(died.elapsed() < LEASE + PATIENCE / 4, "{:?}", died.elapsed());
}

#[tokio::test]
async fn a_node_that_stops_hands_its_jobs_over_at_once() {
    let region = Region::keyed();
    // The test does not wait for the end of such a lease.
    let (a, b) = (region.node("a", PATIENCE * 10).await, region.node("b", PATIENCE * 10).await);
    let claimed = "hsm_job_claimed{job=\"sweeper\"}";
    wait_until("a node sweeps", async || a.metric(claimed).await + b.metric(claimed).await == 1.0).await;
    let (worker, other) = if a.metric(claimed).await == 1.0 { (a, b) } else { (b, a) };
    worker.0.shutdown().await;
    wait_until("the other node sweeps", async || other.metric(claimed).await == 1.0).await;
}
