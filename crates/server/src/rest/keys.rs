//! The collection of keys: create, list, count.

use super::access::Access;
use super::error::Failure;
use super::respond::{key_resource, one_key};
use crate::answer;
use crate::body::{BodyFailure, RequestBody};
use axum::extract::RawQuery;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use kms::{KeyKind, KeyQuery, KeyState, NewKey, Payload, SortBy, SortProperty, StateSet};
use wire::rest::{self, CreateKey, Envelope, ListQuery, TYPE_KEY};

const KEY_TOTAL: HeaderName = HeaderName::from_static("key-total");

pub(super) async fn create(
    access: Access,
    body: Result<RequestBody, BodyFailure>,
) -> Result<Response, Failure> {
    const DOING: &str = "Key could not be created";
    let body = body.map_err(|error| Failure::unread_body(DOING, error))?;
    let new = CreateKey::decode(body.expose()).map_err(|error| Failure::body(DOING, &error))?;
    drop(body);
    if new.under_import_token {
        return Err(Failure::not_offered(DOING, "An import under an import token"));
    }
    if !access.ring_exists {
        return Err(Failure::no_ring(DOING));
    }
    let new = NewKey {
        kind: if new.extractable { KeyKind::Standard } else { KeyKind::Root },
        name: new.name.unwrap_or_default(),
        description: new.description,
        aliases: new.aliases,
        tags: new.tags,
        expires_at: new.expiration_date.map(|time| time.0),
        payload: new.payload.map(|payload| Payload::new(payload.into_zeroizing())),
    };
    let op = access.operation(DOING)?;
    let key = access.kms.create_key(&access.call(), op, new).await;
    let key = key_resource(&access.instance, key.map_err(|error| Failure::kms(DOING, &error))?);
    Ok(one_key(StatusCode::CREATED, if access.representation { key } else { key.into_short() }))
}

pub(super) async fn list(access: Access, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    const DOING: &str = "Keys could not be listed";
    let query = key_query(DOING, query)?;
    let keys = if access.ring_exists {
        let keys = access.kms.list_keys(&access.call(), &query).await;
        keys.map_err(|error| Failure::kms(DOING, &error))?
    } else {
        Vec::new()
    };
    let keys = keys.into_iter().map(|key| key_resource(&access.instance, key)).collect();
    Ok(answer::json(StatusCode::OK, TYPE_KEY, &Envelope::new(TYPE_KEY, keys)))
}

pub(super) async fn count(access: Access, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    const DOING: &str = "Keys could not be counted";
    let query = key_query(DOING, query)?;
    let total = if access.ring_exists {
        let total = access.kms.count_keys(&access.call(), &query).await;
        total.map_err(|error| Failure::kms(DOING, &error))?
    } else {
        0
    };
    let mut response = answer::empty(StatusCode::OK);
    response.headers_mut().insert(KEY_TOTAL, HeaderValue::from(total));
    Ok(response)
}

fn key_query(doing: &str, query: Option<String>) -> Result<KeyQuery, Failure> {
    let asked = ListQuery::decode(query.as_deref().unwrap_or_default());
    let asked = asked.map_err(|error| Failure::query(doing, &error))?;
    let states = |numbers: Vec<u8>| numbers.into_iter().filter_map(KeyState::from_number).collect();
    Ok(KeyQuery {
        states: asked.states.map_or(StateSet::LIVE, states),
        kind: asked
            .extractable
            .map(|extractable| if extractable { KeyKind::Standard } else { KeyKind::Root }),
        sort: asked.sort.into_iter().map(sort_by).collect(),
        offset: asked.offset,
        limit: asked.limit,
    })
}

const fn sort_by(by: rest::SortBy) -> SortBy {
    let property = match by.property {
        rest::SortProperty::Id => SortProperty::Id,
        rest::SortProperty::State => SortProperty::State,
        rest::SortProperty::Extractable => SortProperty::Kind,
        rest::SortProperty::Imported => SortProperty::Origin,
        rest::SortProperty::CreationDate => SortProperty::CreatedAt,
        rest::SortProperty::LastUpdateDate => SortProperty::UpdatedAt,
        rest::SortProperty::LastRotateDate => SortProperty::RotatedAt,
        rest::SortProperty::DeletionDate => SortProperty::DeletedAt,
        rest::SortProperty::ExpirationDate => SortProperty::ExpiresAt,
    };
    SortBy { property, descending: by.descending }
}
