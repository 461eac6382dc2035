//! Which units an instance has.

use super::{Access, Failure, TkeService};
use crate::hex;
use crate::region::look::{lifecycle, look_at};
use crate::region::{Supervisor, UnitProcess};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tke::UnitKind;
use unit_api::UnitId;
use uuid::Uuid;

/// An instance's units. Numbers count through the three lists in this order.
#[derive(Serialize)]
pub(super) struct Listing {
    /// Operational units.
    hsms: Vec<ListedUnit>,
    /// Recovery units.
    source_hsms: Vec<ListedUnit>,
    /// Failover units.
    failover_hsms: Vec<ListedUnit>,
}

/// One unit, by the operator's word: what its module says is for the tools to ask.
#[derive(Serialize)]
struct ListedUnit {
    hsm_id: String,
    location: String,
    /// The module's, 8 characters.
    serial_number: String,
    /// Serial number and instance of the module, 32 hexadecimal digits.
    module_id: String,
    /// Index of the domain in its module.
    domain: u32,
    state: &'static str,
    version: &'static str,
}

pub(super) async fn list(_: Access, State(state): State<Arc<TkeService>>) -> Result<Json<Listing>, Failure> {
    let service = &state.service;
    let serving = service.host().map(host::Host::units).unwrap_or_default();
    let mut listing = Listing { hsms: Vec::new(), source_hsms: Vec::new(), failover_hsms: Vec::new() };
    for look in look_at(service.supervisor().units()).await {
        let unit = &look.process;
        let serves = serving.iter().any(|view| view.number == unit.unit && view.in_use);
        let (serial, _) = unit.id.0.split_at(8);
        let listed = ListedUnit {
            hsm_id: hsm_id(unit),
            location: unit.place.location.to_string(),
            serial_number: String::from_utf8_lossy(serial).into_owned(),
            module_id: hex::encode(&unit.id.0).to_string(),
            domain: unit.place.location.domain,
            state: lifecycle(&look.status, serves),
            version: env!("CARGO_PKG_VERSION"),
        };
        match unit.place.kind {
            UnitKind::Operational => listing.hsms.push(listed),
            UnitKind::Recovery => listing.source_hsms.push(listed),
            UnitKind::Failover => listing.failover_hsms.push(listed),
        }
    }
    Ok(Json(listing))
}

/// A unit's name in paths: a UUID worked out from its module and domain, the same as long as the unit is.
pub(super) fn hsm_id(unit: &UnitProcess) -> String {
    let UnitId(module) = unit.id;
    let digest = Sha256::new()
        .chain_update("hsm-sim unit ")
        .chain_update(module)
        .chain_update(unit.place.location.domain.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    // Version 8: bytes of our own making (RFC 9562 §5.8).
    let builder = uuid::Builder::from_bytes(bytes).with_version(uuid::Version::Custom);
    builder.with_variant(uuid::Variant::RFC4122).into_uuid().to_string()
}

/// The unit of this name.
pub(super) fn find(supervisor: &Supervisor, wanted: &str) -> Option<UnitProcess> {
    let wanted = Uuid::try_parse(wanted).ok()?.to_string();
    supervisor.units().into_iter().find(|unit| hsm_id(unit) == wanted)
}
