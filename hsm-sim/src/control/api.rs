//! Server of the control API.

use super::model::{
    AddUnitRequest, AddedUnit, AdvanceRequest, ClockStatus, FaultKind, FaultRequest, RemoveUnitRequest,
    Status, Target, UnitStatus,
};
use crate::region::{
    CeremonyError, ControlledRegion, DataError, Fault, MembershipError, SupervisorError, UnitProcess,
    UnitReport, ZONES,
};
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use host::UnitView;
use serde::de::DeserializeOwned;
use server::auth::SharedToken;
use std::sync::Arc;
use std::time::Duration;
use wire::text::error_chain;

/// State of the handlers.
pub type ControlState = Arc<ControlledRegion>;

/// How long a request waits for units to be admitted before it is answered.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(3);
/// Delay of each command of a slow unit if the request names none.
const DEFAULT_SLOW_MS: u64 = 50;

/// The control API of a region.
pub fn router(state: ControlState) -> Router {
    let routes = Router::new()
        .route("/status", get(status))
        .route("/fault", post(fault))
        .route("/heal", post(heal))
        .route("/units", post(add_unit))
        .route("/units/{unit}/drain", post(drain_unit))
        .route("/units/{unit}/resume", post(resume_unit))
        .route("/units/{unit}/remove", post(remove_unit))
        .route("/clock", get(clock))
        .route("/clock/advance", post(advance))
        .merge(super::backup_api::routes())
        .merge(super::region_api::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), authorize))
        .with_state(state);
    // A change is not left half done when its caller hangs up.
    server::to_completion(routes)
}

/// Refuses requests without the control token, and those with an `Origin` header: a web page in the user's browser can
/// reach the loopback interface, and the browser always sends its origin.
async fn authorize(
    State(region): State<ControlState>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    check_caller(&region.control_token, &request)?;
    Ok(next.run(request).await)
}

/// What [`authorize`] says, for the control APIs of regions and of pairs.
pub(super) fn check_caller(token: &SharedToken, request: &Request) -> Result<(), Refused> {
    let refused = |status, why: &str| Err(Refused { status, why: why.to_owned() });
    if request.headers().contains_key(header::ORIGIN) {
        return refused(StatusCode::FORBIDDEN, "the control API is not for web pages");
    }
    if !token.is_in(request.headers(), request.extensions()) {
        return refused(
            StatusCode::UNAUTHORIZED,
            "the control API needs the region's control token, as `Authorization: Bearer TOKEN`: it is `control_token` in \
             ready.json, which only the region's user can read in its data directory",
        );
    }
    Ok(())
}

/// Refuses what loses or expires data in a region that was not started for it.
pub(super) fn check_faults(are_allowed: bool) -> Result<(), Refused> {
    if are_allowed {
        return Ok(());
    }
    Err(Refused {
        status: StatusCode::FORBIDDEN,
        why: "faults and clock changes are off in this region, since they can lose or expire its keys: to allow them, stop \
              it and start it with `hsm-sim up --faults`"
            .to_owned(),
    })
}

async fn nothing_here(uri: Uri) -> Refused {
    let of_pair = ["/pair/", "/regions/"].iter().any(|prefix| uri.path().starts_with(prefix));
    let why = if of_pair {
        "this is a single region, without a standby: start a pair with `hsm-sim up --profile kp-2025`, or leave out --region"
    } else {
        "unknown path of the control API; see `hsm-sim help`"
    };
    Refused { status: StatusCode::NOT_FOUND, why: why.to_owned() }
}

pub(super) async fn wrong_method() -> Refused {
    Refused {
        status: StatusCode::METHOD_NOT_ALLOWED,
        why: "this path of the control API has another method: GET for the status and the clock, POST for changes"
            .to_owned(),
    }
}

async fn status(State(region): State<ControlState>) -> Json<Status> {
    Json(region_status(&region).await)
}

async fn clock(State(region): State<ControlState>) -> Json<ClockStatus> {
    Json(clock_status(&region))
}

async fn advance(State(region): State<ControlState>, body: Bytes) -> Result<Json<ClockStatus>, Refused> {
    check_faults(region.faults)?;
    let request: AdvanceRequest = parse(&body, "{\"seconds\": 60}")?;
    region.clock.advance(Duration::from_secs(request.seconds))?;
    Ok(Json(clock_status(&region)))
}

async fn fault(State(region): State<ControlState>, body: Bytes) -> Result<Json<Status>, Refused> {
    check_faults(region.faults)?;
    let request: FaultRequest = parse(&body, "{\"fault\": \"kill\", \"target\": {\"unit\": 1}}")?;
    let slow_by = Duration::from_millis(request.slow_by_ms.unwrap_or(DEFAULT_SLOW_MS));
    for unit in targets(&region, &request.target)? {
        match request.fault {
            FaultKind::Kill => region.supervisor.fault(unit, Fault::Killed).await?,
            FaultKind::Pause => region.supervisor.fault(unit, Fault::Paused).await?,
            FaultKind::Slow => region.supervisor.fault(unit, Fault::Slow(slow_by)).await?,
            FaultKind::Zeroize => region.zeroize(unit).await?,
            FaultKind::Tamper => region.tamper(unit).await?,
        }
    }
    Ok(Json(region_status(&region).await))
}

