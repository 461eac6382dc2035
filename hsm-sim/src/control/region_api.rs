//! What a region of a pair reports to the pair's control API, and does for it.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /region` | | [`RegionReport`] |
//! | `POST /region/promote` | [`PromoteRequest`] | [`RegionReport`] |
//! | `GET /region/replicated/REVISION?wait_ms=…` | | [`ReplicatedReport`] |

use super::api::{ControlState, Refused, parse};
use super::pair_model::{
    GivenUp, PromoteRequest, RegionEvent, RegionReport, ReplicatedQuery, ReplicatedReport,
};
use crate::pair::timeline::shown;
use crate::region::ControlledRegion;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use kms::replica::SourcePosition;
use node::region::{NotReplicated, RegionHandle, RegionStatus, TimedEvent};
use regions::{Copy, Event, Means, TakeOver, WallTime};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use wire::text::error_chain;

/// How long an order to take over is waited for. It goes on afterwards.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at an order to take over.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn routes() -> Router<ControlState> {
    Router::new()
        .route("/region", get(report))
        .route("/region/promote", post(promote))
        .route("/region/replicated/{revision}", get(replicated))
}

async fn report(State(region): State<ControlState>) -> Result<Json<RegionReport>, Refused> {
    report_of(&region).map(Json)
}

async fn promote(State(region): State<ControlState>, body: Bytes) -> Result<Json<RegionReport>, Refused> {
    let request: PromoteRequest = parse(&body, "{\"home_is_down\": true}")?;
    let handle = handle(&region)?;
    let order =
        TakeOver { partner_is_down: request.home_is_down, accept_divergence: request.accept_divergence };
    let before = handle.events().len();
    handle.take_over(order).await.map_err(|refused| match refused {
        Some(refused) => conflict(format!("{}: {refused}", region.identity.region)),
        None => conflict("the region has just started; repeat the command".to_owned()),
    })?;
    let deadline = Instant::now() + TAKE_OVER_PATIENCE;
    loop {
        let report = report_of(&region)?;
        if report.writes {
            return Ok(Json(report));
        }
        let failed = handle.events().into_iter().skip(before).find_map(|timed| match timed.event {
            Event::AttemptFailed { why } => Some(why),
            _ => None,
        });
        if let Some(why) = failed {
            return Err(conflict(format!("{} did not take over: {why}", region.identity.region)));
        }
        if Instant::now() > deadline {
            let why =
                "the region is still taking over; `hsm-sim region status` shows when it accepts changes";
            return Err(Refused { status: StatusCode::GATEWAY_TIMEOUT, why: why.to_owned() });
        }
        sleep(LOOK).await;
    }
}

async fn replicated(
    State(region): State<ControlState>,
    Path(revision): Path<String>,
    Query(ReplicatedQuery { wait_ms }): Query<ReplicatedQuery>,
) -> Result<Json<ReplicatedReport>, Refused> {
    let handle = handle(&region)?;
    let change = SourcePosition::from_text(&revision).ok_or_else(|| Refused {
        status: StatusCode::BAD_REQUEST,
        why: format!(
            "`{revision}` is not a revision: expected the header hsm-revision of the answer to a change"
        ),
    })?;
    let reason = match handle.wait_replicated(change, Duration::from_millis(wait_ms)).await {
        Ok(()) => String::new(),
        Err(error @ NotReplicated::Store(_)) => {
            return Err(Refused { status: StatusCode::SERVICE_UNAVAILABLE, why: error_chain(&error) });
        }
        Err(not_yet) => not_yet.to_string(),
    };
    Ok(Json(ReplicatedReport { revision, replicated: reason.is_empty(), reason }))
}

fn conflict(why: String) -> Refused {
    Refused { status: StatusCode::CONFLICT, why }
}

fn handle(region: &ControlledRegion) -> Result<RegionHandle, Refused> {
    let why = "this region has no standby: start a pair with, for example, `hsm-sim up --profile kp-2025`";
    region.node.region().ok_or_else(|| Refused { status: StatusCode::NOT_FOUND, why: why.to_owned() })
}

fn report_of(region: &ControlledRegion) -> Result<RegionReport, Refused> {
    let handle = handle(region)?;
    let Some(RegionStatus {
        side,
        site,
        writes_refused,
        serves,
        is_connected,
        lag_revisions,
        lag,
        given_up,
        ..
    }) = handle.status()
    else {
        return Err(conflict("the region has just started; repeat the command".to_owned()));
    };
    let data = match site.copy {
        Copy::Incomplete => "incomplete",
        Copy::Complete => "complete",
        Copy::Behind => "behind",
        Copy::Diverged => "diverged",
    };
    Ok(RegionReport {
        name: region.identity.region.clone(),
        role: side.to_string(),
        state: site.state.to_string(),
        epoch: site.epoch.number(),
        writes: site.writes,
        writes_refused: writes_refused.map(|refused| refused.to_string()).unwrap_or_default(),
        serves,
        taking_over: site.taking_over,
        is_connected,
        data: data.to_owned(),
        lag_revisions,
        lag_seconds: lag.map(|lag| lag.as_secs_f64()),
        given_up: given_up
            .map(|lost| GivenUp { changes: lost.changes, keys: lost.keys.into_iter().collect() }),
        lost_since: site.lost_since.map(wall),
        write_enable_at: site.write_enable_at.map(wall),
        unheard_seconds: site.unheard_for.as_secs_f64(),
        events: handle.events().iter().map(event).collect(),
    })
}

fn wall(at: WallTime) -> String {
    Timestamp::from_millisecond(at.millis()).map(shown).unwrap_or_default()
}

fn event(TimedEvent { at, event, .. }: &TimedEvent) -> RegionEvent {
    let (event, text) = match event {
        Event::Lost => ("lost", "the other region is lost; this one serves read-only".to_owned()),
        Event::Found => ("found", "the other region answers again".to_owned()),
        Event::TookOver { epoch, cause, means } => {
            let means = match means {
                Means::Handover => "the other region handed over",
                Means::Fence => "the other region is fenced",
            };
            ("took-over", format!("took the right to write, epoch {epoch}: {cause}; {means}"))
        }
        Event::Writes { epoch } => ("writes", format!("accepts changes, epoch {epoch}")),
        Event::Froze => ("froze", "stands still, so that the other region can take over".to_owned()),
        Event::Thawed => ("thawed", "writes on: the other region did not take over".to_owned()),
        Event::GaveAway { epoch } => ("gave-away", format!("gave the right to write away, epoch {epoch}")),
        Event::SteppedDown { epoch } => {
            ("stepped-down", format!("stopped writing: the other region has epoch {epoch}"))
        }
        Event::AttemptFailed { why } => ("attempt-failed", format!("did not take over: {why}")),
    };
    RegionEvent { clock: shown(*at), event: event.to_owned(), text }
}
