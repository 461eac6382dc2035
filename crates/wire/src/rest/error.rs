//! The error envelope, and every reason code with its status.

use super::MORE_INFO;
use serde::Serialize;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal;)+) => {
        /// What is wrong, in Key Protect's words. Each code belongs to one status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ReasonCode { $($(#[$doc])* $name,)+ }

        impl ReasonCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As clients see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The HTTP status it goes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

reason_codes! {
    /// The body is no JSON, or not this call's.
    BadBody = "BAD_BODY_ERR", 400;
    /// The envelope miscounts.
    CollectionTotalMismatch = "COLLECTION_TOTAL_MISMATCH_ERR", 400;
    /// Wrong number of resources.
    NumCollectionResource = "NUM_COLLECTION_RESOURCE_ERR", 400;
    /// A body field is out of range or badly formed.
    InvalidField = "INVALID_FIELD_ERR", 400;
    /// A query parameter is.
    InvalidQueryParam = "INVALID_QUERY_PARAM_ERR", 400;
    /// A body is needed.
    NoBody = "NO_BODY_ERR", 400;
    /// Only root keys do this.
    KeyRootRequired = "KEY_ROOT_REQ_ERR", 400;
    /// Rotating an imported key takes its new value.
    KeyPayloadRequired = "KEY_PAYLOAD_REQ_ERR", 400;
    /// The key's expiration date has passed.
    KeyExpired = "KEY_EXPIRED_ERR", 400;
    /// Thirty days have passed since the deletion.
    KeyRestoreExpired = "KEY_RESTORE_EXPIRED", 400;
    /// No such key here.
    KeyNotFound = "KEY_NOT_FOUND_ERR", 404;
    /// No such ring here.
    KeyRingNotFound = "KEY_RING_NOT_FOUND_ERR", 404;
    /// No such path. Ours.
    PathNotFound = "PATH_NOT_FOUND_ERR", 404;
    /// No such instance here. Ours.
    InstanceNotFound = "INSTANCE_NOT_FOUND_ERR", 404;
    /// Not this method on this path. Ours.
    MethodNotAllowed = "METHOD_NOT_ALLOWED_ERR", 405;
    /// The body did not come in time. Ours.
    RequestTimeout = "REQUEST_TIMEOUT_ERR", 408;
    /// The key's state forbids it.
    KeyActionInvalidState = "KEY_ACTION_INVALID_STATE_ERR", 409;
    /// Too soon after the key's last change.
    RequestTooEarly = "REQ_TOO_EARLY_ERR", 409;
    /// Rotated within the hour.
    KeyRotationNotPermitted = "KEY_ROTATION_NOT_PERMITTED", 409;
    /// An alias is taken.
    KeyAliasNotUnique = "KEY_ALIAS_NOT_UNIQUE_ERR", 409;
    /// More aliases than a key has room for.
    KeyAliasQuota = "KEY_ALIAS_QUOTA_ERR", 409;
    /// A change raced with another. Ours.
    Conflict = "CONFLICT_ERR", 409;
    /// A limit of this service is reached. Ours.
    LimitReached = "LIMIT_REACHED_ERR", 409;
    /// The key is destroyed.
    KeyDeleted = "KEY_DELETED_ERR", 410;
    /// The body is too long. Ours.
    BodyTooLarge = "BODY_TOO_LARGE_ERR", 413;
    /// Not this key's ciphertext, or not as it was.
    UnprocessableCiphertext = "UNPROCESSABLE_CIPHERTEXT_ERR", 422;
    /// What is stored about the key does not hold together.
    IncompleteMetadata = "INCOMPLETE_METADATA_ERR", 500;
    /// A fault of the service. Ours.
    Internal = "INTERNAL_ERR", 500;
    /// Part of the API that this service does not offer. Ours; 501 is also what Go's client does not retry.
    NotOffered = "NOT_OFFERED_ERR", 501;
    /// No crypto unit can serve now. Ours.
    NoUnit = "NO_ELIGIBLE_CRYPTO_UNIT_ERR", 503;
    /// It took too long. Ours.
    DeadlineExceeded = "DEADLINE_EXCEEDED_ERR", 503;
    /// The change may or may not have been made. Ours.
    OutcomeUnknown = "OUTCOME_UNKNOWN_ERR", 503;
    /// The keystore cannot serve now. Ours.
    KeystoreUnavailable = "KEYSTORE_UNAVAILABLE_ERR", 503;
    /// The instance takes no writes now. Ours.
    ReadOnly = "INSTANCE_READ_ONLY_ERR", 503;
    /// More is going on than the service takes at once. Ours.
    Overloaded = "OVERLOADED_ERR", 503;
}

/// What a status is called in `errorMsg`.
#[must_use]
pub const fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Payload Too Large",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// The resource of an error envelope.
#[derive(Serialize)]
pub struct ErrorResource {
    /// Phrase, what failed, and the code in parentheses.
    #[serde(rename = "errorMsg")]
    pub error_msg: String,
    /// Why; empty for a bad instance header, 401 and 429, and then not written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

impl ErrorResource {
    /// An error with its reason. `failed` says what did not happen, such as `Key could not be created`.
    #[must_use]
    pub fn new(failed: &str, code: ReasonCode, message: impl Into<String>, target: Option<Target>) -> Self {
        let (status, name) = (code.status(), code.as_str());
        let error_msg =
            format!("{}: {failed}: Please see `reasons` for more details ({name})", phrase(status));
        let reason = Reason { code: name, message: message.into(), status, more_info: MORE_INFO, target };
        Self { error_msg, reasons: vec![reason] }
    }

    /// An error that has no reasons.
    #[must_use]
    pub fn bare(status: u16, what: &str) -> Self {
        Self { error_msg: format!("{}: {what}", phrase(status)), reasons: Vec::new() }
    }
}

/// Why a call failed.
#[derive(Serialize)]
pub struct Reason {
    /// The code.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The HTTP status again.
    pub status: u16,
    /// Where to read on.
    #[serde(rename = "moreInfo")]
    pub more_info: &'static str,
    /// The one input to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// The one input to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// `field` or `query_param`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
}

impl Target {
    /// A field of the body.
    #[must_use]
    pub const fn field(name: &'static str) -> Self {
        Self { kind: "field", name }
    }

    /// A query parameter.
    #[must_use]
    pub const fn query(name: &'static str) -> Self {
        Self { kind: "query_param", name }
    }
}
