//! Whether the process lives, and whether it can serve.

use crate::answer;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;
use std::sync::Arc;

/// Says whether calls can be served now, and if not, what stands in the way.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `GET /livez`: 200 as long as the process answers. `GET /readyz`: 200, or 503 with the reason.
pub fn router(ready: Readiness) -> Router {
    let readyz = move || async move {
        let (status, health) = match ready() {
            Ok(()) => (StatusCode::OK, Health { status: "ready", reason: None }),
            Err(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, Health { status: "not ready", reason: Some(reason) })
            }
        };
        answer::json(status, answer::PLAIN_JSON, &health)
    };
    let livez = || async {
        answer::json(StatusCode::OK, answer::PLAIN_JSON, &Health { status: "alive", reason: None })
    };
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}
