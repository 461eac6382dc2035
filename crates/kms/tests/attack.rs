//! Attacks on the store: old values put back, and values taken away.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::common::raw;
use crate::common::{PATIENCE, Service, World, new_key, op};
use getrandom::SysRng;
use kms::{
    HighWaterMarks, InstanceHeader, InstanceMark, KeyKind, KeyQuery, KeyRef, KmsError, Mode, NewKey,
    RecordError, StateSet, VolatileMarks,
};

const NO_AAD: [&str; 0] = [];

fn why<T: std::fmt::Debug>(outcome: Result<T, KmsError>) -> RecordError {
    match outcome {
        Err(KmsError::RecordInvalid { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

fn named(alias: &str) -> NewKey {
    NewKey { aliases: vec![alias.into()], ..new_key(KeyKind::Root, None) }
}

/// Reasons why the key cannot be read in any way.
async fn refusals(w: &World, kms: &Service, key: &KeyRef) -> Vec<RecordError> {
    let (call, all) = (w.call(), KeyQuery { states: StateSet::LIVE, ..KeyQuery::default() });
    vec![
        why(kms.metadata(&call, key).await),
        why(kms.get_key(&call, key).await),
        why(kms.wrap(&call, key, None, &NO_AAD).await),
        why(kms.restore(&call, op(), key).await),
        why(kms.list_keys(&call, &all).await),
        why(kms.count_keys(&call, &all).await),
        why(kms.purge_lapsed(&call, 10).await),
    ]
}

#[tokio::test]
async fn attack_an_older_record_of_a_key_is_refused() {
    let w = World::new().await;
    let (key, other) = (w.root(None).await, w.root(None).await);
    let live = raw::entries(&*w.store, &[&format!("/k/{key}")]).await;
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    raw::put_back(&*w.store, &live).await;
    for kms in [w.kms.clone(), w.reopened().await] {
        assert_eq!(refusals(&w, &kms, &key).await, [RecordError::Older; 7]);
        kms.wrap(&w.call(), &other, None, &NO_AAD).await.unwrap();
    }
}

/// The count of a key version's encryptions is put back, so that more than AES-GCM permits could be made.
#[tokio::test]
async fn attack_a_count_is_not_put_back() {
    let w = World::new().await;
    let marks = Arc::new(VolatileMarks::default());
    let wrap = async |kms: &Service, key: &KeyRef| kms.wrap(&w.call(), key, None, &NO_AAD).await;
    let (key, other) = (w.root(None).await, w.root(None).await);
    wrap(&*w.reopened_with(&marks).await, &key).await.unwrap();
    let (count, bucket) = (raw::entries(&*w.store, &["/c/"]).await, raw::entries(&*w.store, &["/x/"]).await);
    assert_eq!(count.len(), 1);
    // A restart gives up the block, so that the next wrap needs another.
    wrap(&*w.reopened_with(&marks).await, &key).await.unwrap();
    let newest = raw::entries(&*w.store, &["/c/", "/x/"]).await;

    raw::put_back(&*w.store, &count).await;
    let kms = w.reopened_with(&marks).await;
    assert_eq!(why(wrap(&kms, &key).await), RecordError::Older);
    assert_eq!(why(kms.invocations(&w.call(), &key).await), RecordError::Older);
    wrap(&kms, &other).await.unwrap();
    raw::put_back(&*w.store, &newest).await;

    raw::delete(&*w.store, &format!("/c/{key}")).await;
    assert_eq!(why(wrap(&*w.reopened().await, &key).await), RecordError::Missing);
    raw::put_back(&*w.store, &newest).await;
    wrap(&*w.reopened().await, &key).await.unwrap();

    // With the index that lists it.
    raw::put_back(&*w.store, &count).await;
    raw::put_back(&*w.store, &bucket).await;
    assert_eq!(why(wrap(&*w.reopened_with(&marks).await, &key).await), RecordError::RolledBack);
}

#[tokio::test]
async fn attack_a_purged_key_is_not_brought_back() {
    let w = World::new().await;
    let key = w.create(named("gone")).await;
    let whole = raw::entries(&*w.store, &[&format!("/k/{key}"), &format!("/b/{key}"), "/a/"]).await;
    assert_eq!(whole.len(), 3);
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    w.clock.advance(4 * 3600);
    w.kms.purge(&w.call(), op(), &key).await.unwrap();
    raw::put_back(&*w.store, &whole).await;
    for kms in [w.kms.clone(), w.reopened().await] {
        for name in [&key, &KeyRef::parse("gone")] {
            assert_eq!(refusals(&w, &kms, name).await, [RecordError::PutBack; 7]);
        }
    }
}

#[tokio::test]
async fn attack_a_record_that_is_taken_away_is_missed() {
    let w = World::new().await;
    let key = w.create(named("backups")).await;
    raw::delete(&*w.store, &format!("/k/{key}")).await;
    for kms in [w.kms.clone(), w.reopened().await] {
        assert_eq!(refusals(&w, &kms, &key).await, [RecordError::Missing; 7]);
    }
}

/// Otherwise another caller could take the alias, and the data that is wrapped under it.
#[tokio::test]
async fn attack_an_alias_is_not_taken_from_its_key() {
    let w = World::new().await;
    w.create(named("backups")).await;
    raw::delete(&*w.store, "/a/").await;
    for kms in [w.kms.clone(), w.reopened().await] {
        assert_eq!(why(kms.metadata(&w.call(), &KeyRef::parse("backups")).await), RecordError::Missing);
        assert_eq!(why(kms.create_key(&w.call(), op(), named("backups")).await), RecordError::Missing);
    }
}

/// The record and the part of the index that lists it fit each other. The process that saw the newer ones refuses them, and
/// so does a later one that has the high-water mark.
#[tokio::test]
async fn attack_a_record_is_not_put_back_with_its_index() {
    let w = World::new().await;
    let marks = Arc::new(VolatileMarks::default());
    let kms = w.reopened_with(&marks).await;
    let key = w.root(None).await;
    kms.metadata(&w.call(), &key).await.unwrap();
    let parts = [&*format!("/k/{key}"), "/x/"];
    let live = raw::entries(&*w.store, &parts).await;
    kms.delete(&w.call(), op(), &key).await.unwrap();
    let newest = raw::entries(&*w.store, &parts).await;
    raw::put_back(&*w.store, &live).await;
    assert_eq!(refusals(&w, &kms, &key).await, [RecordError::Older; 7]);
    let later = w.reopened_with(&marks).await;
    assert_eq!(refusals(&w, &later, &key).await, [RecordError::RolledBack; 7]);
    assert_eq!(why(later.header(&w.call()).await), RecordError::RolledBack);
    // The part of the index is taken away instead.
    raw::delete(&*w.store, "/x/").await;
    assert_eq!(refusals(&w, &kms, &key).await, [RecordError::Older; 7]);
    assert_eq!(why(w.reopened_with(&marks).await.header(&w.call()).await), RecordError::RolledBack);
    // The newest state is served again.
    raw::put_back(&*w.store, &newest).await;
    for kms in [kms, w.reopened_with(&marks).await] {
        kms.metadata(&w.call(), &key).await.unwrap();
    }
}

#[tokio::test]
async fn attack_an_older_state_of_the_whole_instance_is_refused() {
    let w = World::new().await;
    let marks = Arc::new(VolatileMarks::default());
    let kms = w.reopened_with(&marks).await;
    let key = w.root(None).await;
    kms.metadata(&w.call(), &key).await.unwrap();
    let older = raw::entries(&*w.store, &[""]).await;
    kms.delete(&w.call(), op(), &key).await.unwrap();
    raw::put_back(&*w.store, &older).await;
    assert_eq!(refusals(&w, &kms, &key).await, [RecordError::Older; 7]);
    assert_eq!(why(w.reopened_with(&marks).await.header(&w.call()).await), RecordError::RolledBack);
    // Without marks, nothing tells a new process that there was a later state.
    w.reopened().await.metadata(&w.call(), &key).await.unwrap();
}

/// A store took over writing, and the one before it had changes that were lost: its state has more changes, in a lower epoch.
#[tokio::test]
async fn attack_a_state_of_an_earlier_epoch_is_refused_however_many_changes_it_has() {
    let w = World::new().await;
    let (former, later) = (Arc::new(VolatileMarks::default()), Arc::new(VolatileMarks::default()));
    let kms = w.reopened_with(&former).await;
    let key = w.root(None).await;
    kms.metadata(&w.call(), &key).await.unwrap();
    let mirrored = raw::entries(&*w.store, &[""]).await;
    let mut lost = Vec::new();
    for _ in 0..9 {
        lost.push(kms.create_key(&w.call(), op(), new_key(KeyKind::Root, None)).await.unwrap().id);
    }
    let with_lost = raw::entries(&*w.store, &[""]).await;
    let replace = async |entries| {
        raw::delete(&*w.store, &w.instance.to_string()).await;
        raw::put_back(&*w.store, entries).await;
    };
    replace(&mirrored).await;
    let kms = w.reopened_with(&later).await;
    assert_eq!(kms.begin_epoch(&w.call(), op(), 2).await.unwrap().epoch, 2);
    kms.delete(&w.call(), op(), &key).await.unwrap();
    let newest = raw::entries(&*w.store, &[""]).await;
    replace(&with_lost).await;
    assert_eq!(why(kms.header(&w.call()).await), RecordError::Older);
    assert_eq!(why(w.reopened_with(&later).await.header(&w.call()).await), RecordError::RolledBack);
    // The former side, which counted further, accepts the newer epoch, and the earlier one no more.
    replace(&newest).await;
    let returned = w.reopened_with(&former).await;
    assert_eq!(returned.header(&w.call()).await.unwrap().epoch, 2);
    assert!(returned.metadata(&w.call(), &lost[0].into()).await.is_err());
    replace(&with_lost).await;
    assert_eq!(why(w.reopened_with(&former).await.header(&w.call()).await), RecordError::RolledBack);
}

#[tokio::test]
async fn an_epoch_begins_once_and_only_rises() {
    let w = World::new().await;
    let (call, one) = (w.call(), op());
    w.kms.set_mode(&call, op(), Mode::Frozen).await.unwrap();
    for _ in 0..2 {
        let header = w.kms.begin_epoch(&call, one, 7).await.unwrap();
        assert_eq!((header.epoch, header.mode), (7, Mode::ReadWrite));
    }
    for requested in [0, 6, 7] {
        let refused = w.reopened().await.begin_epoch(&call, op(), requested).await;
        assert!(
            matches!(refused, Err(kms::EpochError::NotHigher { stored: 7, requested: found }) if found == requested),
            "{refused:?}"
        );
    }
    assert_eq!(w.kms.begin_epoch(&call, op(), 8).await.unwrap().epoch, 8);
    // A repetition after another epoch reports that one.
    assert_eq!(w.kms.begin_epoch(&call, one, 7).await.unwrap().epoch, 8);
    w.root(None).await;
}

#[tokio::test]
async fn attack_an_older_header_does_not_lift_a_freeze() {
    let w = World::new().await;
    let marks = Arc::new(VolatileMarks::default());
    let kms = w.reopened_with(&marks).await;
    let key = w.root(None).await;
    let writable = raw::entries(&*w.store, &["/hdr"]).await;
    kms.set_mode(&w.call(), op(), Mode::Frozen).await.unwrap();
    raw::put_back(&*w.store, &writable).await;
    assert_eq!(why(kms.delete(&w.call(), op(), &key).await), RecordError::Older);
    let later = w.reopened_with(&marks).await;
    assert_eq!(why(later.delete(&w.call(), op(), &key).await), RecordError::RolledBack);
}

/// A header of an earlier version says that there is no index. It must not bring the service to make a new one of what
/// records there are.
#[tokio::test]
async fn attack_a_header_of_an_earlier_version_does_not_renew_the_index() {
    let w = World::new().await;
    let marks = Arc::new(VolatileMarks::default());
    let key = w.root(None).await;
    raw::make_earlier(&*w.store, w.instance, &w.secret().await).await;
    let earlier = raw::entries(&*w.store, &[""]).await;
    let kms = w.reopened_with(&marks).await;
    kms.delete(&w.call(), op(), &key).await.unwrap();
    raw::delete(&*w.store, "/x/").await;
    raw::put_back(&*w.store, &earlier).await;
    assert_eq!(refusals(&w, &kms, &key).await, [RecordError::Older; 7]);
    let later = w.reopened_with(&marks).await;
    assert_eq!(refusals(&w, &later, &key).await, [RecordError::RolledBack; 7]);
}

#[tokio::test]
async fn an_instance_that_is_created_again_is_newer_than_the_removed_one() {
    let w = World::new().await;
    let marks = Arc::new(VolatileMarks::default());
    let kms = w.reopened_with(&marks).await;
    let key = w.root(None).await;
    kms.delete(&w.call(), op(), &key).await.unwrap();
    raw::delete(&*w.store, &w.instance.to_string()).await;
    w.begin(w.instance).await;
    for kms in [kms, w.reopened_with(&marks).await] {
        kms.create_key(&w.call(), op(), new_key(KeyKind::Root, None)).await.unwrap();
    }
}

/// The system's clock was set back since the instance was removed.
#[tokio::test]
async fn an_instance_that_is_created_again_is_newer_than_a_clock_that_was_set_back() {
    let w = World::new().await;
    let marks = Arc::new(VolatileMarks::default());
    let mark = InstanceMark { born: u64::MAX / 2, epoch: 1, changes: 5 };
    marks.raise(w.instance, mark);
    let create = async |mark| {
        raw::delete(&*w.store, &w.instance.to_string()).await;
        let (id, pattern) = (w.instance, w.unit.pattern());
        InstanceHeader::create_after(&w.store, &w.unit, &mut SysRng, id, pattern, PATIENCE, mark)
            .await
            .unwrap();
        w.reopened_with(&marks).await.create_key(&w.call(), op(), new_key(KeyKind::Root, None)).await
    };
    assert_eq!(why(create(None).await), RecordError::RolledBack);
    create(Some(mark)).await.unwrap();
    assert_eq!(marks.mark(w.instance).unwrap().born, mark.born + 1);
}
