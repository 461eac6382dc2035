//! Key Protect's REST API, as far as it is implemented: keys, their versions and lifecycle, wrap, unwrap and rewrap.
//!
//! | method and path below `/api/v2` | does |
//! |---|---|
//! | `POST GET HEAD /keys` | create or import, list, count |
//! | `GET DELETE /keys/{key}`, `GET …/metadata`, `GET …/versions` | read, destroy |
//! | `POST /keys/{key}/restore`, `DELETE /keys/{key}/purge` | restore, purge |
//! | `POST /keys/{key}/actions/{action}`, `POST /keys/{key}?action=…` | wrap, unwrap, rewrap, rotate, enable, disable |
//!
//! The rest of the API (policies, rings, aliases of existing keys, import tokens, registrations, KMIP management) answers
//! 501, which clients do not retry, and so do `search` and `filter` of lists.
//!
//! The answer to a change has the header `hsm-revision`: where the change is in the store.
//!
//! Checks are made in this order: token and role (401), key service open (503), instance header (400), instance (404, or
//! 401 if the caller is not for it), query (400),
//! body (400), and then those of the key service: key, kind, state, timers.

mod access;
mod actions;
mod error;
mod key;
mod keys;
mod op;
mod respond;
mod revision;

use crate::access::caller;
use crate::auth::Auth;
use crate::completion::to_completion;
use crate::service::ServiceSource;
use axum::Router;
use axum::extract::State;
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::from_fn;
use axum::routing::{any, delete, get, post};
use kms::InstanceId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use access::Access;
use error::Failure;

/// Default time limit of a call.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// The service that an instance imitates: decides resource names and a few constants in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// `kms` in names.
    KeyProtect,
    /// `hs-crypto` in names.
    HyperProtect,
}

/// A service instance as the API presents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Identifier, the same as in the key service.
    pub id: InstanceId,
    /// Home region, such as `us-south`.
    pub region: String,
    /// Account that it belongs to.
    pub account: String,
    /// Service that it is an instance of.
    pub kind: ServiceKind,
}

/// State of the REST API.
pub struct RestState {
    service: ServiceSource,
    auth: Arc<Auth>,
    instances: BTreeMap<InstanceId, Arc<Instance>>,
    deadline: Duration,
}

impl RestState {
    /// Serves `instances` of the key service to the callers that `auth` knows, each call within `deadline`.
    #[must_use]
    pub fn new(
        service: ServiceSource,
        auth: Arc<Auth>,
        instances: impl IntoIterator<Item = Instance>,
        deadline: Duration,
    ) -> Self {
        let instances = instances.into_iter().map(|instance| (instance.id, Arc::new(instance))).collect();
        Self { service, auth, instances, deadline }
    }
}

/// Routes of the API. Unknown paths and methods are answered in Key Protect's envelope.
pub fn router(state: Arc<RestState>) -> Router {
    let keys = Router::new()
        .route("/keys", get(keys::list).head(keys::count).post(keys::create))
        .route("/keys/{key}", get(key::read).delete(key::delete).post(actions::deprecated).patch(not_offered))
        .route("/keys/{key}/metadata", get(key::metadata))
        .route("/keys/{key}/versions", get(key::versions))
        .route("/keys/{key}/restore", post(key::restore))
        .route("/keys/{key}/actions/{action}", post(actions::act))
        // Of several steps: a caller that hangs up must not keep the secret of a key from being erased.
        .merge(to_completion(Router::new().route("/keys/{key}/purge", delete(key::purge))));
    let others = [
        "/keys_with_policy_overrides",
        "/keys/registrations",
        "/keys/{key}/policies",
        "/keys/{key}/registrations",
        "/keys/{key}/registrations/{crn}",
        "/keys/{key}/aliases/{alias}",
        "/keys/{key}/migrationIntent",
        "/instance/policies",
        "/instance/allowed_ip_port",
        "/import_token",
        "/key_rings",
        "/key_rings/{ring}",
        "/kmip_adapters",
        "/kmip_adapters/{*rest}",
        "/event_ack",
        "/lockers",
        "/lockers/{*rest}",
    ];
    let api = others.into_iter().fold(keys, |api, path| api.route(path, any(not_offered)));
    let api = api.fallback(no_path).method_not_allowed_fallback(no_method);
    let api = api.layer(from_fn(revision::tell));
    Router::new()
        .nest("/api/v2", api)
        // The nested router is not asked for its own root with a slash.
        .route("/api/v2/", any(no_path))
        .fallback(outside)
        .with_state(state)
}

async fn not_offered(_: State<Arc<RestState>>, access: Result<Access, Failure>) -> Failure {
    access
        .map_or_else(|failure| failure, |_| Failure::not_offered("Request could not be served", "This call"))
}

async fn no_path(_: State<Arc<RestState>>, access: Result<Access, Failure>) -> Failure {
    access.map_or_else(|failure| failure, |_| Failure::no_path())
}

/// Paths outside of the API. Before there is a key service, even they are answered with the reason for that.
async fn outside(State(state): State<Arc<RestState>>, request: Parts) -> Failure {
    match (state.service)() {
        Ok(_) => Failure::no_path(),
        Err(_) if caller(&state.auth, &request).is_none() => Failure::unauthorized(),
        Err(why) => Failure::not_serving(why),
    }
}

async fn no_method(_: State<Arc<RestState>>, method: Method, access: Result<Access, Failure>) -> Failure {
    access.map_or_else(|failure| failure, |_| Failure::no_method(&method))
}
