//! The error envelope, and the reason codes with their HTTP status.

use super::MORE_INFO;
use serde::Serialize;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal;)+) => {
        /// Reason code of an error, as Key Protect defines it. Each code has one HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ReasonCode { $($(#[$doc])* $name,)+ }

        impl ReasonCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code in responses.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// HTTP status of the code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

reason_codes! {
    /// The body is not JSON, or not valid for the call.
    BadBody = "BAD_BODY_ERR", 400;
    /// `collectionTotal` differs from the number of resources.
    CollectionTotalMismatch = "COLLECTION_TOTAL_MISMATCH_ERR", 400;
    /// The number of resources is not the one that the call takes.
    NumCollectionResource = "NUM_COLLECTION_RESOURCE_ERR", 400;
    /// A field is out of range or malformed.
    InvalidField = "INVALID_FIELD_ERR", 400;
    /// A query parameter is out of range or malformed.
    InvalidQueryParam = "INVALID_QUERY_PARAM_ERR", 400;
    /// The call needs a body.
    NoBody = "NO_BODY_ERR", 400;
    /// The call needs a root key.
    KeyRootRequired = "KEY_ROOT_REQ_ERR", 400;
    /// The rotation of an imported key needs a new value.
    KeyPayloadRequired = "KEY_PAYLOAD_REQ_ERR", 400;
    /// The key's expiration date has passed.
    KeyExpired = "KEY_EXPIRED_ERR", 400;
    /// Thirty days have passed since the deletion.
    KeyRestoreExpired = "KEY_RESTORE_EXPIRED", 400;
    /// The instance has no such key.
    KeyNotFound = "KEY_NOT_FOUND_ERR", 404;
    /// The instance has no such key ring.
    KeyRingNotFound = "KEY_RING_NOT_FOUND_ERR", 404;
    /// The API has no such path. Not a Key Protect code.
    PathNotFound = "PATH_NOT_FOUND_ERR", 404;
    /// The service has no such instance. Not a Key Protect code.
    InstanceNotFound = "INSTANCE_NOT_FOUND_ERR", 404;
    /// The path does not allow the method. Not a Key Protect code.
    MethodNotAllowed = "METHOD_NOT_ALLOWED_ERR", 405;
    /// The body was not received in time. Not a Key Protect code.
    RequestTimeout = "REQUEST_TIMEOUT_ERR", 408;
    /// The state of the key forbids the call.
    KeyActionInvalidState = "KEY_ACTION_INVALID_STATE_ERR", 409;
    /// The key was changed too recently.
    RequestTooEarly = "REQ_TOO_EARLY_ERR", 409;
    /// The key was rotated less than an hour ago.
    KeyRotationNotPermitted = "KEY_ROTATION_NOT_PERMITTED", 409;
    /// An alias is in use.
    KeyAliasNotUnique = "KEY_ALIAS_NOT_UNIQUE_ERR", 409;
    /// The key would have too many aliases.
    KeyAliasQuota = "KEY_ALIAS_QUOTA_ERR", 409;
    /// Another change happened at the same time. Not a Key Protect code.
    Conflict = "CONFLICT_ERR", 409;
    /// A limit of the service is reached. Not a Key Protect code.
    LimitReached = "LIMIT_REACHED_ERR", 409;
    /// The key is destroyed.
    KeyDeleted = "KEY_DELETED_ERR", 410;
    /// The body is too long. Not a Key Protect code.
    BodyTooLarge = "BODY_TOO_LARGE_ERR", 413;
    /// The ciphertext is from another key, or was changed.
    UnprocessableCiphertext = "UNPROCESSABLE_CIPHERTEXT_ERR", 422;
    /// The stored metadata of the key is not consistent.
    IncompleteMetadata = "INCOMPLETE_METADATA_ERR", 500;
    /// An internal error. Not a Key Protect code.
    Internal = "INTERNAL_ERR", 500;
    /// The service does not offer this part of the API. Not a Key Protect code; Go's client does not retry status 501.
    NotOffered = "NOT_OFFERED_ERR", 501;
    /// No crypto unit can serve the request now. Not a Key Protect code.
    NoUnit = "NO_ELIGIBLE_CRYPTO_UNIT_ERR", 503;
    /// The time limit was exceeded. Not a Key Protect code.
    DeadlineExceeded = "DEADLINE_EXCEEDED_ERR", 503;
    /// It is unknown whether the change was made. Not a Key Protect code.
    OutcomeUnknown = "OUTCOME_UNKNOWN_ERR", 503;
    /// The keystore is not available. Not a Key Protect code.
    KeystoreUnavailable = "KEYSTORE_UNAVAILABLE_ERR", 503;
    /// The instance accepts no writes now. Not a Key Protect code.
    ReadOnly = "INSTANCE_READ_ONLY_ERR", 503;
    /// Too many requests are in progress. Not a Key Protect code.
    Overloaded = "OVERLOADED_ERR", 503;
}

/// Phrase of an HTTP status in `errorMsg`.
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

/// An error.
#[derive(Serialize)]
pub struct ErrorResource {
    /// Phrase of the status, description, and the code in parentheses.
    #[serde(rename = "errorMsg")]
    pub error_msg: String,
    /// Reasons. Empty, and then not written, for a bad instance header, 401 and 429.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

impl ErrorResource {
    /// An error with one reason. `failed` describes what failed, such as `Key could not be created`.
    #[must_use]
    pub fn new(failed: &str, code: ReasonCode, message: impl Into<String>, target: Option<Target>) -> Self {
        let (status, name) = (code.status(), code.as_str());
        let error_msg =
            format!("{}: {failed}: Please see `reasons` for more details ({name})", phrase(status));
        let reason = Reason { code: name, message: message.into(), status, more_info: MORE_INFO, target };
        Self { error_msg, reasons: vec![reason] }
    }

    /// An error without reasons.
    #[must_use]
    pub fn bare(status: u16, what: &str) -> Self {
        Self { error_msg: format!("{}: {what}", phrase(status)), reasons: Vec::new() }
    }
}

/// Reason of an error.
#[derive(Serialize)]
pub struct Reason {
    /// Reason code.
    pub code: &'static str,
    /// Message for people.
    pub message: String,
    /// HTTP status.
    pub status: u16,
    /// Link to documentation.
    #[serde(rename = "moreInfo")]
    pub more_info: &'static str,
    /// The input that is wrong, if it is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// The input that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// `field` or `query_param`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Name of the field or parameter.
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
