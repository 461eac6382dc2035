//! Key Protect's REST API: what its bodies, queries and errors look like.
//!
//! Requests are read as the service reads them: field names without regard to case, unknown fields refused, `null`, `{}`
//! and nothing the same where a body is optional, the media type ignored.

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

/// A key, or keys.
pub const TYPE_KEY: &str = "application/vnd.ibm.kms.key+json";
/// Versions of a key.
pub const TYPE_KEY_VERSION: &str = "application/vnd.ibm.kms.key.version+json";
/// What wrap, unwrap and rewrap give. The vendor types matter: a client that knows `application/json` alone keeps the
/// answer's body as it came, which is what callers of IBM's Python client rely on.
pub const TYPE_KEY_ACTION: &str = "application/vnd.ibm.kms.key_action+json";
/// Errors.
pub const TYPE_ERROR: &str = "application/vnd.ibm.kms.error+json";
/// Where errors point to.
pub const MORE_INFO: &str = "https://cloud.ibm.com/apidocs/key-protect";
/// Longest request body, in bytes. The longest there is unwraps 32 KiB, base64 twice over, with 16 KiB of additional data,
/// each character of it behind an escape of six: whatever can be wrapped has to fit.
pub const MAX_BODY_LEN: usize = 256 * 1024;
