//! Commands of the module's operator, which need no administrator, in every state of the unit.

use crate::common::administrators::{audit, query};
use crate::common::disk::Fault;
use crate::common::observed::Misbehaviour;
use crate::common::{self, Fixture, TestEnv, generate, lasting, status, zeroize};
use engine::{EngineError, KeyUses};
use unit_api::admin::{AdminCommand, AuditChain, AuditKind};
use unit_api::{Condition, Refusal, UnitError};
use unit_core::{MAX_SLOT_LEN, Slot, Unit};

type Act = fn(&mut Unit<TestEnv>) -> Result<(), Refusal>;

const ACTS: [(Act, AuditKind); 2] =
    [(Unit::zeroize_module, AuditKind::ModuleZeroize), (Unit::tamper, AuditKind::Tamper)];

fn last_kind(unit: &mut Unit<TestEnv>) -> AuditKind {
    AuditChain::decode(&audit(unit)).unwrap().records().last().unwrap().kind
}

#[test]
fn everything_goes_but_identity_counter_and_audit_chain() {
    for (act, kind) in ACTS {
        let fixture = Fixture::quick(1);
        let mut unit = fixture.rotating();
        common::administrators::administer(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], &[0])
            .unwrap();
        let before = lasting(&mut unit);
        let records = AuditChain::decode(&audit(&mut unit)).unwrap().records().count();
        act(&mut unit).unwrap();
        let after = lasting(&mut unit);
        assert_eq!(after.domain_instance, before.domain_instance + 1);
        assert_eq!(
            after.transaction_counter,
            before.transaction_counter + 1,
            "nothing signed before is good"
        );
        assert_eq!((after.master_keys(), after.administrators, after.thresholds), (0, 0, [0, 0]));
        assert_eq!((fixture.device.live(), fixture.device.persisted()), (0, 0));
        assert!(query(&mut unit, AdminCommand::QueryImporterKey, b"").is_empty());
        assert_eq!(AuditChain::decode(&audit(&mut unit)).unwrap().records().count(), records + 1);
        assert_eq!(last_kind(&mut unit), kind);
        drop(unit);
        assert_eq!(lasting(&mut fixture.start()), after);
    }
}

#[test]
fn a_unit_that_lost_its_state_is_new_after_a_module_zeroize() {
    for (act, kind) in ACTS {
        let fixture = Fixture::quick(1);
        let before = lasting(&mut fixture.ready());
        for slot in Slot::ALL {
            fixture.disk.set_content(slot, vec![0x55; MAX_SLOT_LEN]);
        }
        let mut unit = fixture.start();
        act(&mut unit).unwrap();
        assert!(lasting(&mut unit).domain_instance > before.domain_instance);
        assert_eq!(last_kind(&mut unit), kind);
    }
}

/// If the engine cannot seal the new state, the unit erases its keys and its stored state.
#[test]
fn a_broken_engine_keeps_no_key_from_being_erased() {
    for (act, _) in ACTS {
        for error in [EngineError::DeviceError, EngineError::DeviceRemoved, EngineError::RandomFailed] {
            let fixture = Fixture::quick(1);
            let mut unit = fixture.rotating();
            let blob = generate(&mut unit, KeyUses::SIGN, false);
            fixture.device.misbehave(Some(Misbehaviour::Refuses(0, error)));
            act(&mut unit).unwrap_err();
            fixture.device.misbehave(None);
            assert_eq!((fixture.device.live(), fixture.device.persisted()), (0, 0), "{error:?}");
            let sign = unit_api::Command::Sign { by: engine::MacMechanism::AesCmac, key: &blob, data: b"" };
            assert_eq!(common::refusal(&mut unit, sign), UnitError::ErrorState);
            assert!(status(&mut unit).current.is_none());
            drop(unit);
            let mut unit = fixture.start();
            assert_eq!(status(&mut unit).condition, Condition::Error(UnitError::StateInvalid as u16));
            zeroize(&mut unit);
            assert_eq!(status(&mut unit).condition, Condition::Operational);
        }
    }
}

#[test]
fn storage_that_refuses_is_told_and_the_keys_are_gone_all_the_same() {
    for (act, _) in ACTS {
        let fixture = Fixture::quick(1);
        let mut unit = fixture.ready();
        fixture.disk.plan_many(fixture.disk.writes(), 1000, Fault::Refused);
        let refused = act(&mut unit).unwrap_err();
        assert_eq!(refused.unit_error(), Some(UnitError::StorageFailed));
        assert_eq!((fixture.device.live(), fixture.device.persisted()), (0, 0));
        assert_ne!(status(&mut unit).condition, Condition::Operational);
        fixture.disk.repair();
        act(&mut unit).unwrap();
        assert_eq!(status(&mut unit).condition, Condition::Operational);
        assert!(lasting(&mut unit).domain_instance > 1);
    }
}
