//! Liveness, readiness and metrics.
//!
//! | request | on | answer |
//! |---|---|---|
//! | `GET /livez` | both | 200 as long as the process answers |
//! | `GET /readyz` | both | 200, or 503 with the reason |
//! | `GET /healthz` | operator's address | 200 `ok`, or 503 with the failed checks; `?verbose` lists all checks |
//! | `GET /metrics` | operator's address | metrics in Prometheus' text format |
//!
//! The operator's address has no access control: it belongs on the loopback interface or a network of operators.

mod operator;

pub use operator::{HealthCheck, OperatorSource, operator_router};

use crate::answer;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use std::sync::Arc;

/// Whether calls can be served now; `Err` is the reason why not, for people.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `/livez` and `/readyz`.
pub fn router(ready: Readiness) -> Router {
    let readyz = move || async move { readiness(ready()) };
    Router::new().route("/livez", get(async || alive())).route("/readyz", get(readyz))
}

fn alive() -> Response {
    answer::json(StatusCode::OK, answer::PLAIN_JSON, &Health { status: "alive", reason: None })
}

fn readiness(ready: Result<(), String>) -> Response {
    let (status, health) = match ready {
        Ok(()) => (StatusCode::OK, Health { status: "ready", reason: None }),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, Health { status: "not ready", reason: Some(reason) })
        }
    };
    answer::json(status, answer::PLAIN_JSON, &health)
}
