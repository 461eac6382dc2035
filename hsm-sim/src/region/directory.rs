//! The supervised units as a node's directory.

use super::place::Place;
use super::supervisor::{Supervisor, UnitProcess};
use node::{UnitDirectory, UnitEntry};
use tke::UnitKind;
use tokio::sync::watch;

/// The units that a supervisor runs.
#[derive(Clone)]
pub(super) struct SupervisedUnits {
    supervisor: Supervisor,
    changes: watch::Sender<()>,
}

impl SupervisedUnits {
    pub(super) fn new(supervisor: Supervisor) -> Self {
        Self { supervisor, changes: watch::Sender::new(()) }
    }

    /// Has nodes compare their units with this directory's.
    pub(super) fn notify(&self) {
        self.changes.send_replace(());
    }
}

impl UnitDirectory for SupervisedUnits {
    fn units(&self) -> Vec<UnitEntry> {
        self.supervisor.units().into_iter().map(entry).collect()
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// The unit that a process runs.
pub(super) fn entry(process: UnitProcess) -> UnitEntry {
    let UnitProcess { unit, place, id, socket, down, .. } = process;
    let Place { kind, location, zone, .. } = place;
    let mut entry = UnitEntry::new(unit, zone, socket, id);
    entry.kind = match kind {
        UnitKind::Operational => node::UnitKind::Operational,
        UnitKind::Recovery => node::UnitKind::Recovery,
        UnitKind::Failover => node::UnitKind::Failover,
    };
    entry.domain = location.domain;
    entry.location = location.to_string();
    entry.out_of_service = down;
    entry
}
