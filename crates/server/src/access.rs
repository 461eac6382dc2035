//! The one access check of all APIs: a bearer token in exactly one `Authorization` header names the caller, whose roles,
//! audience and instances have to permit what the request does.

use crate::auth::{Action, Auth, Caller};
use crate::mark_authenticated;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use kms::InstanceId;

/// Challenge of every 401 (RFC 6750 §3).
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"IAM\"");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The token is missing, given twice, unknown or expired.
    Unauthenticated,
    /// The caller's roles or instances do not permit it.
    Forbidden,
}

/// The authenticated caller of a request that does this, on some instance.
pub(crate) fn check(auth: &Auth, request: &Parts, action: Action) -> Result<Caller, Denied> {
    let caller = caller(auth, request).ok_or(Denied::Unauthenticated)?;
    if caller.may(action) { Ok(caller) } else { Err(Denied::Forbidden) }
}

/// Checks that the caller's roles are for this instance.
pub(crate) fn check_instance(caller: &Caller, instance: InstanceId) -> Result<(), Denied> {
    if caller.grants.include(instance) { Ok(()) } else { Err(Denied::Forbidden) }
}

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
