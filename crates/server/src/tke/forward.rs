//! `POST …/hsms/{hsm_id}`: one administrative request to one unit, and the unit's response.

use super::port::{Administration, ForwardedRequest};
use super::{Access, Failure, TkeState, units};
use crate::body::{BodyFailure, RequestBody};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;
use unit_api::MAX_FRAME_LEN;
use unit_api::admin::AdminRequest;
use wire::tke::{Der, ForwardRequest, ForwardResponse};

/// Longest request, in bytes of DER: with its envelope it fits a frame.
const MAX_REQUEST_LEN: usize = MAX_FRAME_LEN - 64;
/// Longest body: a request in base64 with the JSON around it.
pub(super) const MAX_BODY_LEN: usize = MAX_REQUEST_LEN / 3 * 4 + 256;

pub(super) async fn forward<A: Administration>(
    access: Access,
    State(state): State<Arc<TkeState<A>>>,
    Path((_, hsm_id)): Path<(String, String)>,
    body: Result<RequestBody<MAX_BODY_LEN>, BodyFailure>,
) -> Result<Json<ForwardResponse>, Failure> {
    let no_unit = || Failure::new(StatusCode::NOT_FOUND, "the instance has no such crypto unit");
    let (unit, hsm_id) = units::find(&*state.node, &hsm_id).ok_or_else(no_unit)?;
    let body = body.map_err(|failure| match failure {
        BodyFailure::TooLong => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, too_long()),
        other => Failure::body(other),
    })?;
    let der = parse(body.expose()).map_err(|why| Failure::new(StatusCode::BAD_REQUEST, why))?;
    let request = ForwardedRequest { caller: &access.caller, unit: &unit, hsm_id, der: &der };
    let response = state.node.forward(request).await?;
    Ok(Json(ForwardResponse { response: Der(response) }))
}

/// The DER of an administrative request; anything else is refused here.
fn parse(body: &[u8]) -> Result<Vec<u8>, String> {
    const EXPECTED: &str = "send {\"request\": \"…\"}, the DER of an administrative request in base64";
    let ForwardRequest { request: Der(request) } =
        serde_json::from_slice(body).map_err(|e| format!("invalid body ({e}); {EXPECTED}"))?;
    match AdminRequest::decode(&request) {
        Ok(_) if request.len() <= MAX_REQUEST_LEN => Ok(request),
        Ok(_) => Err(too_long()),
        Err(_) => Err(format!("`request` is not an administrative request; {EXPECTED}")),
    }
}

fn too_long() -> String {
    format!("an administrative request is at most {MAX_REQUEST_LEN} bytes long")
}

#[cfg(test)]
mod tests {
    use super::{MAX_REQUEST_LEN, parse};
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use unit_api::admin::AdminRequest;

    fn body(der: &[u8]) -> Vec<u8> {
        serde_json::json!({ "request": BASE64_STANDARD.encode(der) }).to_string().into_bytes()
    }

    fn request(block_len: usize) -> Vec<u8> {
        let block = vec![7; block_len];
        let mut out = vec![0; block_len + 64];
        AdminRequest { domain_index: 0, block: &block, signatures: &[] }.encode(&mut out).unwrap().to_vec()
    }

    #[test]
    fn only_administrative_requests_that_fit_are_forwarded() {
        let good = request(10);
        assert_eq!(parse(&body(&good)), Ok(good.clone()));
        let longest = request(MAX_REQUEST_LEN - 22);
        assert_eq!(longest.len(), MAX_REQUEST_LEN);
        assert!(body(&longest).len() <= super::MAX_BODY_LEN);
        assert_eq!(parse(&body(&longest)).map(|request| request.len()), Ok(MAX_REQUEST_LEN));
        for (bad, why) in [
            (body(&request(MAX_REQUEST_LEN - 21)), "at most"),
            (body(&good[1..]), "not an administrative request"),
            (body(&[good.as_slice(), b"x"].concat()), "not an administrative request"),
            (br#"{"request": "no base64!"}"#.to_vec(), "invalid body"),
            (br#"{"request": "", "more": 1}"#.to_vec(), "invalid body"),
            (b"rubbish".to_vec(), "invalid body"),
        ] {
            let said = parse(&bad).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
