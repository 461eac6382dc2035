//! `GET …/keystore`: the master key that the keystore is under.

use super::port::{Administration, KeystoreReport};
use super::{Access, Failure, TkeState};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;
use wire::tke::{KeystoreStatus, Pattern};

pub(super) async fn show<A: Administration>(
    _: Access,
    State(state): State<Arc<TkeState<A>>>,
) -> Result<Json<KeystoreStatus>, Failure> {
    let report = state.node.keystore().await.map_err(|error| Failure::unavailable(&error))?;
    let KeystoreReport { pattern, next, keys, state } = report;
    Ok(Json(KeystoreStatus {
        pattern: pattern.map(|pattern| Pattern::new(*pattern.as_bytes())),
        next: next.map(|next| Pattern::new(*next.as_bytes())),
        keys: keys.map(|keys| u64::try_from(keys).unwrap_or(u64::MAX)),
        state,
    }))
}
