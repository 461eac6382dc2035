//! One key: read, destroy, restore, purge, and its versions.

use super::access::{Access, KeyPath};
use super::error::Failure;
use super::respond::{key_resource, one_key, version, whole_key};
use crate::answer;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::Response;
use kms::KeyMetadata;
use wire::rest::{self, Envelope, TYPE_KEY_VERSION, VersionsQuery};

pub(super) async fn read(access: Access, KeyPath { key, .. }: KeyPath) -> Result<Response, Failure> {
    const DOING: &str = "Key could not be retrieved";
    access.require_ring(DOING, &key)?;
    let found = access.kms.get_key(&access.call(), &key).await;
    let found = found.map_err(|error| Failure::kms(DOING, &error))?;
    Ok(one_key(StatusCode::OK, whole_key(&access.instance, found)))
}

pub(super) async fn metadata(access: Access, KeyPath { key, .. }: KeyPath) -> Result<Response, Failure> {
    const DOING: &str = "Key metadata could not be retrieved";
    access.require_ring(DOING, &key)?;
    let found = access.kms.metadata(&access.call(), &key).await;
    let found = found.map_err(|error| Failure::kms(DOING, &error))?;
    Ok(one_key(StatusCode::OK, key_resource(&access.instance, found)))
}

pub(super) async fn versions(
    access: Access,
    KeyPath { key, .. }: KeyPath,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    const DOING: &str = "Key versions could not be listed";
    let query = VersionsQuery::decode(query.as_deref().unwrap_or_default());
    let query = query.map_err(|error| Failure::query(DOING, &error))?;
    access.require_ring(DOING, &key)?;
    let versions = access.kms.list_versions(&access.call(), &key, query.all_key_states).await;
    let versions = versions.map_err(|error| Failure::kms(DOING, &error))?;
    let page = versions.iter().skip(query.offset).take(query.limit).map(version).collect();
    let mut page = Envelope::new(TYPE_KEY_VERSION, page);
    page.metadata.total_count = query.total_count.then(|| versions.len().try_into().unwrap_or(u64::MAX));
    Ok(answer::json(StatusCode::OK, TYPE_KEY_VERSION, &page))
}

pub(super) async fn delete(
    access: Access,
    KeyPath { key, .. }: KeyPath,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    const DOING: &str = "Key could not be deleted";
    // There are no registrations to override yet. An invalid value is refused all the same.
    let force = rest::flag(query.as_deref().unwrap_or_default(), "force");
    force.map_err(|error| Failure::query(DOING, &error))?;
    access.require_ring(DOING, &key)?;
    let deleted = access.kms.delete(&access.call(), access.operation(DOING)?, &key).await;
    Ok(removed(&access, deleted.map_err(|error| Failure::kms(DOING, &error))?))
}

pub(super) async fn purge(access: Access, KeyPath { key, .. }: KeyPath) -> Result<Response, Failure> {
    const DOING: &str = "Key could not be purged";
    access.require_ring(DOING, &key)?;
    let purged = access.kms.purge(&access.call(), access.operation(DOING)?, &key).await;
    Ok(removed(&access, purged.map_err(|error| Failure::kms(DOING, &error))?))
}

/// The answer to a deletion: the key as it was, if the client prefers a representation.
fn removed(access: &Access, key: KeyMetadata) -> Response {
    if access.representation {
        one_key(StatusCode::OK, key_resource(&access.instance, key))
    } else {
        answer::empty(StatusCode::NO_CONTENT)
    }
}

/// The body is ignored. Older clients send one, with the material that they once imported.
pub(super) async fn restore(access: Access, KeyPath { key, .. }: KeyPath) -> Result<Response, Failure> {
    const DOING: &str = "Key could not be restored";
    access.require_ring(DOING, &key)?;
    let restored = access.kms.restore(&access.call(), access.operation(DOING)?, &key).await;
    let restored = restored.map_err(|error| Failure::kms(DOING, &error))?;
    Ok(one_key(StatusCode::CREATED, key_resource(&access.instance, restored)))
}
