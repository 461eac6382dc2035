//! `DELETE /v1/tke/{instance}`: removal of an instance; `?destroy_keys=true` gives up keys that are left.
//!
//! All crypto units have to be zeroized first, although other instances may share them: their master key is gone then, so
//! the removal asks nothing of a unit and works after a restart too. A refusal (409) names everything that prevents it.
//! Removing an instance that is already gone succeeds.
//!
//! A node that is open stays open and answers for the instance with 404. The instance is created again after the node
//! has been restarted and its units have been given a master key.

use super::port::{Administration, RemovalObstacles, RemovalOutcome};
use super::{Failure, InstanceAccess, TkeState};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use wire::tke::{KeyedUnit, RemovalOptions, RemovalRefusal, RemovalResponse};

pub(super) async fn remove<A: Administration>(
    InstanceAccess { caller, instance }: InstanceAccess,
    State(state): State<Arc<TkeState<A>>>,
    Query(options): Query<RemovalOptions>,
) -> Result<Response, Failure> {
    let outcome = state.node.remove_instance(&caller, instance, options.destroy_keys).await?;
    Ok(match outcome {
        RemovalOutcome::Removed { entries } => Json(RemovalResponse {
            entries: u64::try_from(entries).unwrap_or(u64::MAX),
            instance: instance.0,
            next: "restart the region and set its units up before using the instance again".to_owned(),
        })
        .into_response(),
        RemovalOutcome::Refused(obstacles) => {
            (StatusCode::CONFLICT, Json(refusal(obstacles))).into_response()
        }
    })
}

fn refusal(RemovalObstacles { units, keys, unreadable }: RemovalObstacles) -> RemovalRefusal {
    let mut reasons: Vec<String> = Vec::new();
    if keys != 0 && unreadable {
        reasons.push(format!(
            "{keys} keys are left, and no unit can open their records to tell deleted keys apart"
        ));
    } else if keys != 0 {
        reasons.push(format!("{keys} keys are left that are not deleted"));
    }
    reasons.extend(units.iter().map(|(unit, why)| format!("unit {unit} {why}")));
    RemovalRefusal {
        error: format!("the instance cannot be deleted: {}", reasons.join("; ")),
        keys: u64::try_from(keys).unwrap_or(u64::MAX),
        unreadable,
        units: units.into_iter().map(|(unit, why)| KeyedUnit { unit, why }).collect(),
    }
}
