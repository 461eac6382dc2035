//! The rotation of the master key: complete, interrupted at every step, cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common::fleet::{Goal, NEW, OLD, Region};
use crate::common::raw::{self, Keys};
use crate::common::{self, new_key, op, pattern};
use kms::rotation::RegionError;
use kms::{
    KeyKind, KeyQuery, KeyRef, KmsError, NewKey, RecordError, RotationError, RotationPhase, RotationProfile,
    UnitsError,
};
use unit_api::UnitError;

/// A few keys in each of two instances, some of them of several versions, over two units.
async fn region() -> (Region, Vec<common::fleet::Kept>) {
    let region = Region::new(2, 2).await;
    let mut kept = Vec::new();
    for instance in region.instances.clone() {
        // More keys than one batch.
        for n in [0, 1, 2].into_iter().chain([0; 63]) {
            let key = region.keep(instance).await.unwrap();
            for _ in 0..n {
                let call = region.call(instance);
                region.kms.rotate(&call, op(), &key.key, None).await.unwrap();
            }
            kept.push(key);
        }
    }
    (region, kept)
}

async fn check(region: &Region, kept: &[common::fleet::Kept], goal: Goal) {
    for key in kept {
        region.open_kept(key).await;
    }
    let (master, phase) = match goal {
        Goal::Rotated => (NEW, Some(RotationPhase::Done)),
        Goal::Cancelled => (OLD, None),
    };
    assert_eq!(region.phases().await, [phase; 2]);
    for instance in &region.instances {
        let header = region.kms.header(&region.call(*instance)).await.unwrap();
        assert!(header.pattern().is_of_same_key(&pattern(master)) && header.next.is_none());
    }
}

#[tokio::test]
async fn a_rotation_from_end_to_end() {
    let (region, kept) = region().await;
    region.load_all().unwrap();
    region.reach(Goal::Rotated).await.unwrap();
    check(&region, &kept, Goal::Rotated).await;
    for instance in &region.instances {
        region.keep(*instance).await.unwrap();
    }
}

/// The machine crashes at each durable step in turn, before or after it takes effect. Afterwards every key is usable, and
/// following the advice leads to the chosen goal.
#[tokio::test]
async fn an_interruption_at_any_step_is_resumed() {
    for (goal, then, lasts) in [
        (Goal::Rotated, Goal::Rotated, false),
        (Goal::Rotated, Goal::Rotated, true),
        (Goal::Rotated, Goal::Cancelled, true),
        (Goal::Cancelled, Goal::Cancelled, false),
        (Goal::Cancelled, Goal::Cancelled, true),
    ] {
        let mut interrupted = 0;
        loop {
            let (mut region, mut kept) = region().await;
            let begin_to_cancel = goal == Goal::Cancelled;
            if begin_to_cancel {
                // Before the last moment to cancel.
                region.load_all().unwrap();
                while region.phases().await != [Some(RotationPhase::ReEnciphered); 2] {
                    assert!(region.advance(Goal::Rotated).await.unwrap());
                }
            }
            region.fuse.arm(interrupted, lasts);
            let loaded = if begin_to_cancel { Some(()) } else { region.load_all() };
            let whole = match loaded {
                Some(()) => region.reach(goal).await.is_some(),
                None => false,
            };
            region.restart().await;
            for key in &kept {
                region.open_kept(key).await;
            }
            let phases = region.phases().await;
            for instance in region.instances.clone() {
                kept.push(region.keep(instance).await.unwrap());
            }
            let end = match () {
                // No unit has been loaded: there is no trace of a rotation.
                () if phases == [None; 2] && !region.is_loaded() => Goal::Cancelled,
                () if phases.contains(&Some(RotationPhase::Cancelling)) => Goal::Cancelled,
                () if phases.iter().all(|phase| phase.is_none_or(|phase| phase.is_cancellable())) => then,
                () => Goal::Rotated,
            };
            region.reach(end).await.unwrap();
            check(&region, &kept, end).await;
            if whole {
                break;
            }
            interrupted += 1;
        }
        assert!(interrupted > 5, "{goal:?} was interrupted only {interrupted} times");
    }
}

