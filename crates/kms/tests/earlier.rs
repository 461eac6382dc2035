//! Instances of earlier versions, which have no index.

use crate::common::fleet::{Kept, Region};
use crate::common::{World, new_key, op, raw};
use kms::{KeyKind, KeyQuery, KeyRef, KeyState, NewKey};

/// The keys of an instance, of every state and some with aliases.
async fn keys(w: &World) -> Vec<KeyRef> {
    let mut keys = Vec::new();
    for n in 0..40 {
        let new = NewKey { aliases: vec![format!("alias-{n}")], ..new_key(KeyKind::Root, None) };
        keys.push(w.create(new).await);
    }
    w.kms.delete(&w.call(), op(), &keys[0]).await.unwrap();
    w.kms.rotate(&w.call(), op(), &keys[1], None).await.unwrap();
    keys
}

#[tokio::test]
async fn an_instance_without_an_index_gets_one() {
    let w = World::new().await;
    let keys = keys(&w).await;
    let all = KeyQuery { states: KeyState::ALL.into_iter().collect(), ..KeyQuery::default() };
    let before = w.kms.list_keys(&w.call(), &all).await.unwrap();
    raw::make_earlier(&*w.store, w.instance, &w.secret().await).await;
    let kms = w.reopened().await;
    assert_eq!(kms.list_keys(&w.call(), &all).await.unwrap(), before);
    for (n, key) in keys.iter().enumerate() {
        let by_alias = kms.metadata(&w.call(), &KeyRef::parse(&format!("alias-{n}"))).await.unwrap();
        assert_eq!(KeyRef::Id(by_alias.id), *key);
    }
    kms.delete(&w.call(), op(), &keys[2]).await.unwrap();
}

/// The machine crashes at each write of the conversion, before or after it takes effect.
#[tokio::test]
async fn an_interrupted_conversion_is_completed() {
    let mut crashes = 0;
    for n in 0.. {
        for lasts in [false, true] {
            let mut region = Region::new(1, 1).await;
            let mut kept: Vec<Kept> = Vec::new();
            // More than one batch of buckets.
            for _ in 0..150 {
                kept.push(region.keep(region.instances[0]).await.unwrap());
            }
            let secret = region.secret(region.instances[0]).await;
            raw::make_earlier(&*region.store, region.instances[0], &secret).await;
            region.restart().await;
            region.fuse.arm(n, lasts);
            let call = region.call(region.instances[0]);
            let outcome = region.kms.header(&call).await;
            if !region.fuse.is_dead() {
                outcome.unwrap();
                assert!(crashes >= 2 * 3, "{crashes} crashes");
                return;
            }
            crashes += 1;
            region.restart().await;
            for key in &kept {
                region.open_kept(key).await;
            }
            assert_eq!(region.kms.count_keys(&call, &KeyQuery::default()).await.unwrap(), kept.len());
        }
    }
}
