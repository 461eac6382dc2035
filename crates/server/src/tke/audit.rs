//! `GET …/hsms/{hsm_id}/audit`: audit records of a unit that the service has kept.

use super::port::Administration;
use super::{Access, Failure, TkeState, units};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use std::sync::Arc;
use wire::text::error_chain;
use wire::tke::{AuditOptions, KeptAudit};

pub(super) async fn show<A: Administration>(
    _: Access,
    State(state): State<Arc<TkeState<A>>>,
    Path((_, hsm_id)): Path<(String, String)>,
    options: Result<Query<AuditOptions>, QueryRejection>,
) -> Result<Json<KeptAudit>, Failure> {
    let no_unit = || Failure::new(StatusCode::NOT_FOUND, "the instance has no such crypto unit");
    let (unit, _) = units::find(&*state.node, &hsm_id).ok_or_else(no_unit)?;
    let Query(options) = options
        .map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "`first` must be: the number of a record"))?;
    match state.node.kept_audit(&unit, options.first).await {
        Ok(Some(kept)) => Ok(Json(kept)),
        Ok(None) => Err(Failure::new(StatusCode::NOT_FOUND, "the service keeps no audit records")),
        Err(e) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error_chain(&e))),
    }
}
