//! A purged key is gone: no copy of its records opens, in the store's file either.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::common::fleet::Region;
use crate::common::raw::{self, Keys};
use crate::common::{ALICE, FakeUnit, PATIENCE, new_key, op};
use getrandom::SysRng;
use keystore::{Deadline, Keystore, RedbOptions, RedbStore, SecretId, SecretOwner};
use kms::{
    Call, InstanceHeader, InstanceId, KeyKind, KeyQuery, KeyRef, Kms, KmsError, KmsOptions, NewKey, Timers,
};
use uuid::Uuid;

const INSTANCE: InstanceId = InstanceId(Uuid::from_u128(1));
const CALL: Call<'static> = Call { instance: INSTANCE, caller: ALICE, deadline: PATIENCE, changed_at: None };
const OWNER: SecretOwner = SecretOwner(*Uuid::from_u128(1).as_bytes());
const D: Deadline = Deadline(PATIENCE);

type Service = Kms<Arc<RedbStore>, Arc<FakeUnit>>;

async fn open(path: &std::path::Path, unit: &Arc<FakeUnit>) -> (Arc<RedbStore>, Service) {
    let store = RedbStore::open(path, RedbOptions::default().reserve_bytes(0)).await.unwrap();
    let store = Arc::new(store);
    let mut timers = Timers::UNGUARDED;
    timers.purge_after = std::time::Duration::ZERO;
    let options = KmsOptions::default().with_timers(timers);
    let kms = Kms::open(Arc::clone(&store), Arc::clone(unit), options, PATIENCE).await.unwrap();
    (store, kms)
}

async fn close(store: Arc<RedbStore>, kms: Service) {
    drop(kms);
    Arc::into_inner(store).unwrap().close().await.unwrap();
}

fn contains(file: &[u8], part: &[u8]) -> bool {
    file.windows(part.len()).any(|window| window == part)
}

/// The samples of the purged keys' values that the file has, and of those the ones that any key still opens.
fn remains(
    file: &[u8],
    samples: &raw::Entries,
    keys: &Keys,
    secrets: &[(SecretId, [u8; 32])],
) -> (usize, usize) {
    let there: Vec<_> = samples.iter().filter(|(_, value)| contains(file, value)).collect();
    let open = there.iter().filter(|(place, value)| keys.open(place, value, secrets).is_some());
    (there.len(), open.count())
}

/// The secrets that are anywhere in the file of secrets.
fn secrets_in(file: &[u8]) -> Vec<(SecretId, [u8; 32])> {
    let slots = file.chunks(64).enumerate().skip(1);
    slots
        .map(|(position, slot)| {
            let generation = u32::from_be_bytes(slot[4..8].try_into().unwrap());
            (SecretId((position as u64) << 32 | u64::from(generation)), slot[24..56].try_into().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn attack_a_purged_key_leaves_nothing_readable_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.redb");
    let unit = Arc::new(FakeUnit::new([0x4d; 32]));
    let (store, kms) = open(&path, &unit).await;
    InstanceHeader::create(&store, &unit, &mut SysRng, INSTANCE, unit.pattern(), PATIENCE).await.unwrap();
    let create = async |kind| -> KeyRef {
        let new = NewKey { description: Some("of a customer".into()), ..new_key(kind, None) };
        kms.create_key(&CALL, op(), new).await.unwrap().id.into()
    };
    let (mut purged, mut kept) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let kind = if n % 2 == 0 { KeyKind::Root } else { KeyKind::Standard };
        purged.push(create(kind).await);
        kept.push(create(kind).await);
    }
    for key in purged.iter().step_by(2) {
        kms.rotate(&CALL, op(), key, None).await.unwrap();
        kms.disable(&CALL, op(), key).await.unwrap();
    }
    let named = |keys: &[KeyRef]| -> Vec<String> {
        keys.iter().flat_map(|key| [format!("/k/{key}"), format!("/b/{key}")]).collect()
    };
    let named = named(&purged);
    let parts: Vec<&str> = named.iter().map(String::as_str).collect();
    let mut samples = raw::entries(&store, &parts).await;
    for key in &purged {
        kms.delete(&CALL, op(), key).await.unwrap();
    }
    samples.extend(raw::entries(&store, &parts).await);
    let secret = unit.instance_secret(&kms.header(&CALL).await.unwrap()).await;
    let keys = Keys::of(&secret);
    close(store, kms).await;
    let beside = folder.path().join("keystore.redb.secrets");
    let secrets = || secrets_in(&std::fs::read(&beside).unwrap());
    // The scan finds what can be opened, as long as nothing is purged.
    let (there, open_before) = remains(&std::fs::read(&path).unwrap(), &samples, &keys, &secrets());
    assert!(there > 60 && open_before == there, "{open_before} of {there}");

    let (store, kms) = open(&path, &unit).await;
    for key in &purged {
        kms.purge(&CALL, op(), key).await.unwrap();
    }
    close(store, kms).await;
    let (there, open_after) = remains(&std::fs::read(&path).unwrap(), &samples, &keys, &secrets());
    assert!(there > 40, "only {there} samples remain, so that the file shows nothing");
    assert_eq!(open_after, 0, "of {there}");

    let (_, kms) = open(&path, &unit).await;
    for key in &kept {
        kms.get_key(&CALL, key).await.unwrap();
    }
    assert_eq!(kms.count_keys(&CALL, &KeyQuery::default()).await.unwrap(), kept.len());
}

/// The file of secrets of an older time is put back: the records of newer keys are named, not taken for purged.
#[tokio::test]
async fn attack_an_older_file_of_secrets_hides_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.redb");
    let beside = folder.path().join("keystore.redb.secrets");
    let unit = Arc::new(FakeUnit::new([0x4d; 32]));
    let (store, kms) = open(&path, &unit).await;
    InstanceHeader::create(&store, &unit, &mut SysRng, INSTANCE, unit.pattern(), PATIENCE).await.unwrap();
    close(store, kms).await;
    let older = std::fs::read(&beside).unwrap();
    let (store, kms) = open(&path, &unit).await;
    let key: KeyRef = kms.create_key(&CALL, op(), new_key(KeyKind::Root, None)).await.unwrap().id.into();
    close(store, kms).await;
    let newest = std::fs::read(&beside).unwrap();
    std::fs::write(&beside, older).unwrap();
    let (store, kms) = open(&path, &unit).await;
    for refused in [
        kms.metadata(&CALL, &key).await.map(|_| ()),
        kms.list_keys(&CALL, &KeyQuery::default()).await.map(|_| ()),
    ] {
        let Err(KmsError::Store(error)) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("older than the keystore"), "{error}");
    }
    close(store, kms).await;
    std::fs::write(&beside, newest).unwrap();
    open(&path, &unit).await.1.metadata(&CALL, &key).await.unwrap();
}

