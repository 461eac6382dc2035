//! Errors of the key service as answers of the API.

use crate::access;
use crate::answer;
use crate::body::BodyFailure;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use keystore::StoreError;
use kms::{CiphertextError, Field, FieldRule, InstanceId, KeyAction, KeyRef, KmsError, UnitsError};
use std::error::Error;
use std::time::Duration;
use wire::rest::{BodyError, Envelope, ErrorResource, InvalidQuery, ReasonCode, TYPE_ERROR, Target};
use wire::text::error_chain;

/// A refusal or failure, ready to be sent. `doing` in its constructors is the first half of the message: what did not
/// happen.
pub(super) struct Failure {
    status: u16,
    resource: ErrorResource,
    /// `Retry-After` in seconds, set on every 503.
    retry_after: Option<u64>,
}

impl Failure {
    fn new(doing: &str, code: ReasonCode, message: impl Into<String>) -> Self {
        Self::at(doing, code, message, None)
    }

    fn at(doing: &str, code: ReasonCode, message: impl Into<String>, target: Option<Target>) -> Self {
        let status = code.status();
        Self {
            status,
            resource: ErrorResource::new(doing, code, message, target),
            retry_after: (status == 503).then_some(1),
        }
    }

    fn bare(status: u16, what: &str) -> Self {
        Self { status, resource: ErrorResource::bare(status, what), retry_after: None }
    }

