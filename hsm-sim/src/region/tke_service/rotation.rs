//! The service's part in a rotation of the master key. Loading, committing and activating it is the administrators'.
//!
//! | request | does |
//! |---|---|
//! | `GET …/rotation` | shows how far it is, and what to do next |
//! | `POST …/rotation {"action": "begin", "pattern": "…"}` | once every unit has the new master key committed |
//! | `POST …/rotation {"action": "reencipher"}` | goes on with keys that lack a form, after an interruption |
//! | `POST …/rotation {"action": "activate"}` | says that units are about to be activated: the last moment to cancel |
//! | `POST …/rotation {"action": "finish"}` | once every unit has it in Current |
//! | `POST …/rotation {"action": "cancel"}` | gives it up |
//!
//! Every action answers as `GET` does, and can be repeated. What takes long goes on by itself after the answer: `done`
//! and `total` show how far it is. `"exclude": [3]` leaves out units that have been given up: they have to be loaded anew
//! before they can serve again.

use super::{Access, Failure, TkeService};
use crate::cli::with_causes;
use crate::region::rotation::{RotationFailed, is_retryable};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use kms::rotation::{Advice, RegionStatus, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use unit_api::VerificationPattern;

/// Body of an action.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
enum Action {
    Begin {
        pattern: String,
        #[serde(default)]
        exclude: Vec<u16>,
    },
    Reencipher {},
    Activate {
        #[serde(default)]
        exclude: Vec<u16>,
    },
    Finish {
        #[serde(default)]
        exclude: Vec<u16>,
    },
    Cancel {},
}

/// A rotation as tools see it.
#[derive(Serialize)]
pub(super) struct Shown {
    /// UUID of the rotation; none while none is under way, as with what follows up to `total`.
    id: Option<String>,
    /// `re-enciphering`, `re-enciphered`, `activating`, `finishing`, `cancelling`.
    phase: Option<&'static str>,
    /// Pattern of the master key that it began with.
    old: Option<String>,
    /// Pattern of the master key that it leads to.
    new: Option<String>,
    /// Key versions that the present phase has gone through, in all instances.
    done: u64,
    /// Key versions that there were when it began.
    total: u64,
    /// Whether it can be cancelled.
    cancellable: bool,
    /// What to do first: one of the words of [`word`].
    next: &'static str,
    /// The same for people.
    advice: String,
    /// What may be done as well or instead; nothing else may.
    also: Vec<String>,
}

pub(super) async fn show(_: Access, State(tke): State<Arc<TkeService>>) -> Result<Json<Shown>, Failure> {
    let (status, advice) = tke.service.rotation(&[]).await?;
    Ok(Json(shown(&status, &advice)))
}

pub(super) async fn act(
    _: Access,
    State(tke): State<Arc<TkeService>>,
    body: Bytes,
) -> Result<Json<Shown>, Failure> {
    let action = serde_json::from_slice(&body).map_err(|e| {
        let why =
            format!("the body is not as expected ({e}); send {{\"action\": \"begin\", \"pattern\": \"…\"}}");
        Failure::new(StatusCode::BAD_REQUEST, why)
    })?;
    let service = &tke.service;
    let (status, advice) = match action {
        Action::Begin { pattern, exclude } => service.begin_rotation(parse(&pattern)?, &exclude).await?,
        Action::Reencipher {} => service.go_on_rotating().await?,
        Action::Activate { exclude } => service.begin_activation(&exclude).await?,
        Action::Finish { exclude } => service.finish_rotation(&exclude).await?,
        Action::Cancel {} => service.cancel_rotation().await?,
    };
    Ok(Json(shown(&status, &advice)))
}

fn parse(pattern: &str) -> Result<VerificationPattern, Failure> {
    let expected = || {
        Failure::new(StatusCode::BAD_REQUEST, "`pattern` is no verification pattern of 64 hexadecimal digits")
    };
    Ok(VerificationPattern::from_bytes(*crate::hex::decode(pattern).ok_or_else(expected)?))
}

fn shown(status: &RegionStatus, advice: &Advice) -> Shown {
    let under_way = status.under_way();
    let journal = status.position.journal;
    let sum = |count: fn(&kms::RotationStatus) -> u64| {
        under_way.map_or(0, |_| status.instances.iter().filter_map(|(_, s)| s.as_ref()).map(count).sum())
    };
    Shown {
        id: under_way.map(|rotation| rotation.id.to_string()),
        phase: journal.map(|journal| journal.phase.name()),
        old: journal.map(|journal| journal.old.to_string()),
        new: journal.map(|journal| journal.new.to_string()),
        done: sum(|status| status.done),
        total: sum(|status| status.total),
        cancellable: journal.is_some_and(|journal| journal.cancellable),
        next: word(&advice.next),
        advice: advice.next.to_string(),
        also: advice.also.iter().map(ToString::to_string).collect(),
    }
}

/// A step in one word, for scripts.
const fn word(step: &Step) -> &'static str {
    match step {
        Step::Nothing => "nothing",
        Step::Reach { .. } => "reach",
        Step::LoadNew { .. } => "load",
        Step::CommitNew { .. } => "commit",
        Step::ClearNew { .. } => "clear-new",
        Step::Begin { .. } => "begin",
        Step::Reencipher => "reencipher",
        Step::BeginActivation => "begin-activation",
        Step::Activate { .. } => "activate",
        Step::Finish => "finish",
        Step::RemoveOldForms => "remove-old-forms",
        Step::Cancel => "cancel",
        Step::RemoveNewForms => "remove-new-forms",
        Step::Reload { .. } => "reload",
        Step::RestoreOld { .. } => "restore-old",
        Step::Contradiction(_) => "contradiction",
    }
}

impl From<RotationFailed> for Failure {
    fn from(error: RotationFailed) -> Self {
        let status = match &error {
            RotationFailed::NotOpen(_) => StatusCode::SERVICE_UNAVAILABLE,
            RotationFailed::Other(why) if is_retryable(why) => StatusCode::SERVICE_UNAVAILABLE,
            RotationFailed::NotNow { .. } | RotationFailed::Other(_) | RotationFailed::Proof(_) => {
                StatusCode::CONFLICT
            }
        };
        Self::new(status, with_causes(&error))
    }
}