/// Callers create, use, rotate and delete keys without a pause while the master key is being rotated.
/// Who has the old master key, an old header and every later state of the store, with its secrets, reads nothing that the
/// store holds after the rotation.
#[tokio::test]
async fn attack_the_old_master_key_opens_no_record_of_a_later_time() {
    let region = Region::new(1, 1).await;
    let instance = region.instances[0];
    let call = region.call(instance);
    let named = |n: u32| NewKey { aliases: vec![format!("alias-{n}")], ..new_key(KeyKind::Root, None) };
    let mut made = Vec::new();
    for n in 0..50 {
        let op = op();
        made.push((op, region.kms.create_key(&call, op, named(n)).await.unwrap()));
    }
    // Keys that are gone leave buckets without entries.
    for _ in 0..5 {
        let key = region.keep(instance).await.unwrap();
        region.kms.delete(&call, op(), &key.key).await.unwrap();
        region.kms.purge(&call, op(), &key.key).await.unwrap();
    }
    let earlier = raw::entries(&*region.store, &[""]).await;
    let old = Keys::of(&region.secret(instance).await);
    region.load_all().unwrap();
    region.reach(Goal::Rotated).await.unwrap();

    let renewed = Keys::of(&region.secret(instance).await);
    let later = raw::entries(&*region.store, &["/k/", "/b/", "/a/"]).await;
    assert_eq!(later.len(), 150);
    for (place, value) in &later {
        let secrets: Vec<_> = match value[0] {
            1 => Vec::new(),
            _ => raw::secret_of(&*region.store, value).await.into_iter().collect(),
        };
        assert!(renewed.open(place, value, &secrets).is_some(), "{place:?}");
        assert!(old.open(place, value, &secrets).is_none(), "{place:?}");
        // What was there before is of another time.
        let before = earlier.iter().find(|(earlier, _)| earlier == place).map(|(_, value)| value);
        assert!(before.is_some_and(|before| old.open(place, before, &secrets).is_some()), "{place:?}");
    }
    // Aliases and repeated requests find their keys as before; also after another restart.
    for kms in [Arc::clone(&region.kms), region.service(RotationProfile::Online).await] {
        for (n, (op, key)) in (0..).zip(&made) {
            let found = kms.metadata(&call, &KeyRef::parse(&format!("alias-{n}"))).await.unwrap();
            assert_eq!(found, *key);
            assert_eq!(kms.create_key(&call, *op, named(n)).await.unwrap(), *key);
        }
        assert_eq!(kms.count_keys(&call, &KeyQuery::default()).await.unwrap(), 50);
    }
    // An older record does not authenticate any more.
    let (place, _) = later.iter().find(|(place, _)| place.0.windows(3).any(|part| part == b"/k/")).unwrap();
    let older: raw::Entries = earlier.into_iter().filter(|(earlier, _)| earlier == place).collect();
    raw::put_back(&*region.store, &older).await;
    let refused = region.kms.list_keys(&call, &KeyQuery::default()).await;
    assert!(matches!(refused, Err(KmsError::RecordInvalid { why: RecordError::Forged, .. })), "{refused:?}");
}

