//! What a node asks of its surroundings: where the crypto units are. Its clock is [`kms::Clock`].

use host::Endpoint;
use server::tke::{AdministeredUnit, UnitKind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use unit_api::UnitId;

/// A crypto unit as the operator has set it up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnitEntry {
    /// Number in the region, from 1, unique.
    pub number: u16,
    /// Whether the unit serves, generates master keys for recovery, or stands by.
    pub kind: UnitKind,
    /// Zone, such as `az1`. The host prefers units of its own zone.
    pub zone: String,
    /// How the unit is reached.
    pub endpoint: Endpoint,
    /// Serial number and instance of the module, as expected by the operator.
    pub id: UnitId,
    /// Index of the domain in its module.
    pub domain: u32,
    /// Location for customers, `[region].[zone].[module].[domain]`.
    pub location: String,
    /// Why the unit is known to be out of service. `None` for a unit that can be asked.
    pub out_of_service: Option<String>,
}

impl UnitEntry {
    /// An operational unit, domain 0 of its module, whose location is its zone.
    #[must_use]
    pub fn new(number: u16, zone: impl Into<String>, endpoint: impl Into<Endpoint>, id: UnitId) -> Self {
        let zone = zone.into();
        let location = format!("[{zone}]");
        let (kind, endpoint) = (UnitKind::Operational, endpoint.into());
        Self { number, kind, zone, endpoint, id, domain: 0, location, out_of_service: None }
    }

    /// Whether the unit serves requests. Recovery and failover units do not.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.kind == UnitKind::Operational
    }

    pub(crate) fn administered(&self) -> AdministeredUnit {
        AdministeredUnit {
            number: self.number,
            kind: self.kind,
            location: self.location.clone(),
            domain: self.domain,
            id: self.id,
        }
    }
}

/// The crypto units of a region. They may change while the node runs.
pub trait UnitDirectory: Send + Sync + 'static {
    /// All units, in the order of their numbers.
    fn units(&self) -> Vec<UnitEntry>;

    /// Notified after every change of [`Self::units`].
    fn changes(&self) -> watch::Receiver<()>;
}

/// A directory that never changes.
#[derive(Clone, Debug)]
pub struct StaticDirectory {
    units: Vec<UnitEntry>,
    changes: watch::Sender<()>,
}

impl StaticDirectory {
    /// A directory of these units.
    #[must_use]
    pub fn new(units: impl IntoIterator<Item = UnitEntry>) -> Self {
        let mut units: Vec<_> = units.into_iter().collect();
        units.sort_by_key(|unit| unit.number);
        Self { units, changes: watch::Sender::new(()) }
    }
}

impl UnitDirectory for StaticDirectory {
    fn units(&self) -> Vec<UnitEntry> {
        self.units.clone()
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// A list of units that the program changes while the node runs. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct UnitList {
    units: Arc<Mutex<Vec<UnitEntry>>>,
    changes: watch::Sender<()>,
}

impl UnitList {
    /// A list of these units.
    #[must_use]
    pub fn new(units: impl IntoIterator<Item = UnitEntry>) -> Self {
        let list = Self::default();
        list.set(units);
        list
    }

    /// Replaces the units. Nodes add those that are new, and drain and remove those that are not listed any more.
    pub fn set(&self, units: impl IntoIterator<Item = UnitEntry>) {
        let mut units: Vec<_> = units.into_iter().collect();
        units.sort_by_key(|unit| unit.number);
        *self.units.lock().unwrap_or_else(PoisonError::into_inner) = units;
        self.changes.send_replace(());
    }
}

impl UnitDirectory for UnitList {
    fn units(&self) -> Vec<UnitEntry> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
