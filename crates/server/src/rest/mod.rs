//! Key Protect's REST API, as far as it is offered: keys, their versions and lifecycle, wrap, unwrap and rewrap.
//!
//! | method and path below `/api/v2` | does |
//! |---|---|
//! | `POST GET HEAD /keys` | create or import, list, count |
//! | `GET DELETE /keys/{key}`, `GET …/metadata`, `GET …/versions` | read, destroy |
//! | `POST /keys/{key}/restore`, `DELETE /keys/{key}/purge` | bring back, remove for good |
//! | `POST /keys/{key}/actions/{action}`, `POST /keys/{key}?action=…` | wrap, unwrap, rewrap, rotate, enable, disable |
//!
//! The rest of the API (policies, rings, aliases of existing keys, import tokens, registrations, KMIP management) answers
//! 501, which no client repeats; `search` and `filter` of lists do too.
//!
//! Checks come in this order: token (401), instance header (400), instance (404), query (400), body (400), and then what
//! the key service checks: key, kind, state, timers.

mod access;
mod actions;
mod error;
mod key;
mod keys;
mod op;
mod respond;

use crate::auth::Auth;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{any, delete, get, post};
use keystore::Keystore;
use kms::{InstanceId, Kms, Units};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use access::Access;
use error::Failure;

/// How long a call may take, unless the configuration says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// Whose address and names an instance bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// `kms` in names.
    KeyProtect,
    /// `hs-crypto` in names.
    HyperProtect,
}

/// What the API shows of an instance besides its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id, which is also the key service's.
    pub id: InstanceId,
    /// Its home region, such as `us-south`.
    pub region: String,
    /// The account it belongs to.
    pub account: String,
    /// What it is an instance of.
    pub kind: ServiceKind,
}

/// What every request works with.
pub struct RestState<S, U> {
    kms: Arc<Kms<S, U>>,
    auth: Arc<Auth>,
    instances: BTreeMap<InstanceId, Arc<Instance>>,
    deadline: Duration,
}

impl<S: Keystore, U: Units> RestState<S, U> {
    /// Serves `instances` of the key service to whomever `auth` knows, each call within `deadline`.
    #[must_use]
    pub fn new(
        kms: Arc<Kms<S, U>>,
        auth: Arc<Auth>,
        instances: impl IntoIterator<Item = Instance>,
        deadline: Duration,
    ) -> Self {
        let instances = instances.into_iter().map(|instance| (instance.id, Arc::new(instance))).collect();
        Self { kms, auth, instances, deadline }
    }
}

/// The API's paths, and an envelope for every path and method there is none for.
pub fn router<S: Keystore, U: Units>(state: Arc<RestState<S, U>>) -> Router {
    let keys = Router::new()
        .route("/keys", get(keys::list::<S, U>).head(keys::count::<S, U>).post(keys::create::<S, U>))
        .route(
            "/keys/{key}",
            get(key::read::<S, U>)
                .delete(key::delete::<S, U>)
                .post(actions::deprecated::<S, U>)
                .patch(not_offered::<S, U>),
        )
        .route("/keys/{key}/metadata", get(key::metadata::<S, U>))
        .route("/keys/{key}/versions", get(key::versions::<S, U>))
        .route("/keys/{key}/restore", post(key::restore::<S, U>))
        .route("/keys/{key}/purge", delete(key::purge::<S, U>))
        .route("/keys/{key}/actions/{action}", post(actions::act::<S, U>));
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
    let api = others.into_iter().fold(keys, |api, path| api.route(path, any(not_offered::<S, U>)));
    let api = api.fallback(no_path::<S, U>).method_not_allowed_fallback(no_method::<S, U>);
    Router::new()
        .nest("/api/v2", api)
        // The nested router is not asked for its own root with a slash.
        .route("/api/v2/", any(no_path::<S, U>))
        .fallback(async || Failure::no_path())
        .with_state(state)
        .layer(from_fn(correlate))
}

async fn not_offered<S: Keystore, U: Units>(
    _: State<Arc<RestState<S, U>>>,
    access: Result<Access, Failure>,
) -> Failure {
    access
        .map_or_else(|failure| failure, |_| Failure::not_offered("Request could not be served", "This call"))
}

async fn no_path<S: Keystore, U: Units>(
    _: State<Arc<RestState<S, U>>>,
    access: Result<Access, Failure>,
) -> Failure {
    access.map_or_else(|failure| failure, |_| Failure::no_path())
}

async fn no_method<S: Keystore, U: Units>(
    _: State<Arc<RestState<S, U>>>,
    method: Method,
    access: Result<Access, Failure>,
) -> Failure {
    access.map_or_else(|failure| failure, |_| Failure::no_method(&method))
}

const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");

/// Names every answer as the client named its request, or anew.
async fn correlate(request: axum::extract::Request, next: Next) -> Response {
    let id = correlation_id(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().insert(CORRELATION_ID, id);
    response
}

fn correlation_id(headers: &HeaderMap) -> HeaderValue {
    const MAX_LEN: usize = 128;
    let given = headers.get(CORRELATION_ID).filter(|id| id.len() <= MAX_LEN && !id.is_empty());
    given.cloned().unwrap_or_else(|| {
        // A UUID is visible ASCII.
        HeaderValue::try_from(Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none"))
    })
}
