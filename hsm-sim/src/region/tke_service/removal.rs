//! Deleting an instance: `DELETE /v1/tke/{instance}`, `?destroy_keys=true` to give up keys that are left.
//!
//! Of the region's two instances it is the named one; both have the same units, all of which have to be zeroized. With
//! them the master key is gone, so that nothing is asked of a unit here, and it works after a restart too. A refusal (409)
//! names all that stands in the way: `{"error": "…", "units": [{"unit": 1, "why": "…"}], "keys": 3, "unreadable": false}`.
//! A repeat of a deletion that was done finds nothing, and succeeds.
//!
//! A service that is open goes on to be open: it says of the instance that there is none (404). The instance is made anew
//! once the region has been started again and its units have been given a master key.

use super::{Failure, TkeService};
use crate::cli::with_causes;
use crate::region::look::{Look, is_imprint, look_at};
use crate::region::service::{PATIENCE, SERVICE, Service, instances};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kms::{Call, InstanceId, KeyQuery, KmsError, OsRng, RemovalError, StateSet, StoredInstance};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use unit_api::Condition;
use uuid::Uuid;

#[derive(Deserialize)]
pub(super) struct Options {
    /// Keys that are left are no obstacle.
    #[serde(default)]
    destroy_keys: bool,
}

/// A unit that is not zeroized.
#[derive(Serialize)]
struct KeyedUnit {
    unit: u16,
    why: String,
}

/// Keys of the instance that are not deleted.
#[derive(Clone, Copy)]
struct KeysLeft {
    count: usize,
    /// No unit can open their records to tell which of them are deleted: all are counted.
    unreadable: bool,
}

/// All that stands in the way, never nothing.
struct Obstacles {
    units: Vec<KeyedUnit>,
    keys: KeysLeft,
}

pub(super) async fn remove(
    State(tke): State<Arc<TkeService>>,
    path: Path<String>,
    options: Query<Options>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let service = &tke.service;
    let caller = service.caller(&headers).ok_or_else(Failure::stranger)?;
    let instance = named(service, &path)
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "there is no such instance here"))?;
    // Where nothing is open yet, nothing opens meanwhile: there is no writer but this.
    let _none_is_made = service.hold_opening().await;
    let stored = StoredInstance::look(service.store(), instance, PATIENCE).await?;
    let keys = match options.destroy_keys {
        true => KeysLeft { count: 0, unreadable: false },
        false => keys_left(service, &stored).await?,
    };
    // Of an instance that is gone, the units are another's.
    let units = if stored.exists() { keyed_units(service).await } else { Vec::new() };
    if !units.is_empty() || keys.count != 0 {
        return Ok(Obstacles { units, keys }.into_response());
    }
    let entries = stored.remove(service.store(), &OsRng, PATIENCE).await?;
    if stored.exists() {
        eprintln!("hsm-sim: {caller} has deleted instance {instance}: {entries} entries are removed");
    }
    let next = "start the region again, and set its units up, before the instance is used anew";
    let done = serde_json::json!({ "instance": instance.to_string(), "entries": entries, "next": next });
    Ok(Json(done).into_response())
}

fn named(service: &Service, path: &str) -> Option<InstanceId> {
    let named = InstanceId(Uuid::try_parse(path).ok()?);
    instances(service.identity()).contains(&named).then_some(named)
}

async fn keys_left(service: &Service, stored: &StoredInstance) -> Result<KeysLeft, Failure> {
    let none = KeysLeft { count: 0, unreadable: false };
    if !stored.exists() || stored.records == 0 {
        return Ok(none);
    }
    let unreadable = KeysLeft { count: stored.records, unreadable: true };
    let Some(kms) = service.kms() else { return Ok(unreadable) };
    let call = Call { instance: stored.instance, caller: SERVICE, deadline: PATIENCE };
    let query = KeyQuery { states: StateSet::LIVE, ..KeyQuery::default() };
    match kms.count_keys(&call, &query).await {
        Ok(count) => Ok(KeysLeft { count, unreadable: false }),
        Err(KmsError::Units(_)) => Ok(unreadable),
        Err(e) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, with_causes(&e))),
    }
}

async fn keyed_units(service: &Service) -> Vec<KeyedUnit> {
    let looks = look_at(service.supervisor().units()).await;
    looks.iter().filter_map(|look| Some(KeyedUnit { unit: look.process.unit, why: keyed(look)? })).collect()
}

/// Why a unit does not count as zeroized.
fn keyed(look: &Look) -> Option<String> {
    match &look.status {
        Err(why) => Some(format!("cannot be asked ({why})")),
        Ok(status) => match status.condition {
            Condition::Error(code) => Some(format!("is in its error state (0x{code:04x})")),
            Condition::Operational if is_imprint(status) => None,
            Condition::Operational => Some("is not in imprint mode".to_owned()),
        },
    }
}

impl IntoResponse for Obstacles {
    fn into_response(self) -> Response {
        let Self { units, keys: KeysLeft { count, unreadable } } = self;
        let mut reasons: Vec<String> = Vec::new();
        if count != 0 && unreadable {
            reasons.push(format!(
                "{count} keys are left, and no unit can open their records to tell which of them are deleted"
            ));
        } else if count != 0 {
            reasons.push(format!("{count} keys are left that are not deleted"));
        }
        reasons.extend(units.iter().map(|KeyedUnit { unit, why }| format!("unit {unit} {why}")));
        let body = serde_json::json!({
            "error": format!("the instance cannot be deleted: {}", reasons.join("; ")),
            "units": units, "keys": count, "unreadable": unreadable,
        });
        (StatusCode::CONFLICT, Json(body)).into_response()
    }
}

impl From<RemovalError> for Failure {
    fn from(error: RemovalError) -> Self {
        let status = match &error {
            RemovalError::Changed(_) => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, with_causes(&error))
    }
}
