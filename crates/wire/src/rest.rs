//! The Key Protect REST API: bodies, queries and errors.
//!
//! Requests are decoded like the original service does: field names are compared without regard to case, unknown fields are
//! refused, an optional body may be empty, `null` or `{}`, and the media type is ignored.

mod answer;
mod body;
mod error;
mod json;
mod query;
mod request;
mod time;

pub use answer::{
    ActionAnswer, AlgorithmMetadata, Deletion, DualAuthDelete, Envelope, KeyResource, Metadata,
    VersionResource,
};
pub use body::{BodyError, InvalidField};
pub use error::{ErrorResource, Reason, ReasonCode, Target, phrase};
pub use query::{InvalidQuery, ListQuery, SortBy, SortProperty, VersionsQuery, action, flag};
pub use request::{CreateKey, Rotate, Unwrap, Wrap, no_body};
pub use time::Time;

use body::shortened;

/// Media type of keys.
pub const TYPE_KEY: &str = "application/vnd.ibm.kms.key+json";
/// Media type of key versions.
pub const TYPE_KEY_VERSION: &str = "application/vnd.ibm.kms.key.version+json";
/// Media type of responses to wrap, unwrap and rewrap. It matters: IBM's Python client decodes `application/json` only, and
/// its callers rely on the raw body here.
pub const TYPE_KEY_ACTION: &str = "application/vnd.ibm.kms.key_action+json";
/// Media type of errors.
pub const TYPE_ERROR: &str = "application/vnd.ibm.kms.error+json";
/// Link in errors.
pub const MORE_INFO: &str = "https://cloud.ibm.com/apidocs/key-protect";
/// Longest request body, in bytes. The longest valid one unwraps 32 KiB, encoded twice in base64, with 16 KiB of additional
/// data, of which each character is an escape of six.
pub const MAX_BODY_LEN: usize = 256 * 1024;
