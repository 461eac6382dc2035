//! Errors of the node as answers.

use super::port::{ForwardError, RemovalFailure, RotationFailure};
use crate::access::{self, Denied};
use crate::body::BodyFailure;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kms::rotation::RegionError;
use kms::{InstanceError, RemovalError};
use unit_api::UnitError;
use wire::text::error_chain;
use wire::tke::Outcome;

/// A refusal or failure, ready to be sent.
pub(super) struct Failure {
    status: StatusCode,
    error: String,
    outcome: Option<Outcome>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), outcome: None }
    }

    /// The caller is unknown, or may not do this.
    pub(super) fn denied(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => {
                Self::new(StatusCode::UNAUTHORIZED, "an operator's bearer token of this service is needed")
            }
            Denied::Forbidden => Self::new(
                StatusCode::FORBIDDEN,
                "this credential is not for the administration of this instance: use an operator's. In a simulated \
                 region it is `operator_token` of ready.json in the data directory; those of applications use keys only",
            ),
        }
    }

    pub(super) fn no_instance() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such instance here")
    }

    /// The body was not received.
    pub(super) fn body(failure: BodyFailure) -> Self {
        let (status, error) = match failure {
            BodyFailure::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
            BodyFailure::Broken => (StatusCode::BAD_REQUEST, "the body ended early"),
            BodyFailure::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body was not received in time"),
        };
        Self::new(status, error)
    }

    /// The keystore cannot be read.
    pub(super) fn unavailable(error: &InstanceError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error_chain(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = wire::tke::Failure { error: self.error, outcome: self.outcome };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, access::CHALLENGE);
        }
        response
    }
}

impl From<ForwardError> for Failure {
    fn from(error: ForwardError) -> Self {
        let status = match &error {
            ForwardError::Removed => StatusCode::NOT_FOUND,
            ForwardError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            ForwardError::DeadlineExceeded(_) => StatusCode::GATEWAY_TIMEOUT,
            ForwardError::Refused(refusal) => match refusal.unit_error() {
                Some(UnitError::FrameTooLong) => StatusCode::PAYLOAD_TOO_LARGE,
                Some(UnitError::FrameMalformed) => StatusCode::BAD_REQUEST,
                Some(UnitError::DeadlineExceeded) => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
            ForwardError::Unreachable(_) | ForwardError::Lost(_) | ForwardError::UnexpectedResponse => {
                StatusCode::BAD_GATEWAY
            }
        };
        let (advice, outcome) = if error.may_have_executed() {
            let advice =
                "Whether the command was carried out is unknown: query the unit before sending another";
            (advice, Some(Outcome::Unknown))
        } else {
            ("The command was not carried out", None)
        };
        Self { status, error: format!("{}. {advice}", error_chain(&error)), outcome }
    }
}

impl From<RotationFailure> for Failure {
    fn from(error: RotationFailure) -> Self {
        let status = match &error {
            RotationFailure::NotOpen(_) => StatusCode::SERVICE_UNAVAILABLE,
            RotationFailure::Region(RegionError::Instance { source, .. }) if source.is_retryable() => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            RotationFailure::NotNow(_) | RotationFailure::Region(_) | RotationFailure::Proofs(_) => {
                StatusCode::CONFLICT
            }
        };
        Self::new(status, error_chain(&error))
    }
}

impl From<RemovalFailure> for Failure {
    fn from(error: RemovalFailure) -> Self {
        let status = match &error {
            RemovalFailure::Removal(RemovalError::Changed(_)) => StatusCode::CONFLICT,
            RemovalFailure::Removal(_) | RemovalFailure::Count(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error_chain(&error))
    }
}
