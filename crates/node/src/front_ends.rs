//! The front ends of a node: one line each.

use crate::health::readiness;
use crate::node::Shared;
use crate::tke::NodeAdministration;
use axum::Router;
use server::ServiceSource;
use server::health::Readiness;
use server::observe::{RequestObserver, observed};
use server::rest::{DEFAULT_DEADLINE, RestState};
use std::sync::Arc;

/// Routes of all front ends. They answer before the node is open, too: customers' tools can set up the units, and other
/// requests are refused with the reason.
pub(crate) fn router(node: &Arc<Shared>) -> Router {
    let auth = || Arc::clone(&node.parts.auth);
    let observer = || Arc::clone(&node.metrics.requests) as Arc<dyn RequestObserver>;
    let rest = RestState::new(key_service(node), auth(), node.parts.instances.clone(), DEFAULT_DEADLINE);
    let administration = Arc::new(NodeAdministration(Arc::clone(node)));
    Router::new()
        .merge(observed(server::iam::router(auth()), "iam", observer()))
        .merge(observed(server::health::router(ready(node)), "health", observer()))
        .merge(observed(server::tke::router(administration, auth()), "tke", observer()))
        // Last: it has the fallback for all.
        .merge(observed(server::rest::router(Arc::new(rest)), "rest", observer()))
}

fn key_service(node: &Arc<Shared>) -> ServiceSource {
    let node = Arc::clone(node);
    Arc::new(move || node.kms())
}

fn ready(node: &Arc<Shared>) -> Readiness {
    let node = Arc::clone(node);
    Arc::new(move || readiness(&node))
}
