//! The region's side of the control API.

use super::model::{AdvanceRequest, ClockStatus, FaultKind, FaultRequest, Status, Target, UnitStatus};
use crate::region::{ControlledRegion, Fault, SupervisorError};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// What the handlers work on.
pub type ControlState = Arc<ControlledRegion>;

/// How much longer a slow unit takes where nobody says.
const DEFAULT_SLOW_MS: u64 = 50;

/// The control API of a region.
#[must_use]
pub fn router(state: ControlState) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/fault", post(fault))
        .route("/heal", post(heal))
        .route("/clock", get(clock))
        .route("/clock/advance", post(advance))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is no such control; see `hsm-sim help`") })
        .layer(middleware::from_fn(no_web_pages))
        .with_state(state)
}

/// A page in the user's browser can reach the loopback interface; it always says where it comes from.
async fn no_web_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return refuse(StatusCode::FORBIDDEN, "the control API is not for web pages");
    }
    next.run(request).await
}

async fn status(State(region): State<ControlState>) -> Response {
    answer(&region_status(&region))
}

async fn clock(State(region): State<ControlState>) -> Response {
    answer(&clock_status(&region))
}

async fn advance(State(region): State<ControlState>, body: Bytes) -> Response {
    let request: AdvanceRequest = match parse(&body, "{\"seconds\": 60}") {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    match region.clock.advance(Duration::from_secs(request.seconds)) {
        Ok(_) => answer(&clock_status(&region)),
        Err(e) => failure(StatusCode::INTERNAL_SERVER_ERROR, &e),
    }
}

async fn fault(State(region): State<ControlState>, body: Bytes) -> Response {
    let request: FaultRequest = match parse(&body, "{\"fault\": \"kill\", \"target\": {\"unit\": 1}}") {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let units = match targets(&region, &request.target) {
        Ok(units) => units,
        Err(refusal) => return refusal,
    };
    for unit in units {
        let slow_by = Duration::from_millis(request.slow_by_ms.unwrap_or(DEFAULT_SLOW_MS));
        let done = match request.fault {
            FaultKind::Kill => region.supervisor.fault(unit, Fault::Killed).await,
            FaultKind::Pause => region.supervisor.fault(unit, Fault::Paused).await,
            FaultKind::Slow => region.supervisor.fault(unit, Fault::Slow(slow_by)).await,
            FaultKind::Zeroize => match region.zeroize(unit).await {
                Ok(()) => Ok(()),
                Err(e) => return failure(StatusCode::CONFLICT, &e),
            },
        };
        if let Err(e) = done {
            return supervisor_failure(&e);
        }
    }
    answer(&region_status(&region))
}

async fn heal(State(region): State<ControlState>, body: Bytes) -> Response {
    let target: Target = match parse(&body, "{\"unit\": 1}, {\"zone\": \"az1\"} or \"all\"") {
        Ok(target) => target,
        Err(refusal) => return refusal,
    };
    let units = match targets(&region, &target) {
        Ok(units) => units,
        Err(refusal) => return refusal,
    };
    for unit in units {
        if let Err(e) = region.supervisor.heal(unit).await {
            return supervisor_failure(&e);
        }
        if let Err(e) = region.load_master_key(unit).await {
            return failure(StatusCode::CONFLICT, &e);
        }
    }
    answer(&region_status(&region))
}

/// The numbers of the units a target stands for; a zone without units is none.
fn targets(region: &ControlledRegion, target: &Target) -> Result<Vec<u16>, Response> {
    let units = region.supervisor.units();
    match target {
        Target::All => Ok(units.iter().map(|u| u.unit).collect()),
        Target::Unit(unit) => match region.supervisor.unit(*unit) {
            Ok(found) => Ok(vec![found.unit]),
            Err(e) => Err(supervisor_failure(&e)),
        },
        Target::Zone(zone) if crate::region::ZONES.contains(&zone.as_str()) => {
            Ok(units.iter().filter(|u| u.zone == zone).map(|u| u.unit).collect())
        }
        Target::Zone(zone) => {
            let zones = crate::region::ZONES.join(", ");
            Err(refuse(StatusCode::NOT_FOUND, &format!("there is no zone `{zone}`; this region has {zones}")))
        }
    }
}

fn region_status(region: &ControlledRegion) -> Status {
    let seen = region.host.units();
    let units: Vec<UnitStatus> = region
        .supervisor
        .units()
        .into_iter()
        .map(|process| {
            let view = seen.iter().find(|view| view.number == process.unit);
            UnitStatus {
                unit: process.unit,
                zone: process.zone.to_owned(),
                pid: process.pid,
                state: view.map_or_else(|| "unknown".to_owned(), |v| v.state.to_string()),
                reason: view.map_or_else(String::new, |v| v.reason.clone()),
                fault: process.fault.map(|fault| fault.to_string()),
                restarts: process.restarts,
                pattern: view.and_then(|v| v.pattern).map(|pattern| pattern.to_string()),
                served: view.map_or(0, |v| v.served),
                failed: view.map_or(0, |v| v.failed),
                outstanding: view.map_or(0, |v| v.outstanding),
                p50_us: view.map_or(0, |v| micros(v.p50)),
                p99_us: view.map_or(0, |v| micros(v.p99)),
                socket: process.socket.display().to_string(),
            }
        })
        .collect();
    let serving = units.iter().filter(|unit| unit.serves()).count();
    let state = match serving {
        0 => "locked",
        n if n == units.len() => "ready",
        _ => "degraded",
    };
    Status {
        region: region.name.clone(),
        state: state.to_owned(),
        zones: crate::region::ZONES.map(str::to_owned).to_vec(),
        pattern: region.pattern().to_string(),
        units,
        clock: clock_status(region),
    }
}

fn clock_status(region: &ControlledRegion) -> ClockStatus {
    let now =
        jiff::Timestamp::from_second(i64::try_from(region.clock.since_epoch().as_secs()).unwrap_or(i64::MAX));
    ClockStatus {
        now: now.map_or_else(|_| "out of range".to_owned(), |now| now.to_string()),
        ahead_s: region.clock.ahead().as_secs(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// JSON whatever its content type says, so that any client will do.
fn parse<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|e| {
        refuse(StatusCode::BAD_REQUEST, &format!("the body is not as expected ({e}); send {example}"))
    })
}

fn answer<T: Serialize>(body: &T) -> Response {
    axum::Json(body).into_response()
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "error": why }))).into_response()
}

fn supervisor_failure(error: &SupervisorError) -> Response {
    let status = match error {
        SupervisorError::NoSuchUnit { .. } => StatusCode::NOT_FOUND,
        SupervisorError::NotRunning(_) => StatusCode::CONFLICT,
        SupervisorError::Process { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    failure(status, error)
}

fn failure(status: StatusCode, error: &dyn Error) -> Response {
    refuse(status, &crate::cli::with_causes(error))
}
