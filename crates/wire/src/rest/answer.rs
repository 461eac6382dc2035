//! Response bodies.

use super::Time;
use crate::Secret;
use serde::Serialize;

/// Body of every response except those of key actions.
#[derive(Serialize)]
pub struct Envelope<T> {
    /// Counts and type of the resources.
    pub metadata: Metadata,
    /// The resources of this page.
    pub resources: Vec<T>,
}

/// Metadata of a collection.
#[derive(Serialize)]
pub struct Metadata {
    /// Vendor media type of the resources.
    #[serde(rename = "collectionType")]
    pub collection_type: &'static str,
    /// Number of resources in this response.
    #[serde(rename = "collectionTotal")]
    pub collection_total: usize,
    /// Number of resources without paging, if the client asked for it.
    #[serde(rename = "totalCount", skip_serializing_if = "Option::is_none")]
    pub total_count: Option<u64>,
}

impl<T> Envelope<T> {
    /// Wraps `resources`.
    #[must_use]
    pub const fn new(collection_type: &'static str, resources: Vec<T>) -> Self {
        let collection_total = resources.len();
        Self { metadata: Metadata { collection_type, collection_total, total_count: None }, resources }
    }
}

/// A key. Fields that are `None` are not written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyResource {
    /// Always [`super::TYPE_KEY`].
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Identifier: a UUID of any version.
    pub id: String,
    /// Name; not unique.
    pub name: String,
    /// Alternative names, unique in the instance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Free text given by the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags (legacy).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// State: 0 pre-active, 1 active, 2 suspended, 3 deactivated, 5 destroyed.
    pub state: u8,
    /// Expiration date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<Time>,
    /// `true` for a standard key, `false` for a root key.
    pub extractable: bool,
    /// Cloud resource name.
    pub crn: String,
    /// Whether the client gave the key value.
    pub imported: bool,
    /// Identifier of the key ring.
    #[serde(rename = "keyRingID")]
    pub key_ring_id: String,
    /// Creation date.
    pub creation_date: Time,
    /// Identity of the caller who created the key.
    pub created_by: String,
    /// Date of the last change. Not in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_date: Option<Time>,
    /// Date of the last rotation. Absent before the first, and in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotate_date: Option<Time>,
    /// Latest version of a root key. Not in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_version: Option<VersionResource>,
    /// Algorithm of the key.
    pub algorithm_type: &'static str,
    /// The algorithm in the form of older clients.
    pub algorithm_metadata: AlgorithmMetadata,
    /// Always 256: the size of the encryption key, whatever the size of the payload.
    pub algorithm_bit_size: u16,
    /// Mode of operation of the algorithm.
    pub algorithm_mode: &'static str,
    /// Dual authorization for deletion. Not in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dual_auth_delete: Option<DualAuthDelete>,
    /// Whether the key is destroyed.
    pub deleted: bool,
    /// Further fields of a destroyed key.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// Value of a standard key, only in responses that return it. Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Secret>,
}

impl KeyResource {
    /// The short form, which a create returns unless the client asks for the representation.
    #[must_use]
    pub fn into_short(mut self) -> Self {
        self.last_update_date = None;
        self.last_rotate_date = None;
        self.key_version = None;
        self.dual_auth_delete = None;
        self.payload = None;
        self
    }
}

/// One version of a root key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionResource {
    /// Identifier of the version: a UUID.
    pub id: String,
    /// Creation date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_date: Option<Time>,
}

/// The algorithm in the form of older clients.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlgorithmMetadata {
    /// Key size in bits, as text.
    pub bit_length: &'static str,
    /// Mode of operation.
    pub mode: &'static str,
}

/// Dual authorization for deletion.
#[derive(Debug, Serialize)]
pub struct DualAuthDelete {
    /// Whether two callers have to authorize the deletion.
    pub enabled: bool,
}

/// Further fields of a destroyed key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Deletion date.
    pub deletion_date: Time,
    /// Identity of the caller who deleted the key.
    pub deleted_by: String,
    /// Last date on which the key can be restored: deletion + 30 days.
    pub restore_expiration_date: Time,
    /// Whether the key can still be restored.
    pub restore_allowed: bool,
    /// Earliest date of a purge on request: deletion + 4 hours.
    pub purge_allowed_from: Time,
    /// Whether the key can be purged now.
    pub purge_allowed: bool,
    /// Date of the automatic purge: deletion + 90 days.
    pub purge_scheduled_on: Time,
}

/// Response of wrap, unwrap and rewrap, without an envelope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionAnswer {
    /// A generated data key, or the unwrapped one. Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<Secret>,
    /// Ciphertext under the latest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
    /// Version of the key for the given or the returned ciphertext.
    pub key_version: VersionResource,
    /// Version of the key for the new ciphertext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrapped_key_version: Option<VersionResource>,
}