async fn heal(State(region): State<ControlState>, body: Bytes) -> Result<Json<Status>, Refused> {
    let target: Target = parse(&body, "{\"unit\": 1}, {\"zone\": \"az1\"} or \"all\"")?;
    let units = targets(&region, &target)?;
    // Heal the other units even if one cannot be healed.
    let mut failed = None;
    for unit in &units {
        if let Err(e) = region.heal(*unit).await {
            failed = failed.or(Some(Refused::from(e)));
        }
    }
    if let Some(e) = failed {
        return Err(e);
    }
    Ok(Json(status_once_in_use(&region, &units).await))
}

async fn add_unit(State(region): State<ControlState>, body: Bytes) -> Result<Json<AddedUnit>, Refused> {
    let request: AddUnitRequest = parse(&body, "{\"zone\": \"az3\"}")?;
    let unit = region.add_unit(request.zone.as_deref()).await?;
    let status = status_once_in_use(&region, &[unit]).await;
    Ok(Json(AddedUnit { unit, status }))
}

// Bodies are read although nothing is in them: the connection would end with the answer otherwise.

async fn drain_unit(
    State(region): State<ControlState>,
    UnitPath(unit): UnitPath,
    _body: Bytes,
) -> Result<Json<Status>, Refused> {
    region.drain_unit(unit).await?;
    Ok(Json(region_status(&region).await))
}

async fn resume_unit(
    State(region): State<ControlState>,
    UnitPath(unit): UnitPath,
    _body: Bytes,
) -> Result<Json<Status>, Refused> {
    region.resume_unit(unit).await?;
    Ok(Json(status_once_in_use(&region, &[unit]).await))
}

async fn remove_unit(
    State(region): State<ControlState>,
    UnitPath(unit): UnitPath,
    body: Bytes,
) -> Result<Json<Status>, Refused> {
    let request: RemoveUnitRequest = parse(&body, "{\"lost\": false}")?;
    region.remove_unit(unit, request.lost).await?;
    Ok(Json(region_status(&region).await))
}

/// The number of a unit in a path.
struct UnitPath(u16);

impl FromRequestParts<ControlState> for UnitPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, Refused> {
        match Path::<u16>::from_request_parts(parts, state).await {
            Ok(Path(unit)) => Ok(Self(unit)),
            Err(_) => Err(Refused {
                status: StatusCode::NOT_FOUND,
                why: "the path has no valid unit number; a unit's path is, for example, /units/1/drain"
                    .to_owned(),
            }),
        }
    }
}

/// The status once the host uses those of these units that are operational. If admission takes longer than a short wait, the status gives the reason.
async fn status_once_in_use(region: &ControlledRegion, units: &[u16]) -> Status {
    let operational = region.supervisor.units().into_iter().filter(UnitProcess::is_operational);
    let awaited: Vec<u16> = operational.map(|unit| unit.unit).filter(|unit| units.contains(unit)).collect();
    let in_use = |views: &[UnitView]| {
        awaited.iter().all(|unit| views.iter().any(|view| view.number == *unit && view.in_use))
    };
    if let (Some(host), true) = (region.node.host(), region.heals_keys()) {
        let _ = host.wait_until(ADMISSION_PATIENCE, in_use).await;
    }
    region_status(region).await
}

/// Numbers of the units that a target stands for; empty for a zone without units.
fn targets(region: &ControlledRegion, target: &Target) -> Result<Vec<u16>, Refused> {
    let units = region.supervisor.units();
    match target {
        Target::All => Ok(units.iter().map(|u| u.unit).collect()),
        Target::Unit(unit) => Ok(vec![region.supervisor.unit(*unit)?.unit]),
        Target::Zone(zone) if zones(&units).contains(zone) => {
            Ok(units.iter().filter(|u| u.place.zone == *zone).map(|u| u.unit).collect())
        }
        Target::Zone(zone) => {
            let why = format!("there is no zone `{zone}`; this region has {}", zones(&units).join(", "));
            Err(Refused { status: StatusCode::NOT_FOUND, why })
        }
    }
}

/// The zones of the region, and the zones of other regions that have units of its instance.
fn zones(units: &[UnitProcess]) -> Vec<String> {
    let mut zones = ZONES.map(str::to_owned).to_vec();
    for unit in units {
        if !zones.contains(&unit.place.zone) {
            zones.push(unit.place.zone.clone());
        }
    }
    zones
}

