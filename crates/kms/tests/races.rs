//! Requests that race: as many effects as successes.

use crate::common::{World, new_key, op};
use kms::{KeyKind, KeyQuery, KmsError, Mode, NewKey, Plaintext, Timers};

const RACERS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_rotations_leave_as_many_versions_as_successes() {
    for timers in [Timers::STANDARD, Timers::UNGUARDED] {
        let w = World::with_timers(timers).await;
        let key = w.root(None).await;
        let racers: Vec<_> = (0..RACERS)
            .map(|_| {
                let (kms, key, call) = (w.kms.clone(), key.clone(), w.call());
                tokio::spawn(async move { kms.rotate(&call, op(), &key, None).await })
            })
            .collect();
        let mut successes = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(_) => successes += 1,
                Err(KmsError::RotationTooEarly { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(successes, if timers == Timers::STANDARD { 1 } else { RACERS });
        let versions = w.kms.list_versions(&w.call(), &key, false).await.unwrap();
        assert_eq!(versions.len(), 1 + successes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_racing_creations_with_the_same_alias_succeeds() {
    let w = World::new().await;
    let racers: Vec<_> = (0..RACERS)
        .map(|_| {
            let (kms, call) = (w.kms.clone(), w.call());
            let new = NewKey { aliases: vec!["the-one".into()], ..new_key(KeyKind::Root, None) };
            tokio::spawn(async move { kms.create_key(&call, op(), new).await })
        })
        .collect();
    let mut successes = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => successes += 1,
            Err(KmsError::AliasNotUnique { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(successes, 1);
    assert_eq!(w.kms.count_keys(&w.call(), &KeyQuery::default()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_repeats_of_one_request_make_one_key_and_one_version() {
    let w = World::new().await;
    let (create, rotate) = (op(), op());
    let racers: Vec<_> = (0..RACERS)
        .map(|_| {
            let (kms, call) = (w.kms.clone(), w.call());
            tokio::spawn(async move {
                let made = kms.create_key(&call, create, new_key(KeyKind::Root, None)).await.unwrap();
                kms.rotate(&call, rotate, &made.id.into(), None).await.unwrap()
            })
        })
        .collect();
    for racer in racers {
        assert_eq!(racer.await.unwrap().version_count, 2);
    }
    assert_eq!(w.kms.count_keys(&w.call(), &KeyQuery::default()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ciphertext_wrapped_during_a_key_rotation_unwraps() {
    let w = World::with_timers(Timers::UNGUARDED).await;
    let key = w.root(None).await;
    let rotating = {
        let (kms, key, call) = (w.kms.clone(), key.clone(), w.call());
        tokio::spawn(async move {
            for _ in 0..RACERS {
                kms.rotate(&call, op(), &key, None).await.unwrap();
            }
        })
    };
    let wrapping: Vec<_> = (0..RACERS)
        .map(|i| {
            let (kms, key, call) = (w.kms.clone(), key.clone(), w.call());
            tokio::spawn(async move {
                let data = Plaintext::new(i.to_be_bytes().to_vec());
                let wrapped = kms.wrap(&call, &key, Some(data), &["race"]).await.unwrap();
                let found = kms.unwrap(&call, &key, &wrapped.ciphertext, &["race"]).await.unwrap();
                assert_eq!(found.plaintext.expose(), i.to_be_bytes());
                assert_eq!(found.version, wrapped.version);
            })
        })
        .collect();
    rotating.await.unwrap();
    for task in wrapping {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_from_before_a_freeze_is_not_applied_after_it() {
    let w = World::with_timers(Timers::UNGUARDED).await;
    let key = w.root(None).await;
    let racers: Vec<_> = (0..RACERS)
        .map(|_| {
            let (kms, key, call) = (w.kms.clone(), key.clone(), w.call());
            tokio::spawn(async move { while kms.rotate(&call, op(), &key, None).await.is_ok() {} })
        })
        .collect();
    let versions = async || w.kms.list_versions(&w.call(), &key, false).await.unwrap().len();
    while versions().await < 50 {
        tokio::task::yield_now().await;
    }
    w.kms.set_mode(&w.call(), op(), Mode::Frozen).await.unwrap();
    let frozen_at = versions().await;
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(versions().await, frozen_at);
}