    /// The caller is unknown, or may not do this: the original answers both in the same way.
    pub(super) fn denied(denied: access::Denied) -> Self {
        match denied {
            access::Denied::Unauthenticated | access::Denied::Forbidden => Self::unauthorized(),
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self::bare(401, "The user does not have access to the specified resource")
    }

    /// There is no key service yet; `why` says what has to be done first.
    pub(super) fn not_serving(why: String) -> Self {
        Self::new("Request could not be served", ReasonCode::NoUnit, why)
    }

    pub(super) fn bad_instance_header() -> Self {
        Self::bare(400, "Request requires valid Bluemix-Instance Header containing a valid UUID")
    }

    pub(super) fn bad_idempotency_key(max_len: usize) -> Self {
        Self::bare(400, &format!("The Idempotency-Key header must be 1 to {max_len} bytes long"))
    }

    pub(super) fn no_instance(id: InstanceId) -> Self {
        let message = format!("There is no instance {id} here");
        Self::new("Instance could not be found", ReasonCode::InstanceNotFound, message)
    }

    pub(super) fn no_key(doing: &str, key: &KeyRef) -> Self {
        let key = shortened(&key.to_string());
        let message = format!("Key does not exist: there is no key {key} in the instance or the key ring");
        Self::new(doing, ReasonCode::KeyNotFound, message)
    }

    pub(super) fn no_ring(doing: &str) -> Self {
        Self::new(doing, ReasonCode::KeyRingNotFound, "The specified key ring does not exist")
    }

    pub(super) fn no_path() -> Self {
        Self::new("Request could not be served", ReasonCode::PathNotFound, "The API has no such path")
    }

    pub(super) fn no_method(method: &Method) -> Self {
        let message = format!("The path does not take {}", shortened(method.as_str()));
        Self::new("Request could not be served", ReasonCode::MethodNotAllowed, message)
    }

    pub(super) fn not_offered(doing: &str, what: &str) -> Self {
        let message = format!("{what} is part of the API but not offered by this service");
        Self::new(doing, ReasonCode::NotOffered, message)
    }

    pub(super) fn unknown_action(doing: &str) -> Self {
        let message = "The query parameter `action` must be: an action on keys";
        Self::at(doing, ReasonCode::InvalidQueryParam, message, Some(Target::query("action")))
    }

    pub(super) fn query(doing: &str, error: &InvalidQuery) -> Self {
        let target = (!error.name.is_empty()).then_some(Target::query(error.name));
        Self::at(doing, error.code(), error.to_string(), target)
    }

    pub(super) fn body(doing: &str, error: &BodyError) -> Self {
        Self::at(doing, error.code(), error.to_string(), error.field().map(Target::field))
    }

    pub(super) fn unread_body(doing: &str, error: BodyFailure) -> Self {
        let (code, message) = match error {
            BodyFailure::TooLong => (ReasonCode::BodyTooLarge, "The body must be: at most 256 KiB long"),
            BodyFailure::Broken => (ReasonCode::BadBody, "The body ended too early"),
            BodyFailure::TooSlow => (ReasonCode::RequestTimeout, "The body did not come in time"),
        };
        Self::new(doing, code, message)
    }

    /// A refusal or failure of the key service.
    pub(super) fn kms(doing: &str, error: &KmsError) -> Self {
        use ReasonCode as Code;
        let code = match error {
            KmsError::InstanceNotFound(_) => Code::InstanceNotFound,
            KmsError::KeyNotFound(key) => return Self::no_key(doing, key),
            KmsError::RootKeyRequired { .. } => Code::KeyRootRequired,
            KmsError::WrongState { .. } => Code::KeyActionInvalidState,
            KmsError::KeyDeleted { .. } => Code::KeyDeleted,
            // Clients match on these words.
            KmsError::TooEarly { action: KeyAction::Purge, .. } => {
                let message = "Purge operation is allowed 4h0m0s after key is deleted";
                return Self::new(doing, Code::RequestTooEarly, message);
            }
            KmsError::TooEarly { .. } => Code::RequestTooEarly,
            KmsError::RotationTooEarly { .. } => Code::KeyRotationNotPermitted,
            KmsError::RestoreExpired { .. } => Code::KeyRestoreExpired,
            KmsError::KeyExpired { .. } => Code::KeyExpired,
            KmsError::PayloadRequired => Code::KeyPayloadRequired,
            KmsError::PayloadNotAllowed => {
                let target = Some(Target::query("payload"));
                return Self::at(doing, Code::InvalidQueryParam, sentence(error), target);
            }
            KmsError::InvalidField { field, rule } => {
                let code = field_code(*field, *rule);
                return Self::at(doing, code, sentence(error), Some(Target::field(field.name())));
            }
            KmsError::AliasNotUnique { .. } => Code::KeyAliasNotUnique,
            KmsError::OpIdReused => Code::Conflict,
            // Nothing was changed, and the same call will succeed later.
            KmsError::Contended { .. } => Code::Overloaded,
            KmsError::CiphertextMalformed(CiphertextError::NotBase64) => {
                let message = "The field 'ciphertext' must be: \
                               the original base64 encoded ciphertext from the wrap operation";
                return Self::at(doing, Code::InvalidField, message, Some(Target::field("ciphertext")));
            }
            KmsError::CiphertextMalformed(CiphertextError::NotEnvelope | CiphertextError::UnknownVersion)
            | KmsError::CiphertextRejected => {
                // One message for all of them: which check failed must not be visible.
                let message = "The ciphertext cannot be unwrapped with this key and this additional data";
                return Self::new(doing, Code::UnprocessableCiphertext, message);
            }
            KmsError::LimitReached { .. } => Code::LimitReached,
            // Until the key is rotated, no retry succeeds.
            KmsError::InvocationsExhausted { .. } => Code::KeyActionInvalidState,
            KmsError::SetAsideExhausted { .. } => Code::ReadOnly,
            KmsError::ReadOnly { .. } => Code::ReadOnly,
            // Not 503: a rotation may take days, and a retry after a second would be refused again.
            KmsError::RotationInProgress { .. } => Code::Conflict,
            KmsError::DeadlineExceeded => Code::DeadlineExceeded,
            KmsError::OutcomeUnknown(_) => Code::OutcomeUnknown,
            KmsError::Units(units) => return Self::units(doing, units, error),
            KmsError::Store(store) => return Self::store(doing, store, error),
            KmsError::RecordInvalid { .. } => Code::IncompleteMetadata,
            KmsError::Random(_) | KmsError::Ledger(_) => Code::Internal,
        };
        Self::new(doing, code, sentence(error))
    }

    fn units(doing: &str, error: &UnitsError, whole: &KmsError) -> Self {
        let code = match error {
            UnitsError::NoEligibleUnit(_) => ReasonCode::NoUnit,
            UnitsError::DeadlineExceeded => ReasonCode::DeadlineExceeded,
            UnitsError::Busy { .. } => ReasonCode::Overloaded,
            UnitsError::Refused(refusal) if refusal.is_retryable() => ReasonCode::NoUnit,
            UnitsError::Refused(_) | UnitsError::Malformed(_) | UnitsError::Unexpected { .. } => {
                ReasonCode::Internal
            }
        };
        let mut failure = Self::new(doing, code, sentence(whole));
        if let UnitsError::Busy { retry_after } = error {
            failure.retry_after = Some(whole_seconds(*retry_after));
        }
        failure
    }

    fn store(doing: &str, error: &StoreError, whole: &KmsError) -> Self {
        let code = match error {
            StoreError::ReadOnly { .. } => ReasonCode::ReadOnly,
            StoreError::Unavailable { .. } | StoreError::Full | StoreError::IdentityChanged { .. } => {
                ReasonCode::KeystoreUnavailable
            }
            StoreError::Unknown => ReasonCode::OutcomeUnknown,
            // The enum is non-exhaustive. An error added later is an internal error until it gets a line here.
            _ => ReasonCode::Internal,
        };
        let mut failure = Self::new(doing, code, sentence(whole));
        if let StoreError::Unavailable { retry_after, .. } | StoreError::ReadOnly { retry_after, .. } = error
        {
            failure.retry_after = Some(whole_seconds(*retry_after));
        }
        failure
    }
}

/// At most 120 characters of a client's text, which is enough for any valid alias.
fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

/// Invalid key material counts as an invalid body and aliases have codes of their own; the rest is an invalid field.
const fn field_code(field: Field, rule: FieldRule) -> ReasonCode {
    match (field, rule) {
        (_, FieldRule::NotAllZero)
        | (Field::Payload, FieldRule::Bytes { found: 0, .. } | FieldRule::RootKeyLen { found: 0 }) => {
            ReasonCode::BadBody
        }
        (Field::Aliases, FieldRule::Distinct) => ReasonCode::KeyAliasNotUnique,
        (Field::Aliases, FieldRule::Entries { .. }) => ReasonCode::KeyAliasQuota,
        _ => ReasonCode::InvalidField,
    }
}

/// Whole seconds, at least one: with 0 a client would retry at once.
fn whole_seconds(pause: Duration) -> u64 {
    pause.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

/// The error and its causes as one sentence.
fn sentence(error: &dyn Error) -> String {
    let text = error_chain(error);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = answer::json(status, TYPE_ERROR, &Envelope::new(TYPE_ERROR, vec![self.resource]));
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, access::CHALLENGE);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use kms::KmsError;

    #[test]
    fn retryable_errors_have_retry_after() {
        for error in [KmsError::Contended { attempts: 64 }, KmsError::DeadlineExceeded] {
            let failure = Failure::kms("Key could not be rotated", &error);
            assert!(error.is_retryable());
            assert_eq!((failure.status, failure.retry_after), (503, Some(1)), "{error}");
        }
        assert_eq!(Failure::kms("Key could not be created", &KmsError::OpIdReused).status, 409);
    }
}
