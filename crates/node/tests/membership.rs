//! A node follows its directory: units join and leave while requests run.

use crate::common::{Region, wait_until};
use node::UnitList;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_join_and_leave_without_a_failed_request() {
    let region = Region::keyed();
    let entries: Vec<_> = region.units.iter().map(|unit| unit.entry()).collect();
    let list = UnitList::new(entries.clone());
    let node = Arc::new(region.node_over(list.clone(), "a", LEASE).await);
    let serving = async |unit: u16| {
        node.metric(&format!("hsm_unit_in_use{{unit=\"{unit}\",zone=\"az{unit}\"}}")).await == 1.0
    };
    wait_until("both units serve", async || serving(1).await && serving(2).await).await;
    let key = node.create_root().await;

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (node, key) = (Arc::clone(&node), key.clone());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Panics unless the answer is 200.
                    node.act(&key, "wrap", &json!({ "plaintext": "QUJD" })).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async |requests: u64| {
        let goal = done.load(Ordering::Relaxed) + requests;
        wait_until("requests are answered", async || {
            assert!(!callers.iter().any(tokio::task::JoinHandle::is_finished), "a request failed");
            done.load(Ordering::Relaxed) >= goal
        })
        .await;
    };
    for leaving in [0, 1, 0] {
        more(20).await;
        let mut fewer = entries.clone();
        let number = fewer.remove(leaving).number;
        list.set(fewer);
        wait_until("the unit has left", async || node.0.host().unwrap().units().len() == 1).await;
        more(20).await;
        list.set(entries.clone());
        wait_until("the unit serves again", async || serving(number).await).await;
    }
    for unit in [1, 2] {
        let holds = format!("hsm_unit_has_master_key{{unit=\"{unit}\",zone=\"az{unit}\"}}");
        assert_eq!(node.metric(&holds).await, 1.0);
    }
    let answered = done.load(Ordering::Relaxed);
    assert!(node.metric("hsm_host_commands_total").await >= answered as f64);
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
}
