//! Where a change is in the store, for callers that want to know when another region has it.

use axum::extract::Request;
use axum::http::{Extensions, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use kms::ChangedAt;
use std::sync::Arc;

/// Identity of the store and revision.
const REVISION: HeaderName = HeaderName::from_static("hsm-revision");

/// Adds the header to the answer if the request has changed a key.
pub(super) async fn tell(mut request: Request, next: Next) -> Response {
    let changed_at = Arc::new(ChangedAt::default());
    request.extensions_mut().insert(Arc::clone(&changed_at));
    let mut response = next.run(request).await;
    // Digits and letters.
    if let Some(Ok(at)) = changed_at.get().map(|at| HeaderValue::try_from(at.to_text())) {
        response.headers_mut().insert(REVISION, at);
    }
    response
}

/// Where a request's change is to be noted.
pub(super) fn noted(extensions: &Extensions) -> Arc<ChangedAt> {
    extensions.get().cloned().unwrap_or_default()
}
