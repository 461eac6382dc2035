//! The bodies that clients get.

use super::Time;
use crate::Secret;
use serde::Serialize;

/// Every collection and every resource but the bare answers of actions.
#[derive(Serialize)]
pub struct Envelope<T> {
    /// What follows.
    pub metadata: Metadata,
    /// The resources of this page.
    pub resources: Vec<T>,
}

/// What an envelope holds.
#[derive(Serialize)]
pub struct Metadata {
    /// A vendor type.
    #[serde(rename = "collectionType")]
    pub collection_type: &'static str,
    /// Resources in this answer.
    #[serde(rename = "collectionTotal")]
    pub collection_total: usize,
    /// Resources without paging, if it was asked for.
    #[serde(rename = "totalCount", skip_serializing_if = "Option::is_none")]
    pub total_count: Option<u64>,
}

impl<T> Envelope<T> {
    /// An envelope around `resources`.
    #[must_use]
    pub const fn new(collection_type: &'static str, resources: Vec<T>) -> Self {
        let collection_total = resources.len();
        Self { metadata: Metadata { collection_type, collection_total, total_count: None }, resources }
    }
}

/// A key as clients see it. What is `None` is not written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyResource {
    /// [`super::TYPE_KEY`].
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// A UUID, also of the first version.
    pub id: String,
    /// Not unique.
    pub name: String,
    /// Unique in the instance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Legacy labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// 0, 1, 2, 3 or 5.
    pub state: u8,
    /// When it stops being usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<Time>,
    /// `false` for a root key.
    pub extractable: bool,
    /// Its name in the cloud.
    pub crn: String,
    /// Whether its value was given.
    pub imported: bool,
    /// The ring it is in.
    #[serde(rename = "keyRingID")]
    pub key_ring_id: String,
    /// When it was made.
    pub creation_date: Time,
    /// By whom.
    pub created_by: String,
    /// Not in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_date: Option<Time>,
    /// Only after a rotation; not in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotate_date: Option<Time>,
    /// The latest version of a root key; not in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_version: Option<VersionResource>,
    /// What it is for.
    pub algorithm_type: &'static str,
    /// The same again in another form.
    pub algorithm_metadata: AlgorithmMetadata,
    /// 256, whatever the key: that of the encryption under it.
    pub algorithm_bit_size: u16,
    /// The mode again.
    pub algorithm_mode: &'static str,
    /// Not in the short form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dual_auth_delete: Option<DualAuthDelete>,
    /// Whether it is destroyed.
    pub deleted: bool,
    /// What a destroyed key has besides.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// The value of a standard key, in one answer only. Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Secret>,
}

impl KeyResource {
    /// The form that a create gives unless the client asks for the representation.
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
    /// A UUID.
    pub id: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_date: Option<Time>,
}

/// The algorithm in the form older clients read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlgorithmMetadata {
    /// A number, as text.
    pub bit_length: &'static str,
    /// A mode of operation.
    pub mode: &'static str,
}

/// Whether two people are needed to delete the key.
#[derive(Debug, Serialize)]
pub struct DualAuthDelete {
    /// They are.
    pub enabled: bool,
}

/// What a destroyed key has besides.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// When.
    pub deletion_date: Time,
    /// By whom.
    pub deleted_by: String,
    /// Deletion + 30 days.
    pub restore_expiration_date: Time,
    /// Whether that is ahead.
    pub restore_allowed: bool,
    /// Deletion + 4 hours.
    pub purge_allowed_from: Time,
    /// Whether that has passed.
    pub purge_allowed: bool,
    /// Deletion + 90 days.
    pub purge_scheduled_on: Time,
}

/// The answer of wrap, unwrap and rewrap: bare, without an envelope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionAnswer {
    /// A new data key, or what was unwrapped. Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<Secret>,
    /// Under the latest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
    /// The version that made the ciphertext given or returned.
    pub key_version: VersionResource,
    /// The version of the new ciphertext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrapped_key_version: Option<VersionResource>,
}
