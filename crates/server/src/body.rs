//! Request bodies: read whole, limited in length and time, and wiped.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use std::time::Duration;
use wire::SecretBuf;
use wire::rest::MAX_BODY_LEN;
use zeroize::Zeroize as _;

/// How long a client may take to send a body.
const MAX_BODY_TIME: Duration = Duration::from_secs(10);

/// A whole body. Wiped on drop; so are its parts, where nothing else of the connection shares their buffer.
pub(crate) struct RequestBody(SecretBuf);

impl RequestBody {
    pub(crate) fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFailure {
    /// Longer than [`MAX_BODY_LEN`].
    TooLong,
    /// The client stopped sending.
    Broken,
    /// The client sends too slowly.
    TooSlow,
}

impl<S: Sync> FromRequest<S> for RequestBody {
    type Rejection = BodyFailure;

    async fn from_request(request: Request, _: &S) -> Result<Self, BodyFailure> {
        tokio::time::timeout(MAX_BODY_TIME, read(request)).await.unwrap_or(Err(BodyFailure::TooSlow))
    }
}

async fn read(request: Request) -> Result<RequestBody, BodyFailure> {
    let mut body = request.into_body();
    // Who says at once that it is too long is not waited for.
    if body.size_hint().lower() > MAX_BODY_LEN.try_into().unwrap_or(u64::MAX) {
        return Err(BodyFailure::TooLong);
    }
    let mut whole = SecretBuf::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyFailure::Broken)?.into_data() else { continue };
        if whole.expose().len().saturating_add(data.len()) > MAX_BODY_LEN {
            return Err(BodyFailure::TooLong);
        }
        whole.extend(&data);
        if let Ok(mut unshared) = data.try_into_mut() {
            unshared.as_mut().zeroize();
        }
    }
    Ok(RequestBody(whole))
}

/// For whoever does not turn it into an error of its own.
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
