use super::{AdminPolicy, NoPath, operations};
use crate::{AdminOperation, Administrator, Snapshot};
use tke_crypto::Ski;
use unit_api::admin::{
    AdministratorEntry, Attributes, ControlPoints, InstanceId, MODE_LEFT_IMPRINT, Permissions,
};
use unit_api::{Condition, NewRegister, Target, UnitId};

fn snapshot(who: &[u8], sign: u32, revoke: u32, permissions: Permissions) -> Snapshot {
    let mode = if sign == 0 { 0 } else { MODE_LEFT_IMPRINT };
    Snapshot {
        target: Target { unit: UnitId([1; 16]), domain_index: 0, domain_instance: 1 },
        transaction_counter: 0,
        current: None,
        new: NewRegister::Empty,
        attributes: Attributes { signature_threshold: sign, revocation_threshold: revoke, permissions, mode },
        control_points: ControlPoints::first(),
        instance: InstanceId([2; 16]),
        condition: Condition::Operational,
        administrators: who.iter().map(|n| AdministratorEntry { ski: [*n; 32], name: [b'a'; 30] }).collect(),
        audit_records: 0,
        audit_head: [0; 32],
    }
}

fn policy(who: &[u8], sign: u32, revoke: u32) -> AdminPolicy {
    let administrator =
        |n: &u8| Administrator { name: format!("admin {n}"), ski: Ski([*n; 32]), certificate: vec![*n] };
    AdminPolicy {
        administrators: who.iter().map(administrator).collect(),
        signature_threshold: sign,
        revocation_threshold: revoke,
        permissions: Permissions::operational(),
    }
}

/// A unit's rules over administrators and thresholds, written down a second time: what breaks one panics.
fn obey(unit: &mut Snapshot, operation: &AdminOperation, stay: &[u8]) {
    let attributes = unit.attributes;
    let able = unit.administrators.iter().filter(|e| stay.contains(&e.ski[0])).count() as u32;
    let one = attributes.permissions.contains(Permissions::ONE_SIGN);
    match operation {
        AdminOperation::AddAdministrator(who) => {
            assert!(able >= attributes.signature_threshold, "signatures to add");
            assert!(unit.administrators.len() < 8 && !unit.has_administrator(&who.ski), "room");
            unit.administrators.push(AdministratorEntry { ski: *who.ski.as_bytes(), name: [b'a'; 30] });
        }
        AdminOperation::RemoveAdministrator(ski) => {
            assert!(able >= attributes.revocation_threshold, "signatures to remove");
            unit.administrators.retain(|e| e.ski != *ski.as_bytes());
            let left = unit.administrators.len() as u32;
            assert!(left >= attributes.signature_threshold.max(attributes.revocation_threshold), "66");
            assert!(attributes.imprint() || left >= if one { 1 } else { 2 }, "67, 68");
        }
        AdminOperation::SetAttributes(to) => {
            let needed =
                if attributes.imprint() { to.signature_threshold } else { attributes.signature_threshold };
            assert!(able >= needed, "signatures to set");
            let lowers = to.revocation_threshold < attributes.revocation_threshold;
            assert!(!lowers || able >= attributes.revocation_threshold, "signatures to lower");
            let count = unit.administrators.len() as u32;
            assert!(to.signature_threshold <= count && to.revocation_threshold <= count, "57, 58");
            assert!(to.signature_threshold >= 1 && to.revocation_threshold >= 1, "76, 77");
            let change = Permissions::change_control().0;
            assert_eq!(to.permissions.0 & change & !attributes.permissions.0, 0, "69");
            unit.attributes = *to;
        }
        other => panic!("{other:?} is no step of this"),
    }
}

#[test]
fn imprint_mode_is_left_with_administrators_first() {
    let unit = snapshot(&[9], 0, 0, Permissions::first());
    let steps = operations(&unit, &policy(&[1, 2], 2, 2)).unwrap();
    let words: Vec<String> = steps.iter().map(|o| o.command().name().to_owned()).collect();
    assert_eq!(words, ["remove administrator", "add administrator", "add administrator", "set attributes"]);
}

#[test]
fn what_is_so_already_needs_no_step() {
    let unit = snapshot(&[1, 2], 2, 1, Permissions::operational());
    assert!(operations(&unit, &policy(&[2, 1], 2, 1)).unwrap().is_empty());
}

#[test]
fn locked_permissions_are_left_alone() {
    let unit = snapshot(&[1, 2], 1, 1, Permissions::operational());
    let wanted = AdminPolicy { permissions: Permissions::recovery(), ..policy(&[1, 2], 1, 1) };
    let steps = operations(&unit, &wanted).unwrap();
    let [AdminOperation::SetAttributes(to)] = steps.as_slice() else { panic!("{steps:?}") };
    assert!(!to.permissions.contains(Permissions::WK_EXPORT), "export was locked away for good");
    assert!(to.permissions.contains(Permissions::WK_RANDOM));
}

#[test]
fn rules_that_no_unit_accepts_are_refused_before_anything_changes() {
    let unit = snapshot(&[1, 2], 1, 1, Permissions::operational());
    for bad in [policy(&[1, 2], 3, 1), policy(&[1, 2], 0, 1), policy(&[1, 2], 1, 9), policy(&[1, 1], 1, 1)] {
        assert!(matches!(operations(&unit, &bad), Err(NoPath::Invalid(_))), "{bad:?}");
    }
    let strict = AdminPolicy {
        permissions: Permissions::operational().without(Permissions::ONE_SIGN),
        ..policy(&[1, 2], 1, 2)
    };
    assert!(matches!(operations(&unit, &strict), Err(NoPath::Invalid(_))));
}

/// Every way between sets of up to eight administrators: what is planned is legal at each step and leads there.
#[test]
fn exhaustive_every_plan_is_legal_and_complete() {
    let (mut planned, mut refused) = (0_u32, 0_u32);
    for old in 1..=8_u8 {
        for new in 1..=8_u8 {
            for kept in 0..=old.min(new) {
                let before: Vec<u8> = (1..=old).collect();
                let after: Vec<u8> = (1..=kept).chain(100..100 + (new - kept)).collect();
                for thresholds in 0..u32::from(old) * u32::from(old) * u32::from(new) * u32::from(new) {
                    let (old, new) = (u32::from(old), u32::from(new));
                    let (sign, rest) = (thresholds % old + 1, thresholds / old);
                    let (revoke, rest) = (rest % old + 1, rest / old);
                    let (to_sign, to_revoke) = (rest % new + 1, rest / new + 1);
                    let mut unit = snapshot(&before, sign, revoke, Permissions::operational());
                    let policy = policy(&after, to_sign, to_revoke);
                    match operations(&unit, &policy) {
                        Ok(steps) => {
                            planned += 1;
                            steps.iter().for_each(|step| obey(&mut unit, step, &after));
                            assert!(operations(&unit, &policy).unwrap().is_empty());
                        }
                        Err(NoPath::TooFewKept { .. } | NoPath::NoSequence) => refused += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        }
    }
    assert!(planned > refused / 8 && refused > 0, "{planned} planned, {refused} refused");
}
