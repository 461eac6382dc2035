//! What was backed up is there after a restore, and nothing else is.

use std::io::Cursor;
use std::sync::Arc;

use crate::common::backup::{backup, content, restored, store};
use crate::common::fleet::{Goal, Region};
use crate::common::{FakeUnit, PATIENCE, Service, World, new_key, op};
use keystore::{Deadline, Keystore, MemoryStore, SecretOwner};
use kms::backup::{BackupError, BackupReader, RestoreError, RestoreOrder};
use kms::{
    Call, HighWaterMarks, InstanceId, KeyKind, KeyQuery, KeyRef, KeyState, Kms, KmsError, KmsOptions, NewKey,
    Plaintext, SharedRng, StateSet, Timers, VolatileMarks,
};
use unit_api::UnitError;
use uuid::Uuid;

/// A service over another store, with the same units and clock.
async fn over(world: &World, store: &Arc<MemoryStore>) -> Service {
    let options = KmsOptions::default().with_timers(Timers::UNGUARDED).with_clock(world.clock.clone());
    Kms::open(Arc::clone(store), Arc::clone(&world.unit), options, PATIENCE).await.unwrap()
}

fn in_any_state() -> KeyQuery {
    KeyQuery { states: StateSet::LIVE.with(KeyState::Destroyed), ..KeyQuery::default() }
}

/// An instance with keys of every kind and state, and a data key that one of them wrapped before its rotation.
async fn world() -> (World, KeyRef, String) {
    let world = World::with_timers(Timers::UNGUARDED).await;
    let (kms, call) = (&world.kms, world.call());
    let key = world.root(None).await;
    let wrapped = kms.wrap(&call, &key, Some(Plaintext::new(b"data key".to_vec())), &["aad"]).await.unwrap();
    kms.rotate(&call, op(), &key, None).await.unwrap();
    let standard = NewKey { aliases: vec!["salary".into()], ..new_key(KeyKind::Standard, Some(&[7; 32])) };
    world.create(standard).await;
    let disabled = world.root(Some(&[9; 32])).await;
    kms.disable(&call, op(), &disabled).await.unwrap();
    let deleted = world.root(None).await;
    kms.delete(&call, op(), &deleted).await.unwrap();
    (world, key, wrapped.ciphertext)
}

#[tokio::test]
async fn a_restored_instance_has_every_key_of_the_backup() {
    let (world, key, ciphertext) = world().await;
    let call = world.call();
    let file = backup(&world.kms, &call).await;
    let source = content(&*world.store).await;
    let later = world.root(None).await;
    let (there, listed) = (store(2), world.kms.list_keys(&call, &in_any_state()).await.unwrap());

    let outcome = restored(&there, &world.unit, &file).await.unwrap();
    assert_eq!((outcome.epoch, outcome.backup.keys, outcome.without_secret), (2, 4, 0));
    // Everything but the instance's header and the store's own record is the same, byte by byte.
    let is_other = |name: &[u8]| name.ends_with(b"/hdr") || name == b"v1/meta";
    let (mut expected, mut found) = (source, content(&there).await);
    for entries in [&mut expected, &mut found] {
        entries.retain(|name, _| !is_other(name));
    }
    assert_eq!(found, expected);
    let kms = over(&world, &there).await;
    let found = kms.list_keys(&call, &in_any_state()).await.unwrap();
    let expected: Vec<_> = listed.into_iter().filter(|key| KeyRef::from(key.id) != later).collect();
    assert_eq!(found, expected);
    let opened = kms.unwrap(&call, &key, &ciphertext, &["aad"]).await.unwrap();
    assert_eq!(opened.plaintext.expose(), b"data key");
    let standard = kms.get_key(&call, &KeyRef::parse("salary")).await.unwrap();
    assert_eq!(standard.payload.unwrap().expose(), [7; 32]);
    assert!(matches!(kms.metadata(&call, &later).await, Err(KmsError::KeyNotFound(_))));
    kms.create_key(&call, op(), new_key(KeyKind::Root, None)).await.unwrap();
}

#[tokio::test]
async fn a_restored_instance_is_later_than_every_mark() {
    let (world, key, _) = world().await;
    let marks = Arc::new(VolatileMarks::default());
    let file = backup(&world.kms, &world.call()).await;
    let kms = world.reopened_with(&marks).await;
    kms.set_mode(&world.call(), op(), kms::Mode::Frozen).await.unwrap();
    kms.set_mode(&world.call(), op(), kms::Mode::ReadWrite).await.unwrap();
    kms.disable(&world.call(), op(), &key).await.unwrap();
    let mark = marks.mark(world.instance).unwrap();

    let there = store(2);
    let mut reader = BackupReader::open(Cursor::new(file)).unwrap();
    reader.unlock(&world.unit, PATIENCE).await.unwrap();
    let rng = SharedRng::default();
    let outcome =
        kms::backup::restore(&there, &world.unit, &rng, &mut reader, "f", Some(mark), None, PATIENCE).await;
    assert_eq!(outcome.unwrap().epoch, 4);
    let options = KmsOptions::default().with_marks(Arc::clone(&marks) as Arc<dyn HighWaterMarks>);
    let kms = Kms::open(there, Arc::clone(&world.unit), options, PATIENCE).await.unwrap();
    assert_eq!(kms.header(&world.call()).await.unwrap().epoch, 4);
    assert!(marks.mark(world.instance).unwrap() > mark);
}

