//! One administrative request to one unit, and its answer back.

use super::{Access, Failure, TkeService, units};
use crate::cli::with_causes;
use crate::region::{SocketPort, SocketPortError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use host::LinkError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use unit_api::admin::AdminRequest;
use unit_api::{MAX_FRAME_LEN, UnitError};

/// Longest request, in bytes of DER: with what is round it, it fits a frame.
const MAX_REQUEST_LEN: usize = MAX_FRAME_LEN - 64;
/// Longest body: a request in base64 and the JSON round it.
pub(super) const MAX_BODY_LEN: usize = MAX_REQUEST_LEN / 3 * 4 + 256;

/// Body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forward {
    /// DER of an administrative request, in base64.
    request: String,
}

/// Body of an answer.
#[derive(Serialize)]
pub(super) struct Forwarded {
    /// DER of the unit's response, in base64: carried out or refused, it is the unit's module that says so.
    response: String,
}

pub(super) async fn forward(
    access: Access,
    State(state): State<Arc<TkeService>>,
    Path((_, hsm_id)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Forwarded>, Failure> {
    let no_unit = || Failure::new(StatusCode::NOT_FOUND, "the instance has no such crypto unit");
    let unit = units::find(state.service.supervisor(), &hsm_id).ok_or_else(no_unit)?;
    let body = body.map_err(|rejection| {
        let status = rejection.into_response().status();
        let why = if status == StatusCode::PAYLOAD_TOO_LARGE {
            format!("an administrative request is at most {MAX_REQUEST_LEN} bytes long")
        } else {
            "the body ended too early".to_owned()
        };
        Failure::new(status, why)
    })?;
    let request = parse(&body).map_err(|why| Failure::new(StatusCode::BAD_REQUEST, why))?;
    let answered = SocketPort(unit.socket.clone()).administer(&request).await;
    state
        .audit
        .forwarded(&access.caller, state.service.identity(), &unit, &hsm_id, &request, &answered)
        .await;
    match answered {
        Ok(response) => Ok(Json(Forwarded { response: BASE64_STANDARD.encode(response) })),
        Err(error) => Err(failure(&error)),
    }
}

/// The DER of an administrative request; what is no such thing goes no further.
fn parse(body: &[u8]) -> Result<Vec<u8>, String> {
    const EXPECTED: &str = "send {\"request\": \"…\"}, the DER of an administrative request in base64";
    let parsed: Forward =
        serde_json::from_slice(body).map_err(|e| format!("the body is not as expected ({e}); {EXPECTED}"))?;
    let request = BASE64_STANDARD
        .decode(&parsed.request)
        .map_err(|e| format!("`request` is no base64 ({e}); {EXPECTED}"))?;
    match AdminRequest::decode(&request) {
        Ok(_) if request.len() <= MAX_REQUEST_LEN => Ok(request),
        Ok(_) => Err(format!("an administrative request is at most {MAX_REQUEST_LEN} bytes long")),
        Err(_) => Err(format!("`request` is no administrative request; {EXPECTED}")),
    }
}

/// Whether an exchange that failed may have changed the unit.
pub(super) const fn may_be_carried_out(error: &SocketPortError) -> bool {
    match error {
        SocketPortError::Link(LinkError::Connect { .. } | LinkError::RequestTooLong)
        | SocketPortError::Refused(_) => false,
        SocketPortError::Link(_) | SocketPortError::Answer => true,
    }
}

fn failure(error: &SocketPortError) -> Failure {
    let status = match error {
        SocketPortError::Link(LinkError::DeadlineExceeded(_)) => StatusCode::GATEWAY_TIMEOUT,
        SocketPortError::Link(LinkError::RequestTooLong) => StatusCode::PAYLOAD_TOO_LARGE,
        SocketPortError::Refused(refusal) => match refusal.unit_error() {
            Some(UnitError::FrameTooLong) => StatusCode::PAYLOAD_TOO_LARGE,
            Some(UnitError::FrameMalformed) => StatusCode::BAD_REQUEST,
            Some(UnitError::DeadlineExceeded) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        },
        SocketPortError::Link(_) | SocketPortError::Answer => StatusCode::BAD_GATEWAY,
    };
    let outcome_unknown = may_be_carried_out(error);
    let advice = if outcome_unknown {
        ". Whether the command was carried out is unknown: look at the unit before sending another"
    } else {
        ". The command was not carried out"
    };
    Failure { status, why: format!("{}{advice}", with_causes(error)), outcome_unknown }
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
    fn only_administrative_requests_that_fit_go_on() {
        let good = request(10);
        assert_eq!(parse(&body(&good)), Ok(good.clone()));
        let longest = request(MAX_REQUEST_LEN - 22);
        assert_eq!(longest.len(), MAX_REQUEST_LEN);
        assert!(body(&longest).len() <= super::MAX_BODY_LEN);
        assert_eq!(parse(&body(&longest)).map(|request| request.len()), Ok(MAX_REQUEST_LEN));
        for (bad, why) in [
            (body(&request(MAX_REQUEST_LEN - 21)), "at most"),
            (body(&good[1..]), "no administrative request"),
            (body(&[good.as_slice(), b"x"].concat()), "no administrative request"),
            (br#"{"request": "no base64!"}"#.to_vec(), "no base64"),
            (br#"{"request": "", "more": 1}"#.to_vec(), "not as expected"),
            (b"rubbish".to_vec(), "not as expected"),
        ] {
            let said = parse(&bad).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
