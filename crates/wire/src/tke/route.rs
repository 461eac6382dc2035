//! Paths of the endpoints: as templates for a router, and filled in for a client.

use uuid::Uuid;

/// Removal of an instance.
pub const INSTANCE_ROUTE: &str = "/v1/tke/{instance}";
/// Crypto units of an instance.
pub const UNITS_ROUTE: &str = "/v1/tke/{instance}/hsms";
/// One crypto unit, for administrative requests.
pub const UNIT_ROUTE: &str = "/v1/tke/{instance}/hsms/{hsm_id}";
/// Audit records of one crypto unit that the service has kept.
pub const AUDIT_ROUTE: &str = "/v1/tke/{instance}/hsms/{hsm_id}/audit";
/// Keystore of an instance.
pub const KEYSTORE_ROUTE: &str = "/v1/tke/{instance}/keystore";
/// Rotation of an instance's master key.
pub const ROTATION_ROUTE: &str = "/v1/tke/{instance}/rotation";

/// [`INSTANCE_ROUTE`] of `instance`.
#[must_use]
pub fn instance_path(instance: Uuid) -> String {
    format!("/v1/tke/{instance}")
}

/// [`UNITS_ROUTE`] of `instance`.
#[must_use]
pub fn units_path(instance: Uuid) -> String {
    format!("{}/hsms", instance_path(instance))
}

/// [`UNIT_ROUTE`] of one unit.
#[must_use]
pub fn unit_path(instance: Uuid, hsm_id: Uuid) -> String {
    format!("{}/hsms/{hsm_id}", instance_path(instance))
}

/// [`AUDIT_ROUTE`] of one unit, from the record `first`.
#[must_use]
pub fn audit_path(instance: Uuid, hsm_id: Uuid, first: u64) -> String {
    format!("{}/audit?first={first}", unit_path(instance, hsm_id))
}

/// [`KEYSTORE_ROUTE`] of `instance`.
#[must_use]
pub fn keystore_path(instance: Uuid) -> String {
    format!("{}/keystore", instance_path(instance))
}

/// [`ROTATION_ROUTE`] of `instance`.
#[must_use]
pub fn rotation_path(instance: Uuid) -> String {
    format!("{}/rotation", instance_path(instance))
}
