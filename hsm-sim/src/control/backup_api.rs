//! Backups of a region, in its control API.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /backups` | | [`BackupList`] |
//! | `POST /backups` | | [`BackupList`] of those that were made |
//! | `POST /backups/NAME/verify` | | [`TestReport`] |
//! | `POST /backups/restore` | [`RestoreRequest`] | [`RestoredReport`] |

use super::api::{ControlState, Refused, parse};
use super::backup_model::{BackupList, BackupReport, RestoreRequest, RestoredInstance, RestoredReport};
use crate::region::ControlledRegion;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use node::backup::{BackupFile, MakeError, NodeRestoreError, TestReport};
use std::collections::BTreeMap;
use std::path::PathBuf;
use wire::text::error_chain;

pub(super) fn routes() -> Router<ControlState> {
    Router::new()
        .route("/backups", get(list).post(make))
        .route("/backups/restore", post(restore))
        .route("/backups/{name}/verify", post(verify))
}

async fn list(State(region): State<ControlState>) -> Json<BackupList> {
    Json(listed(&region.node.list_backups()))
}

// Bodies are read although nothing is in them: the connection would end with the answer otherwise.

async fn make(State(region): State<ControlState>, _body: Bytes) -> Result<Json<BackupList>, Refused> {
    Ok(Json(listed(&region.node.back_up().await?)))
}

async fn verify(
    State(region): State<ControlState>,
    Path(name): Path<String>,
    _body: Bytes,
) -> Result<Json<TestReport>, Refused> {
    Ok(Json(region.node.test_backup(&name).await?))
}

async fn restore(State(region): State<ControlState>, body: Bytes) -> Result<Json<RestoredReport>, Refused> {
    let request: RestoreRequest = parse(&body, "{\"into\": \"us-south\"}")?;
    let name = &region.identity.region;
    if request.into != *name {
        let why = format!("there is no region `{}` here; this is {name}", request.into);
        return Err(Refused { status: StatusCode::NOT_FOUND, why });
    }
    let files = match request.from {
        Some(path) => vec![path],
        None => newest(&region),
    };
    if files.is_empty() {
        let why = "there is no backup that has passed its test: name a file with --from".to_owned();
        return Err(Refused { status: StatusCode::NOT_FOUND, why });
    }
    let mut restored = Vec::new();
    for path in files {
        let report = region.node.restore(&path).await?;
        restored.push(RestoredInstance {
            instance: report.instance.to_string(),
            from: path,
            epoch: report.epoch,
            keys: report.keys,
            waiting_for: report.waiting_for,
        });
    }
    Ok(Json(RestoredReport { region: name.clone(), restored }))
}

/// The newest backup of each instance that has passed its test.
fn newest(region: &ControlledRegion) -> Vec<PathBuf> {
    let mut newest = BTreeMap::new();
    for file in region.node.list_backups() {
        if let (Ok(header), Some(_)) = (&file.header, &file.tested) {
            newest.insert(header.instance, file.path);
        }
    }
    newest.into_values().collect()
}

fn listed(files: &[BackupFile]) -> BackupList {
    BackupList { backups: files.iter().map(BackupReport::of).collect() }
}

impl From<MakeError> for Refused {
    fn from(error: MakeError) -> Self {
        let status = match &error {
            MakeError::NoSuchBackup(_) | MakeError::NoFolder => StatusCode::NOT_FOUND,
            MakeError::NotOpen(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, why: error_chain(&error) }
    }
}

impl From<NodeRestoreError> for Refused {
    fn from(error: NodeRestoreError) -> Self {
        let status = match &error {
            NodeRestoreError::Refused(_)
            | NodeRestoreError::OtherInstance { .. }
            | NodeRestoreError::Path(_)
            | NodeRestoreError::NotWriter(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, why: error_chain(&error) }
    }
}
