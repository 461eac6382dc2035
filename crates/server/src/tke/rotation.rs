//! `…/rotation`: the service's part in a rotation of the master key.
//!
//! What takes long continues in the background after the answer; `done` and `total` show its progress.

use super::port::{Administration, RotationAction, RotationReport};
use super::{Access, Failure, TkeState};
use crate::body::{BodyFailure, RequestBody};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kms::RotationPhase;
use kms::rotation::Step;
use std::sync::Arc;
use unit_api::VerificationPattern;
use uuid::Uuid;
use wire::tke::{Pattern, RotationStatus, RotationStep};

/// Longest body of an action.
const MAX_BODY_LEN: usize = 64 * 1024;

pub(super) async fn show<A: Administration>(
    _: Access,
    State(state): State<Arc<TkeState<A>>>,
) -> Result<Json<RotationStatus>, Failure> {
    Ok(Json(status(&state.node.rotation(RotationAction::Show).await?)))
}

pub(super) async fn act<A: Administration>(
    _: Access,
    State(state): State<Arc<TkeState<A>>>,
    body: Result<RequestBody<MAX_BODY_LEN>, BodyFailure>,
) -> Result<Json<RotationStatus>, Failure> {
    let body = body.map_err(Failure::body)?;
    let asked = serde_json::from_slice(body.expose()).map_err(|e| {
        let why = format!("invalid body ({e}); send {{\"action\": \"begin\", \"pattern\": \"…\"}}");
        Failure::new(StatusCode::BAD_REQUEST, why)
    })?;
    Ok(Json(status(&state.node.rotation(action(asked)).await?)))
}

fn action(asked: wire::tke::RotationAction) -> RotationAction {
    use wire::tke::RotationAction as Asked;
    match asked {
        Asked::Begin { exclude, pattern } => {
            RotationAction::Begin { new: VerificationPattern::from_bytes(*pattern.as_bytes()), exclude }
        }
        Asked::Reencipher {} => RotationAction::Continue,
        Asked::Activate { exclude } => RotationAction::BeginActivation { exclude },
        Asked::Finish { exclude } => RotationAction::Finish { exclude },
        Asked::Cancel {} => RotationAction::Cancel,
    }
}

fn status(RotationReport { status, advice }: &RotationReport) -> RotationStatus {
    let under_way = status.under_way();
    let journal = status.position.journal;
    let sum = |count: fn(&kms::RotationStatus) -> u64| {
        under_way.map_or(0, |_| status.instances.iter().filter_map(|(_, s)| s.as_ref()).map(count).sum())
    };
    RotationStatus {
        id: under_way.map(|rotation| Uuid::from_bytes(rotation.id.0)),
        phase: journal.map(|journal| phase(journal.phase)),
        old: journal.map(|journal| Pattern::new(*journal.old.as_bytes())),
        new: journal.map(|journal| Pattern::new(*journal.new.as_bytes())),
        done: sum(|status| status.done),
        total: sum(|status| status.total),
        cancellable: journal.is_some_and(|journal| journal.cancellable),
        next: step(&advice.next),
        advice: advice.next.to_string(),
        also: advice.also.iter().map(ToString::to_string).collect(),
    }
}

const fn phase(phase: RotationPhase) -> wire::tke::RotationPhase {
    use wire::tke::RotationPhase as Shown;
    match phase {
        RotationPhase::ReEnciphering => Shown::ReEnciphering,
        RotationPhase::ReEnciphered => Shown::ReEnciphered,
        RotationPhase::Activating => Shown::Activating,
        RotationPhase::Finishing => Shown::Finishing,
        RotationPhase::Done => Shown::Done,
        RotationPhase::Cancelling => Shown::Cancelling,
    }
}

const fn step(step: &Step) -> RotationStep {
    match step {
        Step::Nothing => RotationStep::Nothing,
        Step::Reach { .. } => RotationStep::Reach,
        Step::LoadNew { .. } => RotationStep::Load,
        Step::CommitNew { .. } => RotationStep::Commit,
        Step::ClearNew { .. } => RotationStep::ClearNew,
        Step::Begin { .. } => RotationStep::Begin,
        Step::Reencipher => RotationStep::Reencipher,
        Step::BeginActivation => RotationStep::BeginActivation,
        Step::Activate { .. } => RotationStep::Activate,
        Step::Finish => RotationStep::Finish,
        Step::RemoveOldForms => RotationStep::RemoveOldForms,
        Step::Cancel => RotationStep::Cancel,
        Step::RemoveNewForms => RotationStep::RemoveNewForms,
        Step::Reload { .. } => RotationStep::Reload,
        Step::RestoreOld { .. } => RotationStep::RestoreOld,
        Step::Contradiction(_) => RotationStep::Contradiction,
    }
}

#[cfg(test)]
mod tests {
    use super::phase;
    use kms::RotationPhase;

    /// The words of the protocol are the names that messages use.
    #[test]
    fn phases_have_the_same_names_on_the_wire_and_in_messages() {
        for each in RotationPhase::ALL {
            assert_eq!(phase(each).as_str(), each.name());
        }
    }
}
