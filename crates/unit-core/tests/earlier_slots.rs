//! Slots of an earlier version, sealed under the device key, and their migration.

use crate::common::administrators::with_domain;
use crate::common::disk::Fault;
use crate::common::{Fixture, lasting, status, zeroize};
use engine::{CipherMechanism, DigestMechanism, Engine, StateKeyId};
use unit_api::{Condition, UnitError};
use unit_core::{MAX_SLOT_LEN, Slot};

/// Header of a slot, and the bytes of the identifier of its state key in it, which the earlier format lacks.
const HEADER_LEN: usize = 50;
const KEY_ID: std::ops::Range<usize> = 22..38;

/// Rewrites both slots in the earlier format, and removes the state keys.
fn make_earlier(fixture: &Fixture) {
    let mut engine = fixture.device.power_on(&fixture.disk, false);
    for slot in Slot::ALL {
        let content = fixture.disk.content(slot);
        let (header, sealed) = content[..content.len() - 32].split_at(HEADER_LEN);
        let iv = header[38..].try_into().unwrap();
        let key = engine.state_key(&StateKeyId(header[KEY_ID].try_into().unwrap())).unwrap();
        let mut state = vec![0; sealed.len() - 16];
        engine.decrypt(CipherMechanism::AesGcm { iv: &iv, aad: header }, key, sealed, &mut state).unwrap();

        let mut earlier = [&header[..22], &iv].concat();
        earlier[8..10].copy_from_slice(&2_u16.to_be_bytes());
        let mut sealed = vec![0; state.len() + 16];
        let by = CipherMechanism::AesGcm { iv: &iv, aad: &earlier };
        engine.encrypt(by, engine.device_key(), &state, &mut sealed).unwrap();
        earlier.extend(sealed);
        let mut checksum = [0; 32];
        engine.digest(DigestMechanism::Sha256, &earlier, &mut checksum).unwrap();
        earlier.extend(checksum);
        assert_eq!(earlier.len(), MAX_SLOT_LEN - 16);
        fixture.disk.set_content(slot, earlier);
    }
    engine.destroy_state_keys_but(&[]).unwrap();
}

fn earlier() -> Vec<(Fixture, crate::common::Lasting)> {
    let of = |fixture: Fixture| {
        let mut unit = fixture.rotating();
        let before = lasting(&mut unit);
        drop(unit);
        make_earlier(&fixture);
        (fixture, before)
    };
    Fixture::of_both_kinds().into_iter().map(of).collect()
}

fn slots(fixture: &Fixture) -> [Vec<u8>; 2] {
    Slot::ALL.map(|slot| fixture.disk.content(slot))
}

#[test]
fn slots_of_an_earlier_version_are_opened_once_and_sealed_again() {
    for (fixture, before) in earlier() {
        let old = slots(&fixture);
        let mut unit = fixture.start();
        assert_eq!(lasting(&mut unit), before);
        assert_eq!(fixture.device.persisted(), 2);
        drop(unit);
        let migrated = slots(&fixture);
        assert!(migrated.iter().all(|slot| slot.len() == MAX_SLOT_LEN));
        assert_eq!(lasting(&mut fixture.start()), before);
        assert_eq!(slots(&fixture), migrated, "a start writes nothing");

        // The slots of before cannot be opened any more, alone or beside a present one.
        for slot in Slot::ALL {
            fixture.disk.set_content(slot, old[slot as usize].clone());
            assert_eq!(lasting(&mut fixture.start()), before);
            fixture.disk.set_content(slot, migrated[slot as usize].clone());
        }
        for slot in Slot::ALL {
            fixture.disk.set_content(slot, old[slot as usize].clone());
        }
        let mut unit = fixture.start();
        assert_eq!(status(&mut unit).condition, Condition::Error(UnitError::StateInvalid as u16));
        assert_eq!(fixture.device.persisted(), 2, "a master key was destroyed");
        zeroize(&mut unit);
        assert_eq!(fixture.device.persisted(), 0);
    }
}

#[test]
fn power_that_goes_during_the_migration_loses_nothing() {
    let faults = [Fault::CutBefore, Fault::CutAfter, Fault::Torn(1), Fault::Torn(40), Fault::Torn(4000)];
    let fails = [Fault::Refused, Fault::Unconfirmed];
    for (fixture, before) in earlier() {
        let counting = fixture.copy();
        drop(counting.start());
        let writes = counting.disk.writes() - fixture.disk.writes();
        assert!(writes >= 4, "{writes}");
        for fault in faults.into_iter().chain(fails) {
            for nth in 0..writes {
                let fixture = fixture.copy();
                fixture.disk.plan(fixture.disk.writes() + nth, fault);
                let mut unit = fixture.start();
                if fails.contains(&fault) {
                    // The start tries again by itself.
                    assert_eq!(lasting(&mut unit), before, "{fault:?} at write {nth}");
                }
                drop(unit);
                fixture.disk.repair();
                let mut unit = fixture.start();
                assert_eq!(lasting(&mut unit), before, "{fault:?} at write {nth}");
                let records = with_domain(&mut unit, |info| info.audit_records);
                drop(unit);
                assert!(slots(&fixture).iter().all(|slot| slot.len() == MAX_SLOT_LEN));
                let mut again = fixture.start();
                assert_eq!(lasting(&mut again), before);
                assert_eq!(with_domain(&mut again, |info| info.audit_records), records);
            }
        }
    }
}
