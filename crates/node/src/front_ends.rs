//! The front ends of a node: one line each.

use crate::node::Shared;
use crate::tke::NodeAdministration;
use axum::Router;
use host::UnitView;
use server::ServiceSource;
use server::health::Readiness;
use server::rest::{DEFAULT_DEADLINE, RestState};
use std::sync::Arc;

/// Routes of all front ends. They answer before the node is open, too: customers' tools can set up the units, and other
/// requests are refused with the reason.
pub(crate) fn router(node: &Arc<Shared>) -> Router {
    let auth = || Arc::clone(&node.parts.auth);
    let instances = node.parts.instances.clone();
    let rest = RestState::new(key_service(node), auth(), instances, DEFAULT_DEADLINE);
    Router::new()
        .merge(server::iam::router(auth()))
        .merge(server::health::router(readiness(node)))
        .merge(server::tke::router(Arc::new(NodeAdministration(Arc::clone(node))), auth()))
        // Last: it has the fallback for all.
        .merge(server::rest::router(Arc::new(rest)))
}

fn key_service(node: &Arc<Shared>) -> ServiceSource {
    let node = Arc::clone(node);
    Arc::new(move || node.kms())
}

/// Ready once at least one unit serves.
fn readiness(node: &Arc<Shared>) -> Readiness {
    let node = Arc::clone(node);
    Arc::new(move || match node.host() {
        None => Err(node.waiting_for().unwrap_or_default()),
        Some(host) => serving(&host.units()),
    })
}

fn serving(units: &[UnitView]) -> Result<(), String> {
    if units.iter().any(|unit| unit.in_use) {
        return Ok(());
    }
    let why: Vec<String> = units.iter().map(|u| format!("unit {}: {}", u.number, u.reason)).collect();
    Err(format!("no crypto unit serves: {}", why.join("; ")))
}
