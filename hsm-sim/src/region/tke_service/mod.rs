//! What customers' tools call: the crypto units of an instance, and the way to each for signed commands.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/tke/{instance}/hsms` | the units by kind: `hsms`, `source_hsms`, `failover_hsms` |
//! | `POST /v1/tke/{instance}/hsms/{hsm_id}` | a unit's answer to an administrative request |
//! | `GET /v1/tke/{instance}/keystore` | which master key the keystore is under |
//! | `GET`, `POST /v1/tke/{instance}/rotation` | a rotation of the master key, as far as the service has a part in it |
//! | `DELETE /v1/tke/{instance}` | removes the instance, once its keys are deleted and the units zeroized |
//!
//! The service carries requests; it understands of them what the audit log needs, and can neither make nor change one:
//! administrators sign them, and modules sign the answers. A refusal is `{"error": "…"}`; where a command was sent and no
//! answer came, `"outcome": "unknown"` stands beside it.
//!
//! Checks come in this order: token (401), instance (404), unit (404), length (413), body (400).

mod audit;
mod forward;
mod keystore;
mod removal;
mod rotation;
mod units;

pub(super) use audit::AuditLog;

use super::service::Service;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// What the handlers work on.
pub(super) struct TkeService {
    pub(super) service: Arc<Service>,
    pub(super) audit: AuditLog,
}

/// The endpoints.
pub(super) fn router(state: Arc<TkeService>) -> Router {
    Router::new()
        .route("/v1/tke/{instance}", axum::routing::delete(removal::remove))
        .route("/v1/tke/{instance}/hsms", get(units::list))
        .route("/v1/tke/{instance}/hsms/{hsm_id}", axum::routing::post(forward::forward))
        .route("/v1/tke/{instance}/keystore", get(keystore::show))
        .route("/v1/tke/{instance}/rotation", get(rotation::show).post(rotation::act))
        .layer(DefaultBodyLimit::max(forward::MAX_BODY_LEN))
        .with_state(state)
}

/// A known caller on the instance that the units belong to.
struct Access {
    caller: Arc<str>,
}

impl FromRequestParts<Arc<TkeService>> for Access {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<TkeService>) -> Result<Self, Failure> {
        let caller = state.service.caller(&parts.headers).ok_or_else(Failure::stranger)?;
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let named = path.ok().and_then(|Path(path)| Uuid::try_parse(path.get("instance")?).ok());
        let identity = state.service.identity();
        match named {
            Some(instance) if instance == identity.instance_id => Ok(Self { caller }),
            Some(instance) if instance == identity.instance_id_2 => Err(Failure::new(
                StatusCode::NOT_FOUND,
                format!(
                    "instance {instance} uses the crypto units of instance {}: ask for those",
                    identity.instance_id
                ),
            )),
            _ => Err(Failure::new(StatusCode::NOT_FOUND, "there is no such instance here")),
        }
    }
}

/// Why a request was not carried out.
struct Failure {
    status: StatusCode,
    why: String,
    /// A command was sent, and may have been carried out.
    outcome_unknown: bool,
}

impl Failure {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), outcome_unknown: false }
    }

    fn stranger() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "a bearer token of this region is needed")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({ "error": self.why });
        if let (true, Some(fields)) = (self.outcome_unknown, body.as_object_mut()) {
            fields.insert("outcome".to_owned(), "unknown".into());
        }
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static("Bearer realm=\"IAM\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}
