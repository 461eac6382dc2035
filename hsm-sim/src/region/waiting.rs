//! What answers on the API's address until the units hold a master key: tokens, health, and the reason for all else.

use super::service::Service;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use server::auth::Auth;
use std::sync::{Arc, Weak};
use wire::rest::{Envelope, ErrorResource, ReasonCode, TYPE_ERROR};

/// What was not done.
const DOING: &str = "Request could not be served";

/// The token service, `/livez`, `/readyz` with 503 and the reason; whatever else, in Key Protect's envelope, 401 for
/// strangers and 503 with the reason for callers.
pub(super) fn router(service: &Arc<Service>, auth: Arc<Auth>) -> Router {
    let asked = Arc::downgrade(service);
    let ready = server::health::router(Arc::new(move || match reason(&asked) {
        None => Ok(()),
        Some(why) => Err(why),
    }));
    let others = Router::new().fallback(refuse).with_state(Arc::downgrade(service));
    server::iam::router(auth).merge(ready).merge(others)
}

/// Why nothing is served yet.
fn reason(service: &Weak<Service>) -> Option<String> {
    match service.upgrade() {
        Some(service) => service.waiting_for(),
        None => Some("the region is stopping".to_owned()),
    }
}

async fn refuse(State(service): State<Weak<Service>>, request: Request) -> Response {
    let known = service.upgrade().is_some_and(|s| s.caller(request.headers()).is_some());
    if !known {
        let what = "The user does not have access to the specified resource";
        let mut response = failure(StatusCode::UNAUTHORIZED, ErrorResource::bare(401, what));
        let realm = HeaderValue::from_static("Bearer realm=\"IAM\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        return response;
    }
    // It may have opened since the request came: the caller repeats it then.
    let why = reason(&service).unwrap_or_else(|| "the region has just opened".to_owned());
    let mut response =
        failure(StatusCode::SERVICE_UNAVAILABLE, ErrorResource::new(DOING, ReasonCode::NoUnit, why, None));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
    response
}

fn failure(status: StatusCode, resource: ErrorResource) -> Response {
    let body = serde_json::to_vec(&Envelope::new(TYPE_ERROR, vec![resource])).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, TYPE_ERROR)], body).into_response()
}
