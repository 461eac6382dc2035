//! What every call shows before it is looked at: who, which instance, which ring, what it prefers to get back.

use super::error::Failure;
use super::{Instance, RestState, op};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use keystore::Keystore;
use kms::{Call, InstanceId, KeyRef, OpId, Units};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const INSTANCE: HeaderName = HeaderName::from_static("bluemix-instance");

/// An authenticated call on an instance that exists.
pub(super) struct Access {
    pub(super) instance: Arc<Instance>,
    /// Whether the ring that the call names is one that exists: `default`, until there are others.
    pub(super) ring_exists: bool,
    /// The client asks for the resource in the answer.
    pub(super) representation: bool,
    caller: Arc<str>,
    deadline: Duration,
    op: Option<OpId>,
}

impl Access {
    /// What the key service is told of the call.
    pub(super) fn call(&self) -> Call<'_> {
        Call { instance: self.instance.id, caller: &self.caller, deadline: self.deadline }
    }

    /// The operation's name if the client gave one.
    pub(super) const fn op(&self) -> Option<OpId> {
        self.op
    }

    /// The key of a call about one key: it has to be in the ring that the call names, if it names one.
    pub(super) fn require_ring(&self, doing: &'static str, key: &KeyRef) -> Result<(), Failure> {
        if self.ring_exists { Ok(()) } else { Err(Failure::no_key(doing, key)) }
    }
}

impl<S: Keystore, U: Units> FromRequestParts<Arc<RestState<S, U>>> for Access {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<RestState<S, U>>) -> Result<Self, Failure> {
        let headers = &parts.headers;
        let authorization = only(headers, header::AUTHORIZATION).ok_or_else(Failure::unauthorized)?;
        let caller = state.auth.caller(authorization.as_bytes()).ok_or_else(Failure::unauthorized)?.0;
        let id = instance_id(headers).ok_or_else(Failure::bad_instance_header)?;
        let instance = state.instances.get(&id).ok_or_else(|| Failure::no_instance(id))?;
        let op = op::of_request(&parts.method, &parts.uri, headers, id, &caller)?;
        Ok(Self {
            instance: Arc::clone(instance),
            ring_exists: ring_exists(headers),
            representation: prefers_representation(headers),
            caller,
            deadline: state.deadline,
            op,
        })
    }
}

/// The header's value, if there is exactly one: who is first or last is no way to tell what is meant.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn instance_id(headers: &HeaderMap) -> Option<InstanceId> {
    let text = only(headers, INSTANCE)?.to_str().ok()?;
    Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH).map(InstanceId)
}

fn ring_exists(headers: &HeaderMap) -> bool {
    headers.get("x-kms-key-ring").is_none_or(|ring| ring.is_empty() || ring == "default")
}

/// Whether the first `return` among the preferences is `representation` (RFC 7240 §2, §4.2). No value that counts here
/// has a comma or a semicolon in it, so quoted ones are taken apart like the others.
fn prefers_representation(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(',')).filter_map(|item| item.split(';').next());
    let mut returns = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("return").then(|| value.trim().trim_matches('"'))
    });
    returns.next().is_some_and(|value| value.eq_ignore_ascii_case("representation"))
}

/// The path's parts, decoded.
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