/// The batches that seal records again do not make an older one valid.
#[tokio::test]
async fn attack_a_rotation_does_not_renew_a_record_that_was_put_back() {
    let region = Region::new(1, 1).await;
    let instance = region.instances[0];
    let call = region.call(instance);
    let key = region.keep(instance).await.unwrap();
    let live = raw::entries(&*region.store, &[&format!("/k/{}", key.key)]).await;
    region.kms.delete(&call, op(), &key.key).await.unwrap();
    region.load_all().unwrap();
    while region.phases().await != [Some(RotationPhase::Finishing)] {
        assert!(region.advance(Goal::Rotated).await.unwrap());
    }
    raw::put_back(&*region.store, &live).await;
    let refused = region.kms.rotation_step(&call).await;
    assert!(
        matches!(refused, Err(RotationError::Kms(KmsError::RecordInvalid { why: RecordError::Older, .. }))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_while_the_master_key_is_rotated() {
    for _ in 0..5 {
        let (region, kept) = region().await;
        let region = Arc::new(region);
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..8)
            .map(|n| {
                let (region, stop, done) = (Arc::clone(&region), Arc::clone(&stop), Arc::clone(&done));
                let instance = region.instances.get(n % 2).copied().unwrap();
                tokio::spawn(async move {
                    let mut made = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let key = region.keep(instance).await.unwrap();
                        region.open_kept(&key).await;
                        let call = region.call(instance);
                        region.kms.rotate(&call, op(), &key.key, None).await.unwrap();
                        region.open_kept(&key).await;
                        let gone = region.keep(instance).await.unwrap();
                        region.kms.delete(&call, op(), &gone.key).await.unwrap();
                        made.push(key);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    made
                })
            })
            .collect();
        let more = async |count: usize| {
            let goal = done.load(Ordering::Relaxed) + count;
            while done.load(Ordering::Relaxed) < goal {
                assert!(!callers.iter().any(tokio::task::JoinHandle::is_finished), "a request failed");
                tokio::task::yield_now().await;
            }
        };
        more(20).await;
        region.load_all().unwrap();
        while region.advance(Goal::Rotated).await.unwrap() {
            more(10).await;
        }
        stop.store(true, Ordering::Relaxed);
        let mut all = kept;
        for caller in callers {
            all.extend(caller.await.unwrap());
        }
        check(&region, &all, Goal::Rotated).await;
    }
}

#[tokio::test]
async fn the_strict_profile_refuses_operations_that_need_a_unit_until_the_rotation_is_done() {
    let (region, kept) = region().await;
    let (instance, call) = (region.instances.first().copied().unwrap(), region.call(region.instances[0]));
    let strict = region.service(RotationProfile::Strict).await;
    let new = |kind| new_key(kind, None);
    let standard: KeyRef = strict.create_key(&call, op(), new(KeyKind::Standard)).await.unwrap().id.into();
    let [first, second, ..] = kept.as_slice() else { unreachable!() };
    region.load_all().unwrap();
    while region.fleet.units[0].pattern().is_of_same_key(&pattern(OLD)) {
        region.advance(Goal::Rotated).await.unwrap();
        if region.phases().await.contains(&None) {
            continue;
        }
        assert_eq!(first.instance, instance);
        let refused = [
            strict.create_key(&call, op(), new(KeyKind::Root)).await.err(),
            strict.rotate(&call, op(), &first.key, None).await.err(),
            strict.wrap(&call, &first.key, None, &["kept"]).await.err(),
            strict.unwrap(&call, &first.key, &first.ciphertext, &["kept"]).await.err(),
            strict.rewrap(&call, &first.key, &first.ciphertext, &["kept"]).await.err(),
            strict.get_key(&call, &standard).await.err(),
        ];
        for error in refused {
            let error = error.unwrap();
            assert!(matches!(error, KmsError::RotationInProgress { .. }) && !error.is_retryable(), "{error}");
        }
        strict.list_keys(&call, &KeyQuery::default()).await.unwrap();
        strict.metadata(&call, &first.key).await.unwrap();
        strict.list_versions(&call, &first.key, true).await.unwrap();
    }
    strict.delete(&call, op(), &second.key).await.unwrap();
    region.reach(Goal::Rotated).await.unwrap();
    strict.unwrap(&call, &first.key, &first.ciphertext, &["kept"]).await.unwrap();
    strict.get_key(&call, &standard).await.unwrap();
}

#[tokio::test]
async fn a_step_that_units_or_phase_do_not_permit_is_refused_with_its_reason() {
    let (region, kept) = region().await;
    let call = region.call(region.instances[0]);
    let (kms, rotation) = (&region.kms, region.rotation());
    let id = kms.rotation_id().unwrap();
    assert!(matches!(kms.rotation_step(&call).await, Err(RotationError::NotUnderWay)));
    let same = kms.begin_rotation(&call, id, pattern(OLD)).await;
    assert!(matches!(same, Err(RotationError::SameMasterKey { .. })));
    // Before New is committed the units refuse, and nothing has changed.
    let refused = |error: Option<RotationError>, expected: UnitError| {
        let Some(RotationError::Kms(KmsError::Units(UnitsError::Refused(refusal)))) = error else {
            panic!("{error:?}")
        };
        assert_eq!(refusal, expected.into());
    };
    refused(kms.begin_rotation(&call, id, pattern(NEW)).await.err(), UnitError::NewMissing);
    region.load_all().unwrap();
    refused(kms.begin_rotation(&call, id, pattern(NEW)).await.err(), UnitError::NewNotCommitted);
    let blob = kms.header(&call).await.unwrap().proof.canary_blob;
    let external = kms.reencipher_external(&call, &blob).await.err().map(RotationError::from);
    refused(external, UnitError::NewNotCommitted);
    assert!(kms.rotation(&call).await.unwrap().is_none());
    region.fleet.units.iter().for_each(common::FakeUnit::commit);
    // The units have a different New than the requested one.
    refused(kms.begin_rotation(&call, id, pattern([9; 32])).await.err(), UnitError::WkidMismatch);
    assert!(kms.rotation(&call).await.unwrap().is_none());

    let begun = kms.begin_rotation(&call, id, pattern(NEW)).await.unwrap();
    assert_eq!((begun.phase, begun.done, begun.total), (RotationPhase::ReEnciphering, 0, 69));
    let again = kms.begin_rotation(&call, kms.rotation_id().unwrap(), pattern(NEW)).await.unwrap();
    assert_eq!(again.id, begun.id);
    let other = kms.begin_rotation(&call, id, pattern([9; 32])).await;
    assert!(matches!(other, Err(RotationError::UnderWay { under_way }) if under_way.id == id));
    let early = kms.begin_activation(&call).await;
    assert!(matches!(early, Err(RotationError::WrongPhase { phase: RotationPhase::ReEnciphering, .. })));
    let moved = kms.reencipher_external(&call, &blob).await.unwrap();
    assert_eq!(moved.get(32..48).unwrap(), pattern(NEW).wkid());

    let step = kms.rotation_step(&call).await.unwrap().unwrap();
    assert_eq!((step.phase, step.done), (RotationPhase::ReEnciphering, 64));
    let status = rotation.run(|_, _| ()).await.unwrap();
    assert!(status.instances.iter().all(|(_, s)| s.unwrap().phase == RotationPhase::ReEnciphered));
    rotation.begin_activation().await.unwrap();
    let late = rotation.cancel().await;
    assert!(matches!(late, Err(RegionError::Instance { source: RotationError::WrongPhase { .. }, .. })));
    assert!(matches!(kms.cancel_rotation(&call).await, Err(RotationError::WrongPhase { .. })));
    region.fleet.units[0].activate();
    let behind = kms.finish_rotation(&call, &region.states()).await.err().unwrap();
    assert!(behind.to_string().contains("on unit 2"), "{behind}");
    for key in &kept {
        region.open_kept(key).await;
    }
    // A key created now, by a unit that is activated or by one that is not.
    for _ in 0..4 {
        let key = region.keep(region.instances[1]).await.unwrap();
        region.open_kept(&key).await;
    }
    region.reach(Goal::Rotated).await.unwrap();
    check(&region, &kept, Goal::Rotated).await;
}

/// Keys and versions whose creation began before a phase are generated again, in the forms that the phase needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_from_before_a_phase_is_repeated_in_the_new_phase() {
    for steps in 1..9 {
        let (region, mut kept) = region().await;
        let region = Arc::new(region);
        let instance = region.instances[0];
        region.load_all().unwrap();
        for until in 0..2 {
            if until == 1 {
                for _ in 0..steps {
                    region.advance(Goal::Rotated).await.unwrap();
                }
            }
            region.fleet.hold_back();
            let mut arrived = region.fleet.arrived.subscribe();
            let creating = {
                let region = Arc::clone(&region);
                tokio::spawn(async move { region.keep(instance).await.unwrap() })
            };
            let rotating = {
                let (region, key) = (Arc::clone(&region), kept[0].key.clone());
                tokio::spawn(async move {
                    let call = region.call(instance);
                    region.kms.rotate(&call, op(), &key, None).await.unwrap();
                })
            };
            arrived.wait_for(|arrived| *arrived >= 2).await.unwrap();
            for _ in 0..steps {
                region.advance(Goal::Rotated).await.unwrap();
            }
            region.fleet.let_through();
            kept.push(creating.await.unwrap());
            rotating.await.unwrap();
            let call = region.call(instance);
            let data = Some(kms::Plaintext::new(vec![until; 3]));
            let wrapped = region.kms.wrap(&call, &kept[0].key, data, &["kept"]).await.unwrap();
            let key = kept[0].key.clone();
            kept.push(common::fleet::Kept {
                instance,
                key,
                ciphertext: wrapped.ciphertext,
                plaintext: vec![until; 3],
            });
        }
        region.reach(Goal::Rotated).await.unwrap();
        check(&region, &kept, Goal::Rotated).await;
    }
}
