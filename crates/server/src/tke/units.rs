//! `GET …/hsms`: the crypto units of an instance.

use super::port::{AdministeredUnit, Administration, UnitKind};
use super::{Access, Failure, TkeState};
use axum::Json;
use axum::extract::State;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use unit_api::UnitId;
use uuid::Uuid;
use wire::tke::{ListedUnit, UnitList};

pub(super) async fn list<A: Administration>(
    _: Access,
    State(state): State<Arc<TkeState<A>>>,
) -> Result<Json<UnitList>, Failure> {
    let mut list = UnitList::default();
    for (unit, lifecycle) in state.node.lifecycles().await {
        let (serial, _) = unit.id.0.split_at(8);
        let listed = ListedUnit {
            number: Some(unit.number),
            hsm_id: hsm_id(unit.id, unit.domain),
            serial_number: String::from_utf8_lossy(serial).into_owned(),
            module_id: unit.id.0.into(),
            location: unit.location,
            domain: unit.domain,
            state: lifecycle,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        match unit.kind {
            UnitKind::Operational => list.hsms.push(listed),
            UnitKind::Recovery => list.source_hsms.push(listed),
            UnitKind::Failover => list.failover_hsms.push(listed),
        }
    }
    Ok(Json(list))
}

/// The identifier of a unit in paths: a UUID derived from its module and its domain, so that it never changes.
#[must_use]
pub fn hsm_id(module: UnitId, domain: u32) -> Uuid {
    let UnitId(module) = module;
    let digest = Sha256::new()
        .chain_update("hsm-sim unit ")
        .chain_update(module)
        .chain_update(domain.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    // Version 8: vendor-specific content (RFC 9562 §5.8).
    let builder = uuid::Builder::from_bytes(bytes).with_version(uuid::Version::Custom);
    builder.with_variant(uuid::Variant::RFC4122).into_uuid()
}

/// The unit with this identifier.
pub(super) fn find<A: Administration>(node: &A, wanted: &str) -> Option<(AdministeredUnit, Uuid)> {
    let wanted = Uuid::try_parse(wanted).ok()?;
    let found = node.units().into_iter().find(|unit| hsm_id(unit.id, unit.domain) == wanted)?;
    Some((found, wanted))
}
