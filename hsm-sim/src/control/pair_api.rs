//! Server of a pair's control API. It survives the loss of any region.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /pair/status` | | [`PairStatus`] |
//! | `POST /pair/fault` | [`PairFault`] | [`PairStatus`] |
//! | `POST /pair/heal` | [`PairHeal`] | [`PairStatus`] |
//! | `POST /pair/promote` | [`PromoteRequest`] | [`RegionReport`] |
//! | `POST /pair/return` | | [`RegionReport`] |
//! | `GET /pair/replicated/REVISION?wait_ms=…` | | [`ReplicatedReport`] |
//! | `GET /pair/endpoints` | | [`PairEndpoints`] |
//! | `GET /pair/log` | | [`PairLog`] |
//! | `GET /clock`, `POST /clock/advance`, `POST /heal` with `"all"` | as for a region | for all regions |
//! | `/regions/NAME/…` | as for a region | of that region |
//! | `/backups`, `/backups/NAME/verify` | as for a region | of the region that accepts changes |
//! | everything else | as for a region | of the home |

use super::api::{self, Refused, parse};
use super::model::{AdvanceRequest, ClockStatus, Target};
use super::pair_model::{
    PairEndpoints, PairFault, PairHeal, PairLog, PairStatus, RegionReport, ReplicatedQuery, ReplicatedReport,
};
use crate::pair::{PairError, RunningPair};
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Limited};
use regions::Side;
use std::sync::Arc;
use std::time::Duration;
use wire::text::error_chain;

type PairState = Arc<RunningPair>;

/// Longest body of a request for a region.
const MAX_BODY_LEN: usize = 64 * 1024;

/// The control API of a pair.
pub fn pair_router(state: PairState) -> Router {
    let routes = Router::new()
        .route("/pair/status", get(status))
        .route("/pair/fault", post(fault))
        .route("/pair/heal", post(heal))
        .route("/pair/promote", post(promote))
        .route("/pair/return", post(return_home))
        .route("/pair/replicated/{revision}", get(replicated))
        .route("/pair/endpoints", get(endpoints))
        .route("/pair/log", get(log))
        .route("/clock", get(clock))
        .route("/clock/advance", post(advance))
        .route("/heal", post(heal_units))
        .route("/regions/{name}/{*path}", axum::routing::any(in_region))
        .fallback(in_home)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), authorize))
        .with_state(state);
    server::to_completion(routes)
}

async fn authorize(State(pair): State<PairState>, request: Request, next: Next) -> Result<Response, Refused> {
    api::check_caller(&pair.control_token, &request)?;
    Ok(next.run(request).await)
}

async fn status(State(pair): State<PairState>) -> Json<PairStatus> {
    Json(pair.status().await)
}

async fn fault(State(pair): State<PairState>, body: Bytes) -> Result<Json<PairStatus>, Refused> {
    api::check_faults(pair.faults)?;
    let fault: PairFault = parse(&body, "{\"fault\": \"lose\", \"region\": \"us-south\"}")?;
    pair.fault(&fault).await?;
    Ok(Json(pair.status().await))
}

async fn heal(State(pair): State<PairState>, body: Bytes) -> Result<Json<PairStatus>, Refused> {
    let heal: PairHeal = parse(&body, "{\"region\": \"us-south\"} or {\"link\": [\"us-south\", \"front\"]}")?;
    pair.heal(&heal).await?;
    Ok(Json(pair.status().await))
}

async fn promote(State(pair): State<PairState>, body: Bytes) -> Result<Json<RegionReport>, Refused> {
    let request = parse(&body, "{\"home_is_down\": true}")?;
    Ok(Json(pair.promote(request).await?))
}

// The body is read although nothing is in it: the connection would end with the answer otherwise.
async fn return_home(State(pair): State<PairState>, _body: Bytes) -> Result<Json<RegionReport>, Refused> {
    Ok(Json(pair.return_home().await?))
}