#[tokio::test]
async fn a_state_that_is_newer_or_the_same_is_not_replaced() {
    let (world, ..) = world().await;
    let file = backup(&world.kms, &world.call()).await;
    let before = content(&*world.store).await;
    let refused = restored(&world.store, &world.unit, &file).await.unwrap_err();
    assert!(matches!(refused, RestoreError::NotNewer { present, backup } if present == backup), "{refused}");
    world.root(None).await;
    let after = content(&*world.store).await;
    assert_ne!(before, after);
    let refused = restored(&world.store, &world.unit, &file).await.unwrap_err();
    assert!(matches!(refused, RestoreError::NotNewer { present, backup } if present > backup), "{refused}");
    assert_eq!(content(&*world.store).await, after);
}

#[tokio::test]
async fn an_older_state_and_an_instance_without_keys_are_replaced() {
    let (world, key, ciphertext) = world().await;
    let call = world.call();
    let old = backup(&world.kms, &call).await;
    let new_key = world.root(None).await;
    let new = backup(&world.kms, &call).await;

    // A later life of the instance, of which nothing is kept.
    let there = store(2);
    let unit = &world.unit;
    let rng = &mut getrandom::SysRng;
    kms::InstanceHeader::create(&there, unit, rng, call.instance, unit.pattern(), PATIENCE).await.unwrap();
    restored(&there, unit, &old).await.unwrap();
    let kms = over(&world, &there).await;
    kms.unwrap(&call, &key, &ciphertext, &["aad"]).await.unwrap();
    // What was restored is a later state than any backup.
    let refused = restored(&there, unit, &new).await.unwrap_err();
    assert!(matches!(refused, RestoreError::NotNewer { .. }), "{refused}");

    // An old copy of the same store, which the newer backup completes.
    let copy = store(3);
    let mut mirror = kms::replica::Replica::open(Arc::clone(&copy), Default::default()).await.unwrap();
    let mut source = kms::replica::Source::new(Arc::clone(&world.store), None, Default::default());
    while mirror.position().is_none() {
        mirror.apply(&source.next().await.unwrap()).await.unwrap();
    }
    mirror.take_over().await.unwrap();
    let newest = world.root(None).await;
    let newest_backup = backup(&world.kms, &call).await;
    restored(&copy, unit, &newest_backup).await.unwrap();
    let kms = over(&world, &copy).await;
    for key in [&new_key, &newest] {
        kms.metadata(&call, key).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_is_purged_during_a_backup_does_not_come_back() {
    let (world, key, ciphertext) = world().await;
    let call = world.call();
    let mut writer = world.kms.begin_backup(&call, "us-south").await.unwrap();
    world.kms.delete(&call, op(), &key).await.unwrap();
    world.kms.purge(&call, op(), &key).await.unwrap();
    let mut file = Vec::new();
    while let Some(part) = writer.next().await.unwrap() {
        file.extend(part);
    }
    let there = store(2);
    let outcome = restored(&there, &world.unit, &file).await.unwrap();
    assert_eq!(outcome.without_secret, 1);
    let kms = over(&world, &there).await;
    let refused = kms.unwrap(&call, &key, &ciphertext, &["aad"]).await.unwrap_err();
    assert!(matches!(refused, KmsError::KeyNotFound(_)), "{refused}");
    assert_eq!(kms.list_keys(&call, &in_any_state()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn instances_of_one_store_are_restored_one_by_one() {
    let (world, ..) = world().await;
    let other = InstanceId(Uuid::from_u128(2));
    world.begin(other).await;
    let of_other = Call { instance: other, ..world.call() };
    let key = world.kms.create_key(&of_other, op(), new_key(KeyKind::Root, None)).await.unwrap().id.into();
    let (one, two) = (backup(&world.kms, &world.call()).await, backup(&world.kms, &of_other).await);
    let there = store(2);
    for file in [&two, &one] {
        restored(&there, &world.unit, file).await.unwrap();
    }
    let kms = over(&world, &there).await;
    kms.wrap(&of_other, &key, None, &[] as &[&str]).await.unwrap();
    assert_eq!(kms.list_keys(&world.call(), &in_any_state()).await.unwrap().len(), 4);

    // In another store, the places of its secrets are taken.
    let there = store(3);
    let unit = &world.unit;
    kms::InstanceHeader::create(&there, unit, &mut getrandom::SysRng, other, unit.pattern(), PATIENCE)
        .await
        .unwrap();
    let kms = over(&world, &there).await;
    kms.create_key(&of_other, op(), new_key(KeyKind::Root, None)).await.unwrap();
    let before = content(&there).await;
    let refused = restored(&there, unit, &one).await.unwrap_err();
    assert!(matches!(refused, RestoreError::SecretInUse(_)), "{refused}");
    assert_eq!(content(&there).await, before);
}

#[tokio::test]
async fn units_with_another_master_key_open_nothing() {
    let (world, ..) = world().await;
    let file = backup(&world.kms, &world.call()).await;
    let stranger = Arc::new(FakeUnit::new([0x66; 32]));
    let there = store(2);
    let refused = restored(&there, &stranger, &file).await.unwrap_err();
    let RestoreError::Backup(BackupError::Units(error)) = &refused else { panic!("{refused}") };
    assert_eq!(*error, kms::UnitsError::Refused(UnitError::WkidMismatch.into()));
    assert!(content(&there).await.is_empty());
    let reader = BackupReader::open(Cursor::new(file)).unwrap();
    assert!(reader.header().is_under(world.unit.pattern()) && !reader.header().is_under(stranger.pattern()));
}

/// A crash after every durable step, with and without the step itself; the same call completes the restore.
#[tokio::test(start_paused = true)]
async fn an_interrupted_restore_is_completed_by_the_same_call() {
    let region = Region::new(1, 1).await;
    let instance = region.instances[0];
    let call = region.call(instance);
    let kept = region.keep(instance).await.unwrap();
    for _ in 0..12 {
        region.keep(instance).await.unwrap();
    }
    let file = backup(&region.kms, &call).await;
    let mut steps = 0;
    for lasts in [false, true] {
        for n in 0.. {
            let target = Region::new(1, 1).await;
            let stale = target.instances[0];
            assert_eq!(stale, instance);
            target.fuse.arm(n, lasts);
            let outcome = restored(&target.store, &region.fleet, &file).await;
            target.fuse.mend();
            let is_complete = outcome.is_ok();
            let order = RestoreOrder::read(&*target.store, instance, PATIENCE).await.unwrap();
            let service = Kms::open(
                Arc::clone(&target.store),
                Arc::clone(&region.fleet),
                KmsOptions::default(),
                PATIENCE,
            );
            let service = service.await.unwrap();
            match service.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await {
                Ok(_) => assert!(order.is_none()),
                // As it was before, or given up: nothing is half there.
                Err(KmsError::InstanceNotFound(_)) => assert!(order.is_some_and(|order| order.has_begun)),
                Err(other) => assert!(order.is_none() && !is_complete, "{other}"),
            }
            if !is_complete {
                steps += 1;
                match restored(&target.store, &region.fleet, &file).await {
                    Ok(_) => {}
                    // The last step had taken effect.
                    Err(RestoreError::NotNewer { .. }) => {}
                    Err(other) => panic!("step {n}: {other}"),
                }
            }
            let service = Kms::open(
                Arc::clone(&target.store),
                Arc::clone(&region.fleet),
                KmsOptions::default(),
                PATIENCE,
            );
            let service = service.await.unwrap();
            let found = service.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await.unwrap();
            assert_eq!(found.plaintext.expose(), kept.plaintext);
            assert_eq!(service.list_keys(&call, &in_any_state()).await.unwrap().len(), 13);
            if is_complete {
                break;
            }
        }
    }
    assert!(steps > 10, "{steps}");
}

#[tokio::test(start_paused = true)]
async fn a_backup_during_a_rotation_opens_under_both_master_keys() {
    let region = Region::new(1, 1).await;
    let instance = region.instances[0];
    let call = region.call(instance);
    let kept = region.keep(instance).await.unwrap();
    region.load_all();
    while region.kms.header(&call).await.unwrap().next.is_none() {
        region.advance(Goal::Rotated).await.unwrap();
    }
    // Until then, some keys are under the old master key alone, and so they are in a backup.
    region.advance(Goal::Rotated).await.unwrap();
    let file = backup(&region.kms, &call).await;
    let reader = BackupReader::open(Cursor::new(file.clone())).unwrap();
    assert!(reader.header().next_pattern.is_some());
    region.reach(Goal::Rotated).await.unwrap();
    let there = store(9);
    restored(&there, &region.fleet, &file).await.unwrap();
    let service = Kms::open(there, Arc::clone(&region.fleet), KmsOptions::default(), PATIENCE).await.unwrap();
    let found = service.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await.unwrap();
    assert_eq!(found.plaintext.expose(), kept.plaintext);
}

#[tokio::test]
async fn secrets_of_the_former_state_are_erased() {
    let (world, ..) = world().await;
    let file = backup(&world.kms, &world.call()).await;
    let there = store(2);
    let owner = SecretOwner(world.instance.0.into_bytes());
    let mut drawn = Vec::new();
    for _ in 0..20 {
        drawn.push(there.draw_secret(owner, Deadline(PATIENCE)).await.unwrap());
    }
    restored(&there, &world.unit, &file).await.unwrap();
    for (id, former) in drawn {
        let found = there.secret(id, Deadline(PATIENCE)).await.unwrap();
        assert!(found.is_none_or(|found| found.expose() != former.expose()), "{id:?}");
    }
}
