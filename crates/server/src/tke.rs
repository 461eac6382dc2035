//! The endpoints of customers' tools: the crypto units of an instance, and the forwarding of signed requests to each.
//!
//! [`wire::tke`] has requests and bodies. The service forwards requests and reads of them what the audit log records. It
//! can neither create nor change one: administrators sign requests, and modules sign responses.
//!
//! Checks are made in this order: token (401), role (403), instance (404, or 403 if the caller is not for it), unit (404), length (413), body (400).

mod audit;
mod error;
mod forward;
mod keystore;
mod port;
mod removal;
mod rotation;
mod units;

pub use port::{
    AdministeredUnit, Administration, ForwardError, ForwardResult, ForwardedRequest, InstanceState,
    KeystoreReport, RemovalFailure, RemovalObstacles, RemovalOutcome, RotationAction, RotationFailure,
    RotationReport, UnitKind, UnitLifecycle,
};
pub use units::hsm_id;

use crate::access;
use crate::auth::{Action, Auth};
use crate::completion::to_completion;
use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
use error::Failure;
use kms::InstanceId;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;
use wire::tke::{AUDIT_ROUTE, INSTANCE_ROUTE, KEYSTORE_ROUTE, ROTATION_ROUTE, UNIT_ROUTE, UNITS_ROUTE};

/// State of the endpoints.
struct TkeState<A> {
    node: Arc<A>,
    auth: Arc<Auth>,
}

/// Routes of the endpoints over the node behind them.
pub fn router<A: Administration>(node: Arc<A>, auth: Arc<Auth>) -> Router {
    let routes = Router::new()
        .route(INSTANCE_ROUTE, delete(removal::remove::<A>))
        .route(UNITS_ROUTE, get(units::list::<A>))
        .route(UNIT_ROUTE, post(forward::forward::<A>))
        .route(AUDIT_ROUTE, get(audit::show::<A>))
        .route(KEYSTORE_ROUTE, get(keystore::show::<A>))
        .route(ROTATION_ROUTE, get(rotation::show::<A>).post(rotation::act::<A>))
        .with_state(Arc::new(TkeState { node, auth }));
    // A caller that hangs up must not keep a command from being recorded.
    to_completion(routes)
}

/// An authenticated call on one of the node's instances.
struct InstanceAccess {
    caller: Arc<str>,
    instance: InstanceId,
}

/// An authenticated call on the instance that the crypto units belong to.
struct Access {
    caller: Arc<str>,
}

impl<A: Administration> FromRequestParts<Arc<TkeState<A>>> for InstanceAccess {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<TkeState<A>>) -> Result<Self, Failure> {
        let caller = access::check(&state.auth, parts, Action::Administer).map_err(Failure::denied)?;
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let named = path.ok().and_then(|Path(path)| Uuid::try_parse(path.get("instance")?).ok());
        let served = named.map(InstanceId).filter(|named| state.node.instances().contains(named));
        let instance = served.ok_or_else(Failure::no_instance)?;
        access::check_instance(&caller, instance).map_err(Failure::denied)?;
        Ok(Self { caller: caller.iam_id, instance })
    }
}

impl<A: Administration> FromRequestParts<Arc<TkeState<A>>> for Access {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<TkeState<A>>) -> Result<Self, Failure> {
        let InstanceAccess { caller, instance } = InstanceAccess::from_request_parts(parts, state).await?;
        match state.node.instances().first() {
            Some(owner) if *owner != instance => Err(Failure::new(
                StatusCode::NOT_FOUND,
                format!("instance {instance} shares the crypto units of instance {owner}: name that one"),
            )),
            _ => Ok(Self { caller }),
        }
    }
}
