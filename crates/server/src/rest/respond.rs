//! Conversion of the key service's types into those of the wire format.

use super::{Instance, ServiceKind};
use crate::answer;
use axum::http::StatusCode;
use axum::response::Response;
use kms::{Deletion, Key, KeyKind, KeyMetadata, KeyOrigin, KeyVersion};
use wire::Secret;
use wire::rest::{
    self, AlgorithmMetadata, DualAuthDelete, Envelope, KeyResource, TYPE_KEY, Time, VersionResource,
};

/// One key in an envelope.
pub(super) fn one_key(status: StatusCode, key: KeyResource) -> Response {
    answer::json(status, TYPE_KEY, &Envelope::new(TYPE_KEY, vec![key]))
}

/// A key with its material, if its kind permits that.
pub(super) fn whole_key(instance: &Instance, key: Key) -> KeyResource {
    let payload = key.payload.map(|payload| Secret::new(payload.expose().to_vec()));
    KeyResource { payload, ..key_resource(instance, key.metadata) }
}

/// A key without its material.
pub(super) fn key_resource(instance: &Instance, key: KeyMetadata) -> KeyResource {
    let (service, algorithm_type, mode) = match instance.kind {
        ServiceKind::KeyProtect => ("kms", "Deprecated", "Deprecated"),
        ServiceKind::HyperProtect => ("hs-crypto", "AES", "CBC_PAD"),
    };
    let Instance { id, region, account, .. } = instance;
    let root = key.kind == KeyKind::Root;
    KeyResource {
        kind: TYPE_KEY,
        id: key.id.to_string(),
        name: key.name,
        aliases: key.aliases,
        description: key.description,
        tags: key.tags,
        state: key.state.number(),
        expiration_date: key.expires_at.map(Time),
        extractable: !root,
        crn: format!("crn:v1:bluemix:public:{service}:{region}:a/{account}:{id}:key:{}", key.id),
        imported: key.origin == KeyOrigin::Imported,
        key_ring_id: "default".to_owned(),
        creation_date: Time(key.created_at),
        created_by: key.created_by,
        last_update_date: Some(Time(key.updated_at)),
        last_rotate_date: key.rotated_at.map(Time),
        key_version: root.then(|| version(&key.latest_version)),
        algorithm_type,
        algorithm_metadata: AlgorithmMetadata { bit_length: "256", mode },
        algorithm_bit_size: 256,
        algorithm_mode: mode,
        dual_auth_delete: Some(DualAuthDelete { enabled: false }),
        deleted: key.deletion.is_some(),
        deletion: key.deletion.map(deletion),
        payload: None,
    }
}

fn deletion(deletion: Deletion) -> rest::Deletion {
    rest::Deletion {
        deletion_date: Time(deletion.at),
        deleted_by: deletion.by,
        restore_expiration_date: Time(deletion.restorable_until),
        restore_allowed: deletion.restorable,
        purge_allowed_from: Time(deletion.purgeable_from),
        purge_allowed: deletion.purgeable,
        purge_scheduled_on: Time(deletion.purged_at),
    }
}

/// A version with its date.
pub(super) fn version(version: &KeyVersion) -> VersionResource {
    VersionResource { id: version.id.to_string(), creation_date: Some(Time(version.created_at)) }
}
