//! What a customer has seen of a unit, so that the next look notices an older state.
//!
//! See [`UnitMark`] for what only grows.

use crate::trust::ShownClass;
use crate::unit::{Snapshot, UnitDescriptor, UnitKind};
use serde::{Deserialize, Serialize};
use tke_crypto::ModuleCertificate;
use unit_api::admin::InstanceId;
use unit_api::{RolledBack, UnitMark};

/// The newest that was seen of one unit, to be kept with the customer's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenUnit {
    /// Purpose, as the service first listed it.
    pub kind: SeenKind,
    /// Identifier of the module's attestation key, 64 hexadecimal digits.
    pub module_key: String,
    /// Number of the engine's class; 0 unknown.
    pub engine_class: u8,
    /// The service instance, 32 hexadecimal digits.
    pub instance: String,
    /// How many times the domain was zeroized.
    pub life: u32,
    /// Transaction counter, decimal.
    pub transaction_counter: String,
    /// Number of audit records.
    pub audit_records: u64,
    /// Hash of the newest audit record, 64 hexadecimal digits.
    pub audit_head: String,
}

/// A unit's kind as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenKind {
    /// See [`UnitKind::Operational`].
    Operational,
    /// See [`UnitKind::Recovery`].
    Recovery,
    /// See [`UnitKind::Failover`].
    Failover,
}

impl From<UnitKind> for SeenKind {
    fn from(kind: UnitKind) -> Self {
        match kind {
            UnitKind::Operational => Self::Operational,
            UnitKind::Recovery => Self::Recovery,
            UnitKind::Failover => Self::Failover,
        }
    }
}

impl SeenKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Operational => UnitKind::Operational.name(),
            Self::Recovery => UnitKind::Recovery.name(),
            Self::Failover => UnitKind::Failover.name(),
        }
    }
}

/// Reason why a unit is not what was seen before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Regression {
    /// The unit is in an earlier state, or in that of a copy.
    #[error("{0}. What was cleared or zeroized since may be there again")]
    RolledBack(RolledBack),
    /// The service lists the unit as another kind.
    #[error("the service lists it as {now} now, and as {before} before")]
    OtherKind {
        /// Kind that was seen before.
        before: &'static str,
        /// Kind now.
        now: &'static str,
    },
    /// The module signs with another key than before.
    #[error("its module has another attestation key than before")]
    OtherModuleKey,
    /// The module's certificate names a weaker engine.
    #[error("its engine is of a lower class than before")]
    LowerClass,
    /// What is kept of the unit is not readable.
    #[error("what is kept of its earlier state is damaged")]
    Damaged,
    /// The unit was moved to another service instance.
    #[error("it belonged to another service instance before")]
    OtherInstance,
}

impl SeenUnit {
    /// What a verified unit shows now.
    #[must_use]
    pub fn of(listed: &UnitDescriptor, module: &ModuleCertificate, unit: &Snapshot) -> Self {
        let InstanceId(instance) = unit.instance;
        Self {
            kind: listed.kind.into(),
            module_key: module.key.ski().to_string(),
            engine_class: ShownClass::of(module).0.map_or(0, engine::EngineClass::number),
            instance: wire::text::encode_hex(&instance),
            life: unit.target.domain_instance,
            transaction_counter: unit.transaction_counter.to_string(),
            audit_records: unit.audit_records,
            audit_head: wire::text::encode_hex(&unit.audit_head),
        }
    }

    /// Checks that `now` can follow what was seen before.
    ///
    /// # Errors
    /// [`Regression`].
    pub fn may_become(&self, now: &Self) -> Result<(), Regression> {
        if self.kind != now.kind {
            return Err(Regression::OtherKind { before: self.kind.name(), now: now.kind.name() });
        }
        if self.module_key != now.module_key {
            return Err(Regression::OtherModuleKey);
        }
        if now.engine_class < self.engine_class {
            return Err(Regression::LowerClass);
        }
        if self.instance != now.instance {
            return Err(Regression::OtherInstance);
        }
        match (self.mark(), now.mark()) {
            (Some(before), Some(now)) => before.may_become(&now).map_err(Regression::RolledBack),
            _ => Err(Regression::Damaged),
        }
    }

    fn mark(&self) -> Option<UnitMark> {
        Some(UnitMark {
            life: self.life,
            transaction_counter: self.transaction_counter.parse().ok()?,
            audit_records: self.audit_records,
            audit_head: *wire::text::decode_hex(&self.audit_head)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Regression, SeenKind, SeenUnit};
    use unit_api::RolledBack;

    fn seen() -> SeenUnit {
        SeenUnit {
            kind: SeenKind::Operational,
            module_key: "5c".repeat(32),
            engine_class: 3,
            instance: "1d".repeat(16),
            life: 2,
            transaction_counter: u128::MAX.to_string(),
            audit_records: 40,
            audit_head: "ab".repeat(32),
        }
    }

    #[test]
    fn a_unit_may_stay_or_go_on() {
        let before = seen();
        before.may_become(&before).unwrap();
        before.may_become(&SeenUnit { life: 3, transaction_counter: "1".to_owned(), ..seen() }).unwrap();
    }

    /// Old slot files put back, and a list that was changed.
    #[test]
    fn attack_a_unit_that_is_not_what_it_was_is_noticed() {
        let before = seen();
        let life = SeenUnit { life: 1, ..seen() };
        let expected = Regression::RolledBack(RolledBack::Life { seen: 2, found: 1 });
        assert_eq!(before.may_become(&life), Err(expected));
        let counter = SeenUnit { transaction_counter: "16".to_owned(), ..seen() };
        assert!(matches!(before.may_become(&counter), Err(Regression::RolledBack(_))));
        let kind = SeenUnit { kind: SeenKind::Recovery, ..seen() };
        assert!(matches!(before.may_become(&kind), Err(Regression::OtherKind { .. })));
        let key = SeenUnit { module_key: "5d".repeat(32), ..seen() };
        assert_eq!(before.may_become(&key), Err(Regression::OtherModuleKey));
        let class = SeenUnit { engine_class: 1, ..seen() };
        assert_eq!(before.may_become(&class), Err(Regression::LowerClass));
        let instance = SeenUnit { instance: "2d".repeat(16), ..seen() };
        assert_eq!(before.may_become(&instance), Err(Regression::OtherInstance));
        let damaged = SeenUnit { audit_head: "ab".to_owned(), ..seen() };
        assert_eq!(damaged.may_become(&seen()), Err(Regression::Damaged));
    }
}