async fn region_status(region: &ControlledRegion) -> Status {
    let reports = region.reports().await;
    let seen = region.node.host().as_ref().map(host::Host::units).unwrap_or_default();
    let processes = region.supervisor.units();
    let zones = zones(&processes);
    let unit = |process: UnitProcess| {
        let view = seen.iter().find(|view| view.number == process.unit);
        let report = reports.iter().find(|report| report.unit == process.unit);
        unit_status(process, view, report)
    };
    let units: Vec<UnitStatus> = processes.into_iter().map(unit).collect();
    Status {
        region: region.identity.region.clone(),
        state: region.state().to_owned(),
        waiting_for: region.node.waiting_for(),
        instance: region.identity.instance_id.to_string(),
        ceremony: region.identity.ceremony.to_string(),
        zones,
        pattern: region.pattern().map(|pattern| pattern.to_string()),
        units,
        clock: clock_status(region),
        unconfirmed_upgrade: region.has_unconfirmed_upgrade(),
    }
}

fn unit_status(process: UnitProcess, view: Option<&UnitView>, report: Option<&UnitReport>) -> UnitStatus {
    let operational = process.is_operational();
    let state = match view {
        Some(view) => view.state,
        None if operational => "unknown",
        None => "standby",
    };
    // A unit that cannot reach its keys does not answer, and its process has announced why. Otherwise the host's reason
    // counts; for a unit that the host does not use, the reason why it did not report its status.
    let reason = match (process.down.clone(), view) {
        (Some(why), _) => why,
        (None, Some(view)) => view.reason.clone(),
        (None, None) => report.and_then(|report| report.silent.clone()).unwrap_or_default(),
    };
    let current = report.and_then(|report| report.current).or(view.and_then(|view| view.pattern));
    UnitStatus {
        unit: process.unit,
        kind: process.place.kind.name().to_owned(),
        location: process.place.location.to_string(),
        zone: process.place.zone,
        engine: process.engine,
        lifecycle: report.map_or("unreachable", |report| report.lifecycle).to_owned(),
        imprint_mode: report.and_then(|report| report.imprint),
        administrators: report.and_then(|report| report.administrators),
        signature_threshold: report.and_then(|report| report.signature_threshold),
        revocation_threshold: report.and_then(|report| report.revocation_threshold),
        pid: process.pid,
        state: state.to_owned(),
        reason,
        fault: process.fault.map(|fault| fault.to_string()),
        restarts: process.restarts,
        pattern: current.map(|pattern| pattern.to_string()),
        served: view.map_or(0, |v| v.served),
        failed: view.map_or(0, |v| v.failed),
        outstanding: view.map_or(0, |v| v.outstanding),
        p50_us: view.map_or(0, |v| micros(v.p50)),
        p99_us: view.map_or(0, |v| micros(v.p99)),
        socket: process.socket.display().to_string(),
    }
}

fn clock_status(region: &ControlledRegion) -> ClockStatus {
    ClockStatus::of(&region.clock)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Parses JSON, whatever the content type of the request.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|e| Refused {
        status: StatusCode::BAD_REQUEST,
        why: format!("invalid request body ({e}); expected, for example: {example}"),
    })
}

/// A refused request: why, and the status code that shows whether the caller can correct it.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(serde_json::json!({ "error": self.why }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<SupervisorError> for Refused {
    fn from(error: SupervisorError) -> Self {
        let status = match error {
            SupervisorError::NoSuchUnit { .. } => StatusCode::NOT_FOUND,
            SupervisorError::NotRunning(_) | SupervisorError::Down { .. } => StatusCode::CONFLICT,
            SupervisorError::Process { .. } | SupervisorError::OrderFailed { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self { status, why: error_chain(&error) }
    }
}

impl From<CeremonyError> for Refused {
    fn from(error: CeremonyError) -> Self {
        match error {
            CeremonyError::Supervisor(error) => error.into(),
            // The state of the unit does not allow it.
            error => Self { status: StatusCode::CONFLICT, why: error_chain(&error) },
        }
    }
}

impl From<MembershipError> for Refused {
    fn from(error: MembershipError) -> Self {
        let status = match error {
            MembershipError::Supervisor(error) => return error.into(),
            MembershipError::Data(error) => return error.into(),
            MembershipError::NoSuchZone(_) => StatusCode::NOT_FOUND,
            MembershipError::Placement(_)
            | MembershipError::NotOperational { .. }
            | MembershipError::Rotation
            | MembershipError::NotServing
            | MembershipError::Host { .. }
            | MembershipError::LastUnit(_)
            | MembershipError::StillBusy { .. }
            | MembershipError::NotZeroized { .. }
            | MembershipError::NotInService { .. } => StatusCode::CONFLICT,
            MembershipError::Store(_) | MembershipError::NotStored { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self { status, why: error_chain(&error) }
    }
}

impl From<DataError> for Refused {
    fn from(error: DataError) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, why: error_chain(&error) }
    }
}
