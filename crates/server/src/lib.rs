//! The front ends: one public protocol each, parsed, authenticated, handed to the key service, answered.
//!
//! [`rest`] is Key Protect's API, [`iam`] the token service its clients call first, [`health`] for whoever runs the
//! process, [`serve`](serve()) the connections. [`HostUnits`] joins the key service to the host.
//!
//! What it deliberately does not have: rules of keys and states (they are the key service's, so that every front end has
//! them), units and keystores (whoever wires the parts brings them), a configuration file.
//!
//! Invariants:
//! - nothing under `/api/v2` is looked at before the caller is known;
//! - every answer under it bears Key Protect's envelope and vendor type, the refused ones too;
//! - key material is in buffers that are wiped, on the way in and on the way out.

mod answer;
pub mod auth;
mod body;
pub mod health;
pub mod iam;
pub mod rest;
mod serve;
mod units;

pub use serve::{ServeLimits, serve};
pub use units::HostUnits;

use axum::Router;
use keystore::Keystore;
use kms::Units;
use std::sync::Arc;

/// Everything on one address: the REST API, the token service, health.
pub fn router<S: Keystore, U: Units>(
    rest: Arc<rest::RestState<S, U>>,
    auth: Arc<auth::Auth>,
    ready: health::Readiness,
) -> Router {
    // The API goes last and brings the fallbacks for all.
    iam::router(auth).merge(health::router(ready)).merge(rest::router(rest))
}
