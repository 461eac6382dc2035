//! Real units: the firmware core on the software engine, in process.
#![allow(dead_code, reason = "each user needs its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kms::{NoEligibleUnit, UnitReply, UnitState, Units, UnitsError};
use unit_api::admin::AdminCommand;
use unit_api::{Command, UnitStatus, Variants, VerificationPattern};
use unit_testkit::TestUnit;
use zeroize::Zeroizing;

/// A unit behind a lock; its responses are encoded frames.
pub(crate) struct RealUnit(Mutex<TestUnit>);

impl RealUnit {
    /// A unit without a master key.
    pub(crate) fn new(number: u8) -> Self {
        Self(Mutex::new(TestUnit::secured(number)))
    }

    /// Loads and commits a master key; returns its pattern.
    pub(crate) fn prepare(&self, parts: [[u8; 32]; 2]) -> VerificationPattern {
        let mut unit = self.0.lock().unwrap();
        let pattern = unit.load(&parts);
        unit.administer(AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
        pattern
    }

    pub(crate) fn activate(&self, pattern: VerificationPattern) {
        self.0.lock().unwrap().administer(AdminCommand::ActivateNew, pattern.as_bytes()).unwrap();
    }

    pub(crate) fn status(&self) -> UnitStatus {
        self.0.lock().unwrap().status()
    }

    fn ask(&self, command: &Command<'_>) -> UnitReply {
        UnitReply::from_body(Zeroizing::new(self.0.lock().unwrap().reply_body(*command)))
    }
}

/// Real units behind one port: round robin, with the variant for each unit's master key.
pub(crate) struct RealFleet {
    pub(crate) units: Vec<RealUnit>,
    turn: AtomicUsize,
}

impl RealFleet {
    /// Units with the master key of these parts, and the key's pattern.
    pub(crate) fn new(count: u8, parts: [[u8; 32]; 2]) -> (Self, VerificationPattern) {
        let units: Vec<_> = (1..=count).map(RealUnit::new).collect();
        let mut pattern = VerificationPattern::from_bytes([0; 32]);
        for unit in &units {
            pattern = unit.prepare(parts);
            unit.activate(pattern);
        }
        (Self { units, turn: AtomicUsize::new(0) }, pattern)
    }

    pub(crate) fn states(&self) -> Vec<UnitState> {
        let state = |(unit, number): (&RealUnit, u16)| {
            let status = unit.status();
            UnitState { number, registers: Some((status.current, status.new)), excluded: false }
        };
        self.units.iter().zip(1..).map(state).collect()
    }
}

impl Units for RealFleet {
    async fn execute(&self, variants: &Variants<'_>, _: Duration) -> Result<UnitReply, UnitsError> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.units.len();
        let in_turn = || self.units.iter().cycle().skip(first).take(self.units.len());
        for variant in variants.iter() {
            let fits = |unit: &&RealUnit| variant.is_for(unit.status().current.map(|pattern| pattern.wkid()));
            if let Some(unit) = in_turn().find(fits) {
                return Ok(unit.ask(&variant.command));
            }
        }
        let unit = self
            .units
            .first()
            .ok_or_else(|| UnitsError::NoEligibleUnit(NoEligibleUnit::Unavailable(Vec::new())))?;
        Ok(unit.ask(&variants.first.command))
    }
}
