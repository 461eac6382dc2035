//! Which master key the keystore is under, for tools that are about to change the units'.

use super::{Access, Failure, TkeService};
use crate::cli::with_causes;
use crate::region::state;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// The keystore, as far as units must fit it.
#[derive(Serialize)]
pub(super) struct Keystore {
    /// Verification pattern of the master key that everything in it is under, 64 hexadecimal digits; none for a keystore
    /// that has no instance yet, over which any master key may be activated.
    pattern: Option<String>,
    /// The pattern of the master key that is to follow it, while one is.
    next: Option<String>,
    /// Keys in it, destroyed ones too, until they are purged; none while no unit can open its records.
    keys: Option<usize>,
    /// The instance's state: `unkeyed`, `locked`, `rotating`, `degraded`, `ready`.
    state: &'static str,
}

pub(super) async fn show(_: Access, State(tke): State<Arc<TkeService>>) -> Result<Json<Keystore>, Failure> {
    let service = &tke.service;
    let stored = service
        .stored_patterns()
        .await
        .map_err(|e| Failure::new(StatusCode::SERVICE_UNAVAILABLE, with_causes(&e)))?;
    Ok(Json(Keystore {
        pattern: stored.map(|(pattern, _)| pattern.to_string()),
        next: stored.and_then(|(_, next)| next).map(|next| next.to_string()),
        keys: if stored.is_some() { service.count_keys().await } else { Some(0) },
        state: state::of(service, stored.is_some()),
    }))
}