async fn replicated(
    State(pair): State<PairState>,
    Path(revision): Path<String>,
    Query(ReplicatedQuery { wait_ms }): Query<ReplicatedQuery>,
) -> Result<Json<ReplicatedReport>, Refused> {
    Ok(Json(pair.replicated(&revision, Duration::from_millis(wait_ms)).await?))
}

async fn endpoints(State(pair): State<PairState>) -> Json<PairEndpoints> {
    Json(pair.endpoints())
}

async fn log(State(pair): State<PairState>) -> Json<PairLog> {
    Json(PairLog { events: pair.timeline().await })
}

async fn clock(State(pair): State<PairState>) -> Json<ClockStatus> {
    Json(pair.clock())
}

async fn advance(State(pair): State<PairState>, body: Bytes) -> Result<Json<ClockStatus>, Refused> {
    api::check_faults(pair.faults)?;
    let AdvanceRequest { seconds } = parse(&body, "{\"seconds\": 60}")?;
    Ok(Json(pair.advance(Duration::from_secs(seconds)).await?))
}

/// Heals units of the home, or everything in every region.
async fn heal_units(State(pair): State<PairState>, body: Bytes) -> Result<Response, Refused> {
    let target: Target = parse(&body, "{\"unit\": 1}, {\"zone\": \"az1\"} or \"all\"")?;
    if target == Target::All {
        pair.heal_all().await?;
        let standby = forward(&pair, Side::Standby, Method::POST, "/heal", body.clone()).await?;
        if !standby.status().is_success() {
            return Ok(standby);
        }
    }
    forward(&pair, Side::Home, Method::POST, "/heal", body).await
}

async fn in_region(
    State(pair): State<PairState>,
    Path((name, path)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refused> {
    let side = pair.side(&name)?;
    // A region's clock follows the pair's.
    if path == "clock/advance" {
        let why = "the clock of all regions is one: advance it without naming a region";
        return Err(Refused { status: StatusCode::CONFLICT, why: why.to_owned() });
    }
    let (method, body) = taken(request).await?;
    forward(&pair, side, method, &format!("/{path}"), body).await
}

async fn in_home(State(pair): State<PairState>, request: Request) -> Result<Response, Refused> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/backups") {
        return in_writing(&pair, &path, request).await;
    }
    let (method, body) = taken(request).await?;
    forward(&pair, Side::Home, method, &path, body).await
}

/// Has the region answer that accepts changes; the home if none does.
async fn in_writing(pair: &RunningPair, path: &str, request: Request) -> Result<Response, Refused> {
    let standby = pair.collect(Side::Standby).await;
    let home_is_there = pair.client(Side::Home).is_ok();
    let in_standby = standby.is_some_and(|report| report.writes || !home_is_there);
    let side = if in_standby { Side::Standby } else { Side::Home };
    let (method, body) = taken(request).await?;
    forward(pair, side, method, path, body).await
}

async fn taken(request: Request) -> Result<(Method, Bytes), Refused> {
    let method = request.method().clone();
    let body = Limited::new(request.into_body(), MAX_BODY_LEN).collect().await;
    let body = body.map_err(|_| Refused {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        why: format!("the body of the request cannot be read, or has more than {MAX_BODY_LEN} bytes"),
    })?;
    Ok((method, body.to_bytes()))
}

/// A region's own answer.
async fn forward(
    pair: &RunningPair,
    side: Side,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response, Refused> {
    let client = pair.client(side)?;
    let (status, body) = client.forward(method, path, body).await.map_err(PairError::from)?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl From<PairError> for Refused {
    fn from(error: PairError) -> Self {
        let status = match &error {
            PairError::NoSuchRegion { .. } | PairError::NoSuchParty { .. } | PairError::NoLink(..) => {
                StatusCode::NOT_FOUND
            }
            PairError::Lost { .. } | PairError::Starting { .. } | PairError::Region(_) => {
                StatusCode::CONFLICT
            }
            PairError::Process(_) | PairError::Clock(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, why: error_chain(&error) }
    }
}
