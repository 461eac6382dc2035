//! What customers' tools can reach of a node.

use crate::audit::ForwardedCommand;
use crate::node::{PATIENCE, SERVICE_CALLER, Shared};
use crate::unit_link::administer;
use crate::unit_status::{QueriedUnit, is_imprint, lifecycle, query_units};
use getrandom::SysRng;
use host::Host;
use kms::{Call, InstanceError, InstanceId, KeyQuery, KmsError, StateSet, StoredInstance};
use server::tke::{
    AdministeredUnit, Administration, ForwardError, ForwardResult, ForwardedRequest, KeystoreReport,
    RemovalFailure, RemovalObstacles, RemovalOutcome, RotationAction, RotationFailure, RotationReport,
    UnitLifecycle,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tracing::info;
use unit_api::Condition;
use unit_api::admin::{AdminCommand, AdminRequest};
use wire::tke::KeptAudit;

/// How long a unit may take to report its status for a listing.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// A node as the endpoints of customers' tools see it.
pub(crate) struct NodeAdministration(pub(crate) Arc<Shared>);

impl Administration for NodeAdministration {
    fn instances(&self) -> Vec<InstanceId> {
        self.0.instance_ids()
    }

    fn units(&self) -> Vec<AdministeredUnit> {
        self.0.parts.directory.units().iter().map(crate::UnitEntry::administered).collect()
    }

    async fn lifecycles(&self) -> Vec<(AdministeredUnit, UnitLifecycle)> {
        let serving = self.0.host().as_ref().map(Host::units).unwrap_or_default();
        let state = |QueriedUnit { unit, status }: QueriedUnit| {
            let serves = serving.iter().any(|view| view.number == unit.number && view.in_use);
            (unit.administered(), lifecycle(&status, serves))
        };
        let units = self.0.parts.directory.units();
        query_units(units, STATUS_PATIENCE).await.into_iter().map(state).collect()
    }

    async fn forward(&self, request: ForwardedRequest<'_>) -> ForwardResult {
        let parts = &self.0.parts;
        let unit = parts.directory.units().into_iter().find(|unit| unit.number == request.unit.number);
        let Some(unit) = unit.filter(|unit| unit.administered() == *request.unit) else {
            return Err(ForwardError::Removed);
        };
        if let Some(audit) = parts.unit_audit.as_ref().filter(|_| !is_query(request.der)) {
            audit.before_command(&unit).await;
        }
        let response = administer(&unit.endpoint, request.der).await;
        if let (Some(audit), Some(instance)) = (&parts.audit, parts.instances.first()) {
            audit.record(ForwardedCommand { request, instance }, &response).await;
        }
        response
    }

    async fn kept_audit(&self, unit: &AdministeredUnit, first: u64) -> io::Result<Option<KeptAudit>> {
        match &self.0.parts.unit_audit {
            Some(audit) => audit.kept(unit, first).await.map(Some),
            None => Ok(None),
        }
    }

    async fn keystore(&self) -> Result<KeystoreReport, InstanceError> {
        let stored = self.0.stored_patterns().await.map_err(|(_, source)| source)?;
        Ok(KeystoreReport {
            pattern: stored.map(|(pattern, _)| pattern),
            next: stored.and_then(|(_, next)| next),
            keys: if stored.is_some() { self.0.count_keys().await } else { Some(0) },
            state: self.0.state(stored.is_some()),
        })
    }

    async fn rotation(&self, action: RotationAction) -> Result<RotationReport, RotationFailure> {
        self.0.rotate(action).await
    }

    async fn remove_instance(
        &self,
        caller: &Arc<str>,
        instance: InstanceId,
        destroy_keys: bool,
    ) -> Result<RemovalOutcome, RemovalFailure> {
        let store = &self.0.parts.store;
        // A node that is not open does not open meanwhile, so nothing else writes to the instance.
        let _opening_is_held = self.0.hold_opening().await;
        let stored = StoredInstance::look(store, instance, PATIENCE).await?;
        let (keys, unreadable) = if destroy_keys { (0, false) } else { self.keys_left(&stored).await? };
        // The units of an instance that is gone may hold another instance's master key.
        let units = if stored.exists() { self.keyed_units().await } else { Vec::new() };
        if !units.is_empty() || keys != 0 {
            return Ok(RemovalOutcome::Refused(RemovalObstacles { units, keys, unreadable }));
        }
        let entries = stored.remove(store, &mut SysRng, PATIENCE).await?;
        if stored.exists() {
            info!(%caller, %instance, entries, "the instance was deleted");
        }
        Ok(RemovalOutcome::Removed { entries })
    }
}

impl NodeAdministration {
    /// Keys that are not deleted. If no unit can open the records, all keys, and true.
    async fn keys_left(&self, stored: &StoredInstance) -> Result<(usize, bool), RemovalFailure> {
        if !stored.exists() || stored.records == 0 {
            return Ok((0, false));
        }
        let Ok(kms) = self.0.kms() else { return Ok((stored.records, true)) };
        let call =
            Call { instance: stored.instance, caller: SERVICE_CALLER, deadline: PATIENCE, changed_at: None };
        let query = KeyQuery { states: StateSet::LIVE, ..KeyQuery::default() };
        match kms.count_keys(&call, &query).await {
            Ok(count) => Ok((count, false)),
            // Units do not open the records, or a removal that was interrupted has left some of them.
            Err(KmsError::Units(_) | KmsError::RecordInvalid { .. }) => Ok((stored.records, true)),
            Err(e) => Err(e.into()),
        }
    }

    /// Units that are not known to be zeroized, each with the reason.
    async fn keyed_units(&self) -> Vec<(u16, String)> {
        let queried = query_units(self.0.parts.directory.units(), STATUS_PATIENCE).await;
        queried.iter().filter_map(|queried| Some((queried.unit.number, keyed(queried)?))).collect()
    }
}

/// Why a unit does not count as zeroized.
fn keyed(queried: &QueriedUnit) -> Option<String> {
    match &queried.status {
        Err(why) => Some(format!("cannot be asked ({why})")),
        Ok(status) => match status.condition {
            Condition::Error(code) => Some(format!("is in its error state (0x{code:04x})")),
            Condition::Operational if is_imprint(status) => None,
            Condition::Operational => Some("is not in imprint mode".to_owned()),
        },
    }
}

/// Whether a request only queries, so that the unit records nothing.
fn is_query(der: &[u8]) -> bool {
    let block = AdminRequest::decode(der).and_then(|request| request.decode_block());
    let command = block.ok().and_then(|block| AdminCommand::from_id(block.command));
    command.is_some_and(AdminCommand::is_query)
}
