//! Power cuts while secrets are drawn and erased: an acknowledged secret is there, an acknowledged erasure is complete.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{Disk, Fault, Random};
use keystore::{
    AdoptedSecret, Deadline, Keystore, RedbOptions, RedbStore, Secret, SecretId, SecretOwner, SlotInUse,
    StoreError, StoreOpenError, UnnamedSecrets,
};

const D: Deadline = Deadline(Duration::from_secs(60));
const OWNER: SecretOwner = SecretOwner([5; 16]);
const STEPS: u64 = 120;

fn options() -> RedbOptions {
    RedbOptions::default().without_threads().cache_bytes(1024 * 1024)
}

async fn open(base: &Disk, secrets: &Disk) -> Result<RedbStore, StoreOpenError> {
    RedbStore::open_with_backends(base.clone(), secrets.clone(), options()).await
}

/// What the store has acknowledged.
#[derive(Default)]
struct Known {
    drawn: BTreeMap<SecretId, [u8; 32]>,
    erased: BTreeMap<SecretId, [u8; 32]>,
    /// Of an erasure whose outcome is unknown.
    unknown: Option<SecretId>,
}

/// Draws and erases until something fails.
async fn run(store: &RedbStore, random: &mut Random) -> (Known, Option<StoreError>) {
    let mut known = Known::default();
    for _ in 0..STEPS {
        let erasing = known.drawn.keys().nth(random.below(40) as usize).copied();
        let outcome = match erasing {
            None => store.draw_secret(OWNER, D).await.map(|(id, secret)| {
                assert!(!known.drawn.contains_key(&id) && !known.erased.contains_key(&id), "{id:?} again");
                known.drawn.insert(id, *secret.expose());
            }),
            Some(id) => match store.erase_secrets(&[id], D).await {
                Ok(()) => {
                    let secret = known.drawn.remove(&id).unwrap();
                    known.erased.insert(id, secret);
                    Ok(())
                }
                Err(error) => {
                    known.unknown = Some(id);
                    Err(error)
                }
            },
        };
        if let Err(error) = outcome {
            return (known, Some(error));
        }
    }
    (known, None)
}

async fn check(base: &Disk, image: Vec<u8>, known: &Known) {
    let secrets = Disk::with(image);
    let store = open(base, &secrets).await.unwrap();
    for (id, secret) in known.drawn.iter().filter(|(id, _)| known.unknown != Some(**id)) {
        assert_eq!(store.secret(*id, D).await.unwrap().unwrap().expose(), secret);
    }
    for (id, secret) in &known.erased {
        // An error, if the slot was being used again.
        assert!(!matches!(store.secret(*id, D).await, Ok(Some(_))));
        assert!(!secrets.written().windows(32).any(|part| part == secret), "an erased secret is in the file");
    }
    // Numbers are not used again, and the file is usable.
    for _ in 0..40 {
        let (id, _) = store.draw_secret(OWNER, D).await.unwrap();
        assert!(!known.drawn.contains_key(&id) && !known.erased.contains_key(&id));
    }
    let inherited = store.inherited_secrets(OWNER, D).await.unwrap();
    assert!(known.drawn.keys().filter(|id| known.unknown != Some(**id)).all(|id| inherited.contains(id)));
}

/// A store with its disks, and the number of disk operations of a whole run.
async fn new_store() -> (Disk, Vec<u8>, u64) {
    let (base, secrets) = (Disk::default(), Disk::default());
    open(&base, &secrets).await.unwrap().close().await.unwrap();
    let (base, image) = (Disk::with(base.written()), secrets.written());
    let secrets = Disk::with(image.clone());
    let store = open(&base, &secrets).await.unwrap();
    let before = secrets.steps();
    assert_eq!(run(&store, &mut Random(1)).await.1, None);
    store.close().await.unwrap();
    (base, image, secrets.steps() - before)
}

#[tokio::test]
async fn a_power_cut_at_any_step_loses_no_secret_and_leaves_none() {
    let (base, image, steps) = new_store().await;
    let (mut cuts, mut erased) = (0, 0);
    for at in 0..steps {
        let secrets = Disk::with(image.clone());
        let store = open(&base, &secrets).await.unwrap();
        secrets.fail_at(at, Fault::PowerCut);
        let (known, error) = run(&store, &mut Random(1)).await;
        cuts += u64::from(error.is_some());
        erased += known.erased.len();
        assert!(error.is_none_or(|error| matches!(error, StoreError::Corrupt(_))));
        // Nothing is drawn or erased after a failure.
        if known.unknown.is_some() {
            assert!(matches!(store.draw_secret(OWNER, D).await, Err(StoreError::Corrupt(_))));
        }
        store.close().await.unwrap();
        for seed in 0..3 {
            check(&base, secrets.after_power_loss(&mut Random(at * 3 + seed)), &known).await;
        }
    }
    assert!(cuts > 50 && erased > 100, "{cuts} cuts, {erased} erasures");
}

