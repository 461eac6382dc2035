//! What the operator's address says of a node that works, and of one that does not.

use crate::common::{PATIENCE, Region, SocketUnit, TestNode, wait_until};
use axum::http::Method;

#[tokio::test]
async fn a_node_is_alive_before_it_is_ready() {
    let region = Region::new();
    let node = TestNode(region.builder("a", PATIENCE).start().await.unwrap());
    assert_eq!(node.operator("/livez").await.status, 200);
    let ready = node.operator("/readyz").await;
    assert!(ready.status == 503 && ready.text.contains("unit 1 is in imprint mode"), "{}", ready.text);
    let health = node.operator("/healthz").await;
    assert_eq!(health.status, 503);
    assert!(
        health.text.starts_with("[-] instances: ") && health.text.ends_with("failed\n"),
        "{}",
        health.text
    );
    assert!(!health.text.contains("[+]"), "{}", health.text);
    assert_eq!(node.metric("hsm_ready").await, 0.0);
    // The same on the address of the APIs.
    assert_eq!(node.call(Method::GET, "/readyz", "").await.text, ready.text);

    region.units.iter().for_each(SocketUnit::secure);
    region.prepare(1);
    region.activate(1);
    wait_until("the node is ready", async || node.operator("/readyz").await.status == 200).await;
    let health = node.operator("/healthz?verbose").await;
    let all = "[+] keystore\n[+] instances\n[+] units\n[+] audit-log\n[+] unit-audit\n[+] pair\n[+] backups\n[+] jobs\nok\n";
    assert_eq!((health.status, health.text.as_str()), (200, all));
    assert_eq!(node.operator("/healthz").await.text, "ok\n");
    assert_eq!(node.metric("hsm_ready").await, 1.0);
}

#[tokio::test]
async fn a_node_without_units_says_so() {
    let mut region = Region::keyed();
    let node = region.node("a", PATIENCE).await;
    wait_until("the node is ready", async || node.operator("/readyz").await.status == 200).await;
    region.units.clear();
    wait_until("the node is not ready", async || node.operator("/readyz").await.status == 503).await;
    let health = node.operator("/healthz").await;
    assert!(health.text.starts_with("[-] units: no crypto unit serves: unit 1"), "{}", health.text);
}

#[tokio::test]
async fn two_nodes_that_start_together_create_one_instance() {
    let region = Region::keyed();
    let (a, b) = tokio::join!(region.node("a", PATIENCE), region.node("b", PATIENCE));
    let key = a.create_root().await;
    let answer = b.call(Method::GET, &format!("/api/v2/keys/{key}/metadata"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}
