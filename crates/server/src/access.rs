//! The one access check of every port: a bearer token in exactly one `Authorization` header names the caller.

use crate::auth::{Auth, Caller};
use crate::mark_authenticated;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Challenge of every 401 (RFC 6750 §3).
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"IAM\"");

/// The authenticated caller of a request; `None` if the token is missing, given twice, unknown or expired.
pub(crate) fn caller(auth: &Auth, request: &Parts) -> Option<Caller> {
    let caller = auth.caller(only(&request.headers, AUTHORIZATION)?.as_bytes())?;
    mark_authenticated(&request.extensions);
    Some(caller)
}

/// The header's value if the header occurs exactly once. With two, a proxy and this server could disagree on which counts.
pub(crate) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}