/// The machine crashes at each durable step of creations and purges, before or after it takes effect. Afterwards every
/// acknowledged key is usable, and no secret remains that no key has.
#[tokio::test]
async fn an_interruption_at_any_step_leaves_no_secret_without_a_key() {
    let mut interrupted = 0;
    for n in 0.. {
        for lasts in [false, true] {
            let mut region = Region::new(1, 1).await;
            let instance = region.instances[0];
            let call = region.call(instance);
            let mut kept = Vec::new();
            for _ in 0..3 {
                kept.push(region.keep(instance).await.unwrap());
            }
            region.fuse.arm(n, lasts);
            let mut gone = Vec::new();
            let outcome: Result<(), KmsError> = async {
                let key = region.keep(instance).await?;
                kept.push(region.keep(instance).await?);
                gone.push(key.key.clone());
                region.kms.delete(&call, op(), &key.key).await?;
                region.kms.purge(&call, op(), &key.key).await?;
                Ok(())
            }
            .await;
            let whole = !region.fuse.is_dead();
            assert_eq!(outcome.is_ok(), whole, "{outcome:?}");
            interrupted += usize::from(!whole);
            region.restart().await;
            for key in &kept {
                region.open_kept(key).await;
            }
            // Each listed key opens, so that its secret is there; and there is no other secret.
            let states = kms::StateSet::LIVE.with(kms::KeyState::Destroyed);
            let query = KeyQuery { states, ..KeyQuery::default() };
            let listed = region.kms.list_keys(&call, &query).await.unwrap();
            let mut used = BTreeSet::new();
            for (_, value) in raw::entries(&*region.store, &["/k/"]).await {
                used.insert(raw::secret_of(&*region.store, &value).await.unwrap().0);
            }
            let owner = SecretOwner(instance.0.into_bytes());
            let left = region.store.inherited_secrets(owner, D).await.unwrap();
            assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), used, "step {n}");
            assert_eq!(listed.len(), used.len());
            if whole {
                assert!(interrupted > 12, "{interrupted}");
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_creation_that_is_refused_leaves_its_secret_for_the_next() {
    let region = Region::new(1, 1).await;
    let (instance, store) = (region.instances[0], &region.store);
    let call = region.call(instance);
    let named = || NewKey { aliases: vec!["one".into()], ..new_key(KeyKind::Root, None) };
    region.kms.create_key(&call, op(), named()).await.unwrap();
    for _ in 0..3 {
        let refused = region.kms.create_key(&call, op(), named()).await;
        assert!(matches!(refused, Err(KmsError::AliasNotUnique { .. })));
    }
    store.inner.inherit_secrets();
    assert_eq!(store.inherited_secrets(OWNER, D).await.unwrap().len(), 1);
}