#[tokio::test]
async fn a_full_disk_draws_nothing_and_still_erases() {
    let (base, image, _) = new_store().await;
    let secrets = Disk::with(image);
    let store = open(&base, &secrets).await.unwrap();
    let (id, _) = store.draw_secret(OWNER, D).await.unwrap();
    let waiting = 31;
    for _ in 0..waiting {
        store.draw_secret(OWNER, D).await.unwrap();
    }
    secrets.fail_at(0, Fault::NoRoom);
    assert_eq!(store.draw_secret(OWNER, D).await.unwrap_err(), StoreError::Full);
    secrets.mend();
    store.erase_secrets(&[id], D).await.unwrap();
    assert!(store.secret(id, D).await.unwrap().is_none());
    store.draw_secret(OWNER, D).await.unwrap();
}

#[tokio::test]
async fn attack_a_store_without_its_secrets_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let beside = folder.path().join("store.redb.secrets");
    let store = RedbStore::open(&path, options()).await.unwrap();
    let (id, _) = store.draw_secret(OWNER, D).await.unwrap();
    store.close().await.unwrap();
    let good = std::fs::read(&beside).unwrap();
    for bad in [None, Some(b"rubbish".to_vec()), Some(vec![0; good.len()])] {
        match &bad {
            None => std::fs::remove_file(&beside).unwrap(),
            Some(bytes) => std::fs::write(&beside, bytes).unwrap(),
        }
        let refused = RedbStore::open(&path, options()).await.unwrap_err();
        assert!(
            matches!(&refused, StoreOpenError::SecretsLost { path, .. } if *path == beside),
            "{refused:?}"
        );
    }
    std::fs::write(&beside, good).unwrap();
    let store = RedbStore::open(&path, options()).await.unwrap();
    assert!(store.secret(id, D).await.unwrap().is_some());
}

/// Secrets of another store, some in slots that are in use here, in two rounds. Returns how many rounds are acknowledged.
async fn adopt(store: &RedbStore) -> (usize, Option<StoreError>) {
    for (round, secrets) in rounds().into_iter().enumerate() {
        if let Err(error) = store.adopt_secrets(secrets, SlotInUse::Replace, D).await {
            return (round, Some(error));
        }
    }
    (2, None)
}

fn rounds() -> [Vec<AdoptedSecret>; 2] {
    let secret = |slot: u64, generation: u64, byte: u8| AdoptedSecret {
        owner: OWNER,
        id: SecretId(slot << 32 | generation),
        secret: Secret::copy_of(&[byte; 32]),
    };
    let first = (0..20).map(|n| secret(n * 9 + 3, 1 + n % 3, 100 + n as u8));
    // In part the same slots, with other secrets.
    let second = (0..20).map(|n| secret(n * 18 + 3, 5, 150 + n as u8));
    [first.collect(), second.collect()]
}

#[tokio::test]
async fn a_power_cut_at_any_step_of_an_adoption_is_made_good_by_a_repetition() {
    let (base, image, _) = new_store().await;
    let mut cuts = 0;
    for at in 0.. {
        let secrets = Disk::with(image.clone());
        let store = open(&base, &secrets).await.unwrap();
        let (own, _) = store.draw_secret(OWNER, D).await.unwrap();
        secrets.fail_at(at, Fault::PowerCut);
        let (acknowledged, error) = adopt(&store).await;
        store.close().await.unwrap();
        let whole = error.is_none();
        cuts += u64::from(!whole);
        for seed in 0..3 {
            let left = Disk::with(secrets.after_power_loss(&mut Random(at * 3 + seed)));
            let store = open(&base, &left).await.unwrap();
            let slots: Vec<u64> = rounds()[1].iter().map(|secret| secret.id.0 >> 32).collect();
            for (round, adopted) in rounds().iter().enumerate().take(acknowledged) {
                for AdoptedSecret { id, secret, .. } in adopted {
                    // Unless the next round was replacing it.
                    if round == 1 || !slots.contains(&(id.0 >> 32)) {
                        assert_eq!(store.secret(*id, D).await.unwrap().unwrap().expose(), secret.expose());
                    }
                }
            }
            assert_eq!(adopt(&store).await, (2, None), "cut at {at}");
            for AdoptedSecret { id, secret, .. } in &rounds()[1] {
                assert_eq!(store.secret(*id, D).await.unwrap().unwrap().expose(), secret.expose());
            }
            let replaced = rounds()[0].iter().filter(|secret| slots.contains(&(secret.id.0 >> 32))).count();
            assert!(replaced > 5);
            // What was replaced is nowhere, and nothing that was adopted is drawn.
            let whole = left.written();
            for AdoptedSecret { id, secret, .. } in &rounds()[0] {
                let is_there = whole.windows(32).any(|part| part == secret.expose());
                assert_eq!(is_there, !slots.contains(&(id.0 >> 32)), "{id:?}");
            }
            let mut ids: Vec<SecretId> = rounds().into_iter().flatten().map(|secret| secret.id).collect();
            ids.push(own);
            for _ in 0..40 {
                assert!(!ids.contains(&store.draw_secret(OWNER, D).await.unwrap().0));
            }
            store.erase_unnamed(UnnamedSecrets::All, &[].into(), D).await.unwrap();
            assert!(!left.written().chunks(64).skip(1).any(|slot| slot[24..56] != [0; 32]), "cut at {at}");
        }
        if whole {
            break;
        }
    }
    assert!(cuts > 40, "{cuts} cuts");
}
