//! Removing an instance from the store while no unit serves.

use crate::common::fleet::{OLD, Region};
use crate::common::{PATIENCE, new_key, op, pattern};
use getrandom::SysRng;
use keystore::{Deadline, Freshness, Key, Keystore};
use kms::{
    InstanceHeader, InstanceId, KeyKind, KeyRef, KmsError, NewKey, NoEligibleUnit, RemovalError,
    StoredInstance, UnitsError,
};

/// More than one batch of records, and more than one of blobs.
const KEYS: usize = 110;

/// Keys in the first of two instances, a few in the other, and units that fail every command afterwards.
async fn region(keys: usize) -> (Region, Vec<KeyRef>) {
    let region = Region::new(1, 2).await;
    let mut made = Vec::new();
    for number in 0..keys {
        let new = NewKey { aliases: vec![format!("alias-{number}")], ..new_key(KeyKind::Root, None) };
        let key = region.kms.create_key(&region.call(region.instances[0]), op(), new).await.unwrap();
        made.push(key.id.into());
    }
    region.keep(region.instances[1]).await.unwrap();
    zeroize(&region);
    (region, made)
}

fn zeroize(region: &Region) {
    let gone = UnitsError::NoEligibleUnit(NoEligibleUnit::Unreachable("zeroized".to_owned()));
    region.fleet.units.iter().for_each(|unit| unit.set_fault(Some(gone.clone())));
}

async fn names(region: &Region, instance: InstanceId) -> Vec<Key> {
    let range = Key::with_prefix(format!("v1/i/{instance}/").as_bytes());
    let scanned = region.store.scan(range, 1000, None, Freshness::Linearizable, Deadline(PATIENCE)).await;
    scanned.unwrap().entries.into_iter().map(|entry| entry.key).collect()
}

async fn look(region: &Region, instance: InstanceId) -> StoredInstance {
    StoredInstance::look(&region.store, instance, PATIENCE).await.unwrap()
}

async fn remove(region: &Region, seen: StoredInstance) -> Result<usize, RemovalError> {
    seen.remove(&region.store, &mut SysRng, PATIENCE).await
}

#[tokio::test]
async fn removal_removes_one_instance_whole_and_no_other() {
    let (region, keys) = region(KEYS).await;
    let (instance, other) = (region.instances[0], region.instances[1]);
    let (before, others) = (names(&region, instance).await, names(&region, other).await);
    let is_index = |name: &&Key| name.0.windows(3).any(|part| part == b"/x/");
    let buckets = before.iter().filter(is_index).count();
    assert_eq!(
        before.len(),
        3 * KEYS + 1 + buckets,
        "record, blob and alias of each key, the index, the header"
    );

    let seen = look(&region, instance).await;
    assert!(seen.exists() && seen.records == KEYS);
    assert_eq!(remove(&region, seen).await.unwrap(), before.len());
    assert!(names(&region, instance).await.is_empty());
    assert_eq!(names(&region, other).await, others);

    // A service that had the instance open does not find it; a second removal removes nothing.
    let found = region.kms.metadata(&region.call(instance), &keys[0]).await;
    assert!(matches!(found, Err(KmsError::InstanceNotFound(_))), "{found:?}");
    let again = look(&region, instance).await;
    assert!(!again.exists() && again.records == 0);
    assert_eq!(remove(&region, again).await.unwrap(), 0);

    region.fleet.units.iter().for_each(|unit| unit.set_fault(None));
    InstanceHeader::create(&region.store, &region.fleet, &mut SysRng, instance, pattern(OLD), PATIENCE)
        .await
        .unwrap();
    region.keep(instance).await.unwrap();
}

#[tokio::test]
async fn a_second_run_completes_a_removal_that_crashed_at_any_write() {
    let mut crashes = 0;
    for write in 0.. {
        for lasts in [false, true] {
            let (region, keys) = region(KEYS).await;
            let instance = region.instances[0];
            let seen = look(&region, instance).await;
            region.fuse.arm(write, lasts);
            let outcome = remove(&region, seen).await;
            if !region.fuse.is_dead() {
                outcome.unwrap();
                assert!(crashes >= 2 * 5, "only {crashes} writes: nothing was in batches");
                return;
            }
            assert!(matches!(outcome, Err(RemovalError::Store(_))), "{outcome:?}");
            crashes += 1;
            region.fuse.mend();
            let seen = look(&region, instance).await;
            let left = names(&region, instance).await;
            assert_eq!(seen.exists(), !left.is_empty(), "the header goes last");
            // No key is partly removed: a key without its blob has no record.
            let blobs = left.iter().filter(|name| name.0.windows(3).any(|part| part == b"/b/")).count();
            assert!(seen.records == 0 || blobs == keys.len());
            assert_eq!(remove(&region, seen).await.unwrap(), left.len());
            assert!(names(&region, instance).await.is_empty());
        }
    }
}

#[tokio::test]
async fn a_removal_fails_if_the_instance_changed_since_it_was_read() {
    let (region, keys) = region(3).await;
    let instance = region.instances[0];
    let call = region.call(instance);

    let seen = look(&region, instance).await;
    let changed = keys[1].clone();
    region.kms.delete(&call, op(), &changed).await.unwrap();
    let refused = remove(&region, seen).await.unwrap_err();
    assert!(matches!(refused, RemovalError::Changed(id) if id == instance) && refused.is_retryable());
    assert_eq!(look(&region, instance).await.records, 3);
    region.kms.metadata(&call, &changed).await.unwrap();

    // The header must be unchanged too.
    let seen = look(&region, instance).await;
    region.kms.set_mode(&call, op(), kms::Mode::Frozen).await.unwrap();
    assert!(matches!(remove(&region, seen).await, Err(RemovalError::Changed(_))));
    let seen = look(&region, instance).await;
    remove(&region, seen).await.unwrap();
    assert!(matches!(remove(&region, seen).await, Err(RemovalError::Changed(_))), "it is gone already");
}
