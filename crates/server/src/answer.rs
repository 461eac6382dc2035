//! Answers: a status, a media type, and JSON in a buffer that is zeroized after sending.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use wire::SecretBuf;

/// Media type of APIs other than Key Protect's.
pub(crate) const PLAIN_JSON: &str = "application/json";

/// An answer with a body.
pub(crate) fn json<T: Serialize>(status: StatusCode, media_type: &'static str, answer: &T) -> Response {
    let mut response = Response::new(match SecretBuf::json(answer) {
        Ok(body) => Body::from(Bytes::from_owner(body)),
        // No type of these APIs fails to serialize. If one did, the body would be empty rather than incomplete.
        Err(_) => Body::empty(),
    });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
