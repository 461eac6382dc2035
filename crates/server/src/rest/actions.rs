//! Actions on a key: wrap, unwrap, rewrap, rotate, enable, disable.

use super::access::{Access, KeyPath};
use super::error::Failure;
use super::key;
use crate::answer;
use crate::body::{BodyFailure, RequestBody};
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::Response;
use kms::{KeyRef, Payload, Plaintext, VersionId};
use wire::Secret;
use wire::rest::{self, ActionAnswer, BodyError, Rotate, TYPE_KEY_ACTION, Unwrap, VersionResource, Wrap};

const DOING: &str = "Action could not be performed on key";

/// The implemented actions.
#[derive(Clone, Copy)]
enum Action {
    Wrap,
    Unwrap,
    Rewrap,
    Rotate,
    Enable,
    Disable,
}

/// Meaning of an action's name.
enum ActionName {
    Action(Action),
    Restore,
    NotOffered,
    Unknown,
}

fn parse(name: &str) -> ActionName {
    match name {
        "wrap" => ActionName::Action(Action::Wrap),
        "unwrap" => ActionName::Action(Action::Unwrap),
        "rewrap" => ActionName::Action(Action::Rewrap),
        "rotate" => ActionName::Action(Action::Rotate),
        "enable" => ActionName::Action(Action::Enable),
        "disable" => ActionName::Action(Action::Disable),
        "restore" => ActionName::Restore,
        "setKeyForDeletion" | "unsetKeyForDeletion" | "sync" => ActionName::NotOffered,
        _ => ActionName::Unknown,
    }
}

/// `POST /keys/{key}/actions/{action}`.
pub(super) async fn act(
    access: Access,
    KeyPath { key, action }: KeyPath,
    body: Result<RequestBody, BodyFailure>,
) -> Result<Response, Failure> {
    match parse(&action) {
        ActionName::Action(action) => perform(&access, &key, action, body).await,
        ActionName::NotOffered => Err(Failure::not_offered(DOING, "This action")),
        // `restore` has a path of its own.
        ActionName::Restore | ActionName::Unknown => Err(Failure::no_path()),
    }
}

/// `POST /keys/{key}?action=…`, deprecated and still used by clients.
pub(super) async fn deprecated(
    access: Access,
    path: KeyPath,
    RawQuery(query): RawQuery,
    body: Result<RequestBody, BodyFailure>,
) -> Result<Response, Failure> {
    let action = rest::action(query.as_deref().unwrap_or_default());
    let action = action.map_err(|error| Failure::query(DOING, &error))?;
    match parse(action.as_deref().unwrap_or_default()) {
        ActionName::Action(action) => perform(&access, &path.key, action, body).await,
        ActionName::Restore => key::restore(access, path).await,
        ActionName::NotOffered => Err(Failure::not_offered(DOING, "This action")),
        ActionName::Unknown => Err(Failure::unknown_action(DOING)),
    }
}

async fn perform(
    access: &Access,
    key: &KeyRef,
    action: Action,
    body: Result<RequestBody, BodyFailure>,
) -> Result<Response, Failure> {
    let body = body.map_err(|error| Failure::unread_body(DOING, error))?;
    let bad_body = |error: BodyError| Failure::body(DOING, &error);
    let call = access.call();
    match action {
        Action::Wrap => {
            let asked = Wrap::decode(body.expose()).map_err(bad_body)?;
            drop(body);
            access.require_ring(DOING, key)?;
            let plaintext = asked.plaintext.map(|plaintext| Plaintext::new(plaintext.into_zeroizing()));
            let wrapped = access.kms.wrap(&call, key, plaintext, &asked.aad).await.map_err(failed)?;
            Ok(answered(&ActionAnswer {
                plaintext: wrapped.generated.as_ref().map(shown),
                ciphertext: Some(wrapped.ciphertext),
                key_version: version(wrapped.version),
                rewrapped_key_version: None,
            }))
        }
        Action::Unwrap => {
            let asked = Unwrap::decode(body.expose()).map_err(bad_body)?;
            access.require_ring(DOING, key)?;
            let unwrapped = access.kms.unwrap(&call, key, &asked.ciphertext, &asked.aad).await;
            let unwrapped = unwrapped.map_err(failed)?;
            let (ciphertext, rewrapped_key_version) =
                unwrapped.rewrapped.map(|new| (new.ciphertext, version(new.version))).unzip();
            Ok(answered(&ActionAnswer {
                plaintext: Some(shown(&unwrapped.plaintext)),
                ciphertext,
                key_version: version(unwrapped.version),
                rewrapped_key_version,
            }))
        }
        Action::Rewrap => {
            let asked = Unwrap::decode(body.expose()).map_err(bad_body)?;
            access.require_ring(DOING, key)?;
            let rewrapped = access.kms.rewrap(&call, key, &asked.ciphertext, &asked.aad).await;
            let rewrapped = rewrapped.map_err(failed)?;
            Ok(answered(&ActionAnswer {
                plaintext: None,
                ciphertext: Some(rewrapped.new.ciphertext),
                key_version: version(rewrapped.version),
                rewrapped_key_version: Some(version(rewrapped.new.version)),
            }))
        }
        Action::Rotate => {
            let asked = Rotate::decode(body.expose()).map_err(bad_body)?;
            drop(body);
            if asked.under_import_token {
                return Err(Failure::not_offered(DOING, "An import under an import token"));
            }
            access.require_ring(DOING, key)?;
            let payload = asked.payload.map(|payload| Payload::new(payload.into_zeroizing()));
            let op = access.operation(DOING)?;
            access.kms.rotate(&call, op, key, payload).await.map_err(failed)?;
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        Action::Enable | Action::Disable => {
            rest::no_body(body.expose()).map_err(bad_body)?;
            access.require_ring(DOING, key)?;
            let op = access.operation(DOING)?;
            let changed = match action {
                Action::Enable => access.kms.enable(&call, op, key).await,
                _ => access.kms.disable(&call, op, key).await,
            };
            changed.map_err(failed)?;
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
    }
}

fn failed(error: kms::KmsError) -> Failure {
    Failure::kms(DOING, &error)
}

fn answered(answered: &ActionAnswer) -> Response {
    answer::json(StatusCode::OK, TYPE_KEY_ACTION, answered)
}

fn shown(plaintext: &Plaintext) -> Secret {
    Secret::new(plaintext.expose().to_vec())
}

fn version(id: VersionId) -> VersionResource {
    VersionResource { id: id.to_string(), creation_date: None }
}
