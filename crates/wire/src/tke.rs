//! The protocol between a customer's tools and the service: the crypto units of an instance, the forwarding of signed
//! administrative requests to them, and the service's part in a rotation of the master key.
//!
//! | request | request body | response body |
//! |---|---|---|
//! | `GET /v1/tke/{instance}/hsms` | – | [`UnitList`] |
//! | `POST /v1/tke/{instance}/hsms/{hsm_id}` | [`ForwardRequest`] | [`ForwardResponse`] |
//! | `GET /v1/tke/{instance}/hsms/{hsm_id}/audit` | – | [`KeptAudit`] |
//! | `GET /v1/tke/{instance}/keystore` | – | [`KeystoreStatus`] |
//! | `GET /v1/tke/{instance}/rotation` | – | [`RotationStatus`] |
//! | `POST /v1/tke/{instance}/rotation` | [`RotationAction`] | [`RotationStatus`] |
//! | `DELETE /v1/tke/{instance}`, query [`RemovalOptions`] | – | [`RemovalResponse`]; [`RemovalRefusal`] with status 409 |
//!
//! Bodies are JSON. Every other refusal is a [`Failure`].
//!
//! Field order is part of the format: the structures declare fields in the order in which they are written.

mod audit;
mod bytes;
mod failure;
mod forward;
mod keystore;
mod removal;
mod rotation;
mod route;
mod units;
mod words;

pub use audit::{AUDIT_RECORD_LEN, AuditLine, AuditOptions, KeptAudit, MAX_AUDIT_LINES};
pub use bytes::{Der, HexBytes, Pattern};
pub use failure::{Failure, Outcome};
pub use forward::{ForwardRequest, ForwardResponse};
pub use keystore::{InstanceState, KeystoreStatus};
pub use removal::{KeyedUnit, RemovalOptions, RemovalRefusal, RemovalResponse};
pub use rotation::{RotationAction, RotationPhase, RotationStatus, RotationStep};
pub use route::{
    AUDIT_ROUTE, INSTANCE_ROUTE, KEYSTORE_ROUTE, ROTATION_ROUTE, UNIT_ROUTE, UNITS_ROUTE, audit_path,
    instance_path, keystore_path, rotation_path, unit_path, units_path,
};
pub use units::{ListedUnit, UnitLifecycle, UnitList};
