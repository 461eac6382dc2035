//! Requests that are carried out to their end even if their caller goes away.

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use std::panic::resume_unwind;
use tracing::Instrument as _;

/// The routes of `router`, with every request carried out to its end.
///
/// A server drops the handler of a request whose caller closes the connection. For requests of several steps, such as a
/// command to a unit and its audit record, that would let callers choose which of them happen.
pub fn to_completion<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(middleware::from_fn(complete))
}

async fn complete(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request).in_current_span()).await {
        Ok(response) => response,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The program ends.
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        },
    }
}
