use super::{Aspect, ComparedUnit, Comparison, permissions_of};
use crate::{Snapshot, UnitDescriptor, UnitKind};
use unit_api::admin::{
    AdministratorEntry, Attributes, ControlPoint, ControlPoints, InstanceId, MODE_LEFT_IMPRINT, Permissions,
};
use unit_api::{Condition, NewRegister, Target, UnitId, VerificationPattern};

fn unit(number: u16, kind: UnitKind) -> ComparedUnit {
    let id = UnitId([u8::try_from(number).unwrap(); 16]);
    ComparedUnit {
        listed: UnitDescriptor {
            number,
            kind,
            location: format!("[r].[az{number}].[01].[00]").parse().unwrap(),
            unit: id,
            instance: InstanceId([2; 16]),
        },
        snapshot: Snapshot {
            target: Target { unit: id, domain_index: 0, domain_instance: u32::from(number) },
            transaction_counter: u128::from(number),
            current: Some(VerificationPattern::from_bytes([7; 32])),
            new: NewRegister::Empty,
            attributes: Attributes {
                signature_threshold: 2,
                revocation_threshold: 2,
                permissions: permissions_of(kind),
                mode: MODE_LEFT_IMPRINT,
            },
            control_points: ControlPoints::first(),
            instance: InstanceId([2; 16]),
            condition: Condition::Operational,
            administrators: vec![
                AdministratorEntry { ski: [1; 32], name: [b'a'; 30] },
                AdministratorEntry { ski: [2; 32], name: [b'b'; 30] },
            ],
            audit_records: u64::from(number),
            audit_head: [0; 32],
        },
    }
}

fn three() -> Vec<ComparedUnit> {
    vec![unit(1, UnitKind::Operational), unit(2, UnitKind::Operational), unit(3, UnitKind::Recovery)]
}

#[test]
fn units_that_should_be_alike_are() {
    let comparison = Comparison::of(three());
    assert!(comparison.alike(), "{:?}", comparison.differences);
    assert_eq!(comparison.verdict(), "All 3 crypto units are configured alike.");
    assert!(comparison.common_current().is_some());
}

/// The order in which administrators were added is no difference, nor are the last four bytes of a pattern.
#[test]
fn what_does_not_matter_is_no_difference() {
    let mut units = three();
    units[1].snapshot.administrators.reverse();
    let mut pattern = [7; 32];
    pattern[28..].fill(0);
    units[2].snapshot.current = Some(VerificationPattern::from_bytes(pattern));
    assert!(Comparison::of(units).alike());
}

type Change = fn(&mut Snapshot);

#[test]
fn every_single_difference_shows() {
    let changes: [(Aspect, Change); 12] = [
        (Aspect::Condition, |s| s.condition = Condition::Error(0x0242)),
        (Aspect::Instance, |s| s.instance = InstanceId([3; 16])),
        (Aspect::SignatureThreshold, |s| s.attributes.signature_threshold = 1),
        (Aspect::RevocationThreshold, |s| s.attributes.revocation_threshold = 1),
        (Aspect::Administrators, |s| s.administrators.truncate(1)),
        (Aspect::Administrators, |s| s.administrators[0].ski = [9; 32]),
        (Aspect::NewRegister, |s| {
            s.new = NewRegister::FullUncommitted(VerificationPattern::from_bytes([7; 32]))
        }),
        (Aspect::NewRegister, |s| {
            s.new = NewRegister::FullCommitted(VerificationPattern::from_bytes([7; 32]))
        }),
        (Aspect::CurrentRegister, |s| s.current = None),
        (Aspect::CurrentRegister, |s| s.current = Some(VerificationPattern::from_bytes([8; 32]))),
        (Aspect::ControlPoints, |s| s.control_points = s.control_points.with(ControlPoint::Btc.alone())),
        (Aspect::Permissions, |s| {
            s.attributes.permissions = s.attributes.permissions.with(Permissions::QUORUM_DESTRUCTIVE);
        }),
    ];
    for (aspect, change) in changes {
        let mut units = three();
        change(&mut units[1].snapshot);
        let comparison = Comparison::of(units);
        let found: Vec<Aspect> = comparison.differences.iter().map(|d| d.aspect).collect();
        assert_eq!(found, [aspect]);
        let alone = comparison.differences[0].values.values().any(|units| units == &[2]);
        assert!(alone, "{:?}", comparison.differences);
        assert!(comparison.verdict().contains(aspect.name()), "{}", comparison.verdict());
    }
}
