//! What every call states in its headers: caller, instance, key ring, preferred form of the answer.

use super::error::Failure;
use super::{Instance, RestState, op, revision};
use crate::KeyService;
use crate::access::{self, only};
use crate::auth::Action;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use kms::{Call, ChangedAt, InstanceId, KeyRef, OpId};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use wire::rest;

const INSTANCE: HeaderName = HeaderName::from_static("bluemix-instance");

/// An authenticated call on an instance that exists.
pub(super) struct Access {
    pub(super) kms: Arc<KeyService>,
    pub(super) instance: Arc<Instance>,
    /// Whether the key ring named by the call exists. `default` is the only one so far; no name means `default`.
    pub(super) ring_exists: bool,
    /// Whether the answer is to contain the resource.
    pub(super) representation: bool,
    caller: Arc<str>,
    deadline: Duration,
    op: Option<OpId>,
    changed_at: Arc<ChangedAt>,
}

impl Access {
    /// Context of the call for the key service.
    pub(super) fn call(&self) -> Call<'_> {
        let changed_at = Some(&*self.changed_at);
        Call { instance: self.instance.id, caller: &self.caller, deadline: self.deadline, changed_at }
    }

    /// The operation id that the client's `Idempotency-Key` stands for, or a new one.
    pub(super) fn operation(&self, doing: &str) -> Result<OpId, Failure> {
        self.op.map_or_else(|| self.kms.random_op().map_err(|error| Failure::kms(doing, &error.into())), Ok)
    }

    /// Refuses a call about one key that names a key ring which does not exist.
    pub(super) fn require_ring(&self, doing: &'static str, key: &KeyRef) -> Result<(), Failure> {
        if self.ring_exists { Ok(()) } else { Err(Failure::no_key(doing, key)) }
    }
}

impl FromRequestParts<Arc<RestState>> for Access {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<RestState>) -> Result<Self, Failure> {
        let headers = &parts.headers;
        let action = action(&parts.method, &parts.uri);
        let caller = access::check(&state.auth, parts, action).map_err(Failure::denied)?;
        let kms = (state.service)().map_err(Failure::not_serving)?;
        let id = instance_id(headers).ok_or_else(Failure::bad_instance_header)?;
        let instance = state.instances.get(&id).ok_or_else(|| Failure::no_instance(id))?;
        access::check_instance(&caller, id).map_err(Failure::denied)?;
        let caller = caller.iam_id;
        let op = op::of_request(&parts.method, &parts.uri, headers, id, &caller)?;
        Ok(Self {
            kms,
            instance: Arc::clone(instance),
            ring_exists: ring_exists(headers),
            representation: prefers_representation(headers),
            caller,
            deadline: state.deadline,
            op,
            changed_at: revision::noted(&parts.extensions),
        })
    }
}

/// What a request does, by its method and its path below `/api/v2`. What is not named needs the most.
fn action(method: &Method, uri: &Uri) -> Action {
    let path: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    let deprecated = || rest::action(uri.query().unwrap_or_default()).ok().flatten();
    match (method.as_str(), path.as_slice()) {
        ("GET" | "HEAD", ["keys"] | ["keys", _, "metadata" | "versions"]) => Action::Use,
        ("GET" | "HEAD", ["keys", _]) => Action::ReadMaterial,
        ("POST", ["keys"]) => Action::Write,
        ("POST", ["keys", _, "actions", name]) => key_action(name),
        ("POST", ["keys", _]) => deprecated().map_or(Action::Manage, |name| key_action(&name)),
        ("DELETE", ["keys", _, "purge"]) => Action::Purge,
        _ => Action::Manage,
    }
}

/// What an action on a key does, by its name.
fn key_action(name: &str) -> Action {
    match name {
        "wrap" | "unwrap" | "rewrap" => Action::Use,
        "rotate" => Action::Write,
        _ => Action::Manage,
    }
}

fn instance_id(headers: &HeaderMap) -> Option<InstanceId> {
    let text = only(headers, INSTANCE)?.to_str().ok()?;
    Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH).map(InstanceId)
}

fn ring_exists(headers: &HeaderMap) -> bool {
    headers.get("x-kms-key-ring").is_none_or(|ring| ring.is_empty() || ring == "default")
}

/// Whether the first `return` among the preferences is `representation` (RFC 7240 §2, §4.2). No value of interest contains
/// a comma or a semicolon, so quoted values are split like the others.
fn prefers_representation(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(',')).filter_map(|item| item.split(';').next());
    let mut returns = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("return").then(|| value.trim().trim_matches('"'))
    });
    returns.next().is_some_and(|value| value.eq_ignore_ascii_case("representation"))
}

/// Key and action of the path, percent-decoded.
pub(super) struct KeyPath {
    pub(super) key: KeyRef,
    pub(super) action: String,
}

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let decoded = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Path(parts) = decoded.map_err(|_| Failure::no_path())?;
        let mut path = Self { key: KeyRef::Alias(String::new()), action: String::new() };
        for (name, value) in parts {
            match name.as_str() {
                "key" => path.key = KeyRef::parse(&value),
                _ => path.action = value,
            }
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::action;
    use crate::auth::Action;
    use axum::http::Method;

    #[test]
    fn requests_need_what_they_do() {
        for (method, uri, needed) in [
            (Method::GET, "/keys", Action::Use),
            (Method::HEAD, "/keys?limit=1", Action::Use),
            (Method::GET, "/keys/1/metadata", Action::Use),
            (Method::GET, "/keys/1/versions", Action::Use),
            (Method::GET, "/keys/1", Action::ReadMaterial),
            (Method::HEAD, "/keys/1", Action::ReadMaterial),
            (Method::POST, "/keys", Action::Write),
            (Method::POST, "/keys/1/actions/wrap", Action::Use),
            (Method::POST, "/keys/1/actions/unwrap", Action::Use),
            (Method::POST, "/keys/1/actions/rewrap", Action::Use),
            (Method::POST, "/keys/1/actions/rotate", Action::Write),
            (Method::POST, "/keys/1/actions/enable", Action::Manage),
            (Method::POST, "/keys/1/actions/disable", Action::Manage),
            (Method::POST, "/keys/1/actions/%77rap", Action::Manage),
            (Method::POST, "/keys/1?action=wrap", Action::Use),
            (Method::POST, "/keys/1?action=rotate", Action::Write),
            (Method::POST, "/keys/1?action=restore", Action::Manage),
            (Method::POST, "/keys/1?action=wrap&action=disable", Action::Manage),
            (Method::POST, "/keys/1", Action::Manage),
            (Method::POST, "/keys/1/restore", Action::Manage),
            (Method::DELETE, "/keys/1", Action::Manage),
            (Method::DELETE, "/keys/1/purge", Action::Purge),
            (Method::PATCH, "/keys/1", Action::Manage),
            (Method::GET, "/key_rings", Action::Manage),
            (Method::PUT, "/instance/policies", Action::Manage),
        ] {
            assert_eq!(action(&method, &uri.parse().unwrap()), needed, "{method} {uri}");
        }
    }
}
