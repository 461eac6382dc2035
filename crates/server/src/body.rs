//! Request bodies: read whole, limited in length and time, and zeroized.

use crate::serve::BodyError;
use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use std::error::Error;
use wire::SecretBuf;
use wire::rest::MAX_BODY_LEN;
use zeroize::Zeroize as _;

/// A whole body of at most `MAX` bytes.
///
/// Zeroized on drop, and so are its chunks, unless the connection shares their buffer with something else.
pub(crate) struct RequestBody<const MAX: usize = MAX_BODY_LEN>(SecretBuf);

impl<const MAX: usize> RequestBody<MAX> {
    pub(crate) fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Why a body was not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFailure {
    /// Longer than allowed.
    TooLong,
    /// The client stopped sending.
    Broken,
    /// The client sends too slowly, by the limit of [`serve`](crate::serve()).
    TooSlow,
}

impl BodyFailure {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(BodyError::TooSlow) = error.downcast_ref() {
                return Self::TooSlow;
            }
            cause = error.source();
        }
        Self::Broken
    }
}

impl<S: Sync, const MAX: usize> FromRequest<S> for RequestBody<MAX> {
    type Rejection = BodyFailure;

    async fn from_request(request: Request, _: &S) -> Result<Self, BodyFailure> {
        read(request).await
    }
}

async fn read<const MAX: usize>(request: Request) -> Result<RequestBody<MAX>, BodyFailure> {
    let mut body = request.into_body();
    // A declared length is checked before anything is read.
    if body.size_hint().lower() > MAX.try_into().unwrap_or(u64::MAX) {
        return Err(BodyFailure::TooLong);
    }
    let mut whole = SecretBuf::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| BodyFailure::of(&error))?.into_data() else { continue };
        if whole.expose().len().saturating_add(data.len()) > MAX {
            return Err(BodyFailure::TooLong);
        }
        whole.extend(&data);
        if let Ok(mut unshared) = data.try_into_mut() {
            unshared.as_mut().zeroize();
        }
    }
    Ok(RequestBody(whole))
}

/// For handlers that have no error format of their own.
impl IntoResponse for BodyFailure {
    fn into_response(self) -> Response {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
        .into_response()
    }
}
