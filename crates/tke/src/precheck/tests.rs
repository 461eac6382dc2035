use super::{PrecheckReport, RotationStage, activation, automatic, rotation};
use crate::compare::{ComparedUnit, Comparison, permissions_of};
use crate::quorum::Quorum;
use crate::{Snapshot, UnitDescriptor, UnitKind};
use unit_api::admin::{Attributes, ControlPoints, InstanceId, MODE_LEFT_IMPRINT};
use unit_api::{Condition, NewRegister, Target, UnitId, VerificationPattern};

const OLD: VerificationPattern = VerificationPattern::from_bytes([7; 32]);
const NEW: VerificationPattern = VerificationPattern::from_bytes([8; 32]);

fn unit(number: u16, kind: UnitKind) -> ComparedUnit {
    let id = UnitId([u8::try_from(number).unwrap(); 16]);
    let location = format!("[r].[az{number}].[01].[00]").parse().unwrap();
    ComparedUnit {
        listed: UnitDescriptor { number, kind, location, unit: id, instance: InstanceId([2; 16]) },
        snapshot: Snapshot {
            target: Target { unit: id, domain_index: 0, domain_instance: 1 },
            transaction_counter: 1,
            current: Some(OLD),
            new: NewRegister::Empty,
            attributes: Attributes {
                signature_threshold: 0,
                revocation_threshold: 0,
                permissions: permissions_of(kind),
                mode: MODE_LEFT_IMPRINT,
            },
            control_points: ControlPoints::first(),
            instance: InstanceId([2; 16]),
            condition: Condition::Operational,
            administrators: Vec::new(),
            audit_records: 0,
            audit_head: [0; 32],
        },
    }
}

fn units() -> Vec<ComparedUnit> {
    vec![unit(1, UnitKind::Operational), unit(2, UnitKind::Operational), unit(3, UnitKind::Recovery)]
}

fn failed(report: &PrecheckReport) -> Vec<&'static str> {
    report.problems().map(|check| check.what).collect()
}

#[test]
fn a_sound_instance_passes() {
    let comparison = Comparison::of(units());
    let report = rotation(&comparison, 3, &Quorum::default(), RotationStage::LoadAutomatically, Some(OLD));
    assert!(report.passed(), "{:?}", failed(&report));
}

type Change = fn(&mut Vec<ComparedUnit>);

/// Each precondition of a rotation violated once, and only it is named.
#[test]
fn every_violation_is_named() {
    let cases: [(&str, Change); 7] = [
        ("all units of the instance are selected", |u| drop(u.remove(0))),
        ("no unit is in its error state", |u| u[0].snapshot.condition = Condition::Error(1)),
        ("no unit is in imprint mode", |u| u[0].snapshot.attributes.mode = 0),
        ("every current register is valid, with one pattern", |u| u[0].snapshot.current = None),
        ("every current register is valid, with one pattern", |u| u[0].snapshot.current = Some(NEW)),
        ("every new register is empty", |u| u[0].snapshot.new = NewRegister::FullUncommitted(NEW)),
        ("a recovery unit is among them", |u| u[2].listed.kind = UnitKind::Failover),
    ];
    for (what, change) in cases {
        let mut units = units();
        change(&mut units);
        let comparison = Comparison::of(units);
        let report =
            rotation(&comparison, 3, &Quorum::default(), RotationStage::LoadAutomatically, Some(OLD));
        assert_eq!(failed(&report), [what]);
    }
    let mut units = units();
    units.iter_mut().for_each(|u| u.snapshot.attributes.signature_threshold = 1);
    units[1].snapshot.attributes.signature_threshold = 2;
    let report = rotation(&Comparison::of(units), 3, &Quorum::default(), RotationStage::Load, Some(OLD));
    assert_eq!(
        failed(&report),
        [
            "the signature threshold is the same everywhere",
            "the selected signature keys reach the threshold on every unit"
        ]
    );
    let comparison = Comparison::of(self::units());
    let report = rotation(&comparison, 3, &Quorum::default(), RotationStage::Load, Some(NEW));
    assert_eq!(failed(&report), ["the keystore is under that pattern"]);
}

#[test]
fn blobs_are_re_enciphered_only_towards_one_committed_key() {
    let with = |news: [NewRegister; 3]| {
        let mut units = units();
        units.iter_mut().zip(news).for_each(|(unit, new)| unit.snapshot.new = new);
        let stage = RotationStage::Rotate(Some(NEW));
        rotation(&Comparison::of(units), 3, &Quorum::default(), stage, Some(OLD)).passed()
    };
    let good = NewRegister::FullCommitted(NEW);
    assert!(with([good, good, good]));
    for bad in [NewRegister::Empty, NewRegister::FullUncommitted(NEW), NewRegister::FullCommitted(OLD)] {
        assert!(!with([good, bad, good]));
    }
    assert!(!with([NewRegister::FullCommitted(OLD); 3]), "all alike, but not the ceremony's");
}

#[test]
fn an_automatic_start_is_never_guessed() {
    let with = |currents: [Option<VerificationPattern>; 3], keystore| {
        let mut units = units();
        units.iter_mut().zip(currents).for_each(|(unit, current)| unit.snapshot.current = current);
        automatic(&Comparison::of(units), 3, keystore).passed()
    };
    assert!(with([None, None, None], None));
    assert!(with([None, None, Some(OLD)], None));
    assert!(with([Some(OLD), None, Some(OLD)], Some(OLD)));
    assert!(!with([Some(OLD), None, None], None), "only an operational unit holds it");
    assert!(!with([Some(NEW), None, Some(OLD)], None), "two keys");
    assert!(!with([None, None, None], Some(OLD)), "the keystore's key is nowhere");
    assert!(!with([None, None, Some(NEW)], Some(OLD)));
}

#[test]
fn another_key_is_never_activated_over_a_keystore() {
    assert!(activation(NEW, None).passed());
    assert!(activation(OLD, Some(OLD)).passed());
    assert!(!activation(NEW, Some(OLD)).passed());
}
