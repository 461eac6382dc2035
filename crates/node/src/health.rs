//! What has to work for a node to serve keys.

use crate::metrics;
use crate::node::Shared;
use host::UnitView;
use server::health::{HealthCheck, OperatorSource};
use std::sync::Arc;
use wire::text::error_chain;

/// A node as its operator's address shows it.
pub(crate) struct NodeHealth(pub(crate) Arc<Shared>);

impl OperatorSource for NodeHealth {
    fn readiness(&self) -> Result<(), String> {
        readiness(&self.0)
    }

    fn checks(&self) -> Vec<HealthCheck> {
        let node = &self.0;
        let check = |name, outcome| HealthCheck { name, outcome };
        vec![
            check("keystore", keystore(node)),
            check("instances", node.waiting_for().map_or(Ok(()), Err)),
            check("units", node.host().map_or(Ok(()), |host| units(&host.units()))),
            check("audit-log", node.parts.audit.as_ref().map_or(Ok(()), |audit| audit.check())),
            check("unit-audit", unit_audit(node)),
            check("pair", node.parts.region.as_ref().map_or(Ok(()), |region| region.check())),
            check("backups", backups(node)),
            check("jobs", node.opened().map_or(Ok(()), |open| open.check_jobs())),
        ]
    }

    fn metrics(&self) -> String {
        metrics::text(&self.0)
    }
}

/// Whether keys can be served now: the store commits, the node is open, and at least one unit serves.
pub(crate) fn readiness(node: &Shared) -> Result<(), String> {
    keystore(node)?;
    match node.host() {
        None => Err(node.waiting_for().unwrap_or_default()),
        Some(host) => units(&host.units()),
    }
}

fn unit_audit(node: &Shared) -> Result<(), String> {
    let audit = node.parts.unit_audit.as_ref();
    audit.map_or(Ok(()), |audit| audit.check(&node.parts.directory.units()))
}

/// Only who writes makes backups.
fn backups(node: &Shared) -> Result<(), String> {
    let writes = node.parts.region.as_ref().is_none_or(|region| region.check_writer().is_ok());
    node.parts.backups.as_ref().filter(|_| writes).map_or(Ok(()), |backups| backups.check())
}

fn keystore(node: &Shared) -> Result<(), String> {
    match node.parts.store.commit_stats().and_then(|stats| stats.failure) {
        None => Ok(()),
        Some(error) => Err(format!("the keystore has failed: {}", error_chain(&error))),
    }
}

fn units(units: &[UnitView]) -> Result<(), String> {
    if units.iter().any(|unit| unit.in_use) {
        return Ok(());
    }
    let why: Vec<String> = units.iter().map(|u| format!("unit {}: {}", u.number, u.reason)).collect();
    Err(format!("no crypto unit serves: {}", why.join("; ")))
}
