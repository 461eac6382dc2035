//! The pin of a store: what is missing, older or another store is refused, and a crash at any point locks no caller out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keystore::{
    Accepted, Commit, Deadline, Freshness, Key, Keystore, OpId, RedbOptions, RedbStore, StoreOpenError,
    StorePin, Txn, Write,
};

const D: Deadline = Deadline(Duration::from_secs(60));

/// A folder with a store and its pin.
struct Place {
    _folder: tempfile::TempDir,
    store: PathBuf,
    pin: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, pin) = (folder.path().join("store.redb"), folder.path().join("store.pin"));
        Self { _folder: folder, store, pin }
    }

    fn options(&self) -> RedbOptions {
        RedbOptions::default().reserve_bytes(0).pin(&self.pin)
    }

    async fn open(&self, accepted: Accepted) -> Result<RedbStore, StoreOpenError> {
        RedbStore::open(&self.store, self.options().must_exist(true).accept(accepted)).await
    }

    /// Opens the store, adds entries and closes it. Returns its file and its pin.
    async fn grow(&self, entries: u8) -> (Vec<u8>, String) {
        let store = RedbStore::open(&self.store, self.options()).await.unwrap();
        for n in 0..entries {
            put(&store, n).await;
        }
        store.pin().unwrap().raise_mark("instance", (1, 1, count(&store).await as u64));
        store.close().await.unwrap();
        (std::fs::read(&self.store).unwrap(), std::fs::read_to_string(&self.pin).unwrap())
    }

    /// The file of secrets.
    fn secrets(&self) -> PathBuf {
        let mut secrets = self.store.clone().into_os_string();
        secrets.push(".secrets");
        secrets.into()
    }

    /// Removes what a store records itself, which a writer of the store can remove too.
    fn forget_side_file(&self) {
        let mut side_file = self.store.clone().into_os_string();
        side_file.push(".last");
        let _ = std::fs::remove_file(side_file);
    }
}

async fn put(store: &RedbStore, n: u8) {
    let mut op = [0; 16];
    getrandom::fill(&mut op).unwrap();
    let write = Write::Put { key: Key::from([n, op[0], op[1]]), value: vec![n].into(), lease: None };
    let outcome = store.commit(Txn { op: OpId(op), conds: Vec::new(), writes: vec![write] }, D).await;
    assert!(matches!(outcome, Ok(Commit::Applied { .. })));
}

async fn count(store: &RedbStore) -> usize {
    let page = store.scan(Key::with_prefix(b""), 1000, None, Freshness::Linearizable, D).await.unwrap();
    page.entries.len()
}

fn none() -> Accepted {
    Accepted::default()
}

fn content(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

#[tokio::test]
async fn attack_an_older_file_is_refused_by_name() {
    let place = Place::new();
    let (older, _) = place.grow(3).await;
    let (_, newest_pin) = place.grow(4).await;
    std::fs::write(&place.store, &older).unwrap();
    place.forget_side_file();
    let refused = place.open(none().missing(true).other(true)).await.unwrap_err();
    assert!(
        matches!(&refused, StoreOpenError::Older { found, pinned, .. } if (found.0, pinned.0) == (3, 7)),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("older than it has been"), "{refused}");
    assert_eq!(content(&place.store), Some(older), "the file was changed");
    assert_eq!(content(&place.pin), Some(newest_pin.into_bytes()), "the pin was changed");

    let store = place.open(none().older(true)).await.unwrap();
    assert_eq!((count(&store).await, store.pin().unwrap().mark("instance")), (3, None));
    let identity = store.identity();
    store.close().await.unwrap();
    let store = place.open(none()).await.unwrap();
    assert_eq!((count(&store).await, store.identity()), (3, identity));
}

#[tokio::test]
async fn attack_a_missing_file_is_not_replaced_by_an_empty_store() {
    let place = Place::new();
    place.grow(0).await;
    std::fs::remove_file(&place.store).unwrap();
    place.forget_side_file();
    for _ in 0..2 {
        let refused = place.open(none().older(true).other(true)).await.unwrap_err();
        assert!(matches!(refused, StoreOpenError::Missing { .. }), "{refused:?}");
        assert_eq!(content(&place.store), None);
        // Not even if the pin is gone as well, as long as the owner of the folder knows that there was a store.
        let _ = std::fs::remove_file(&place.pin);
    }
    let store = place.open(none().missing(true)).await.unwrap();
    assert_eq!(count(&store).await, 0);
    store.close().await.unwrap();
    place.open(none()).await.unwrap();
}

#[tokio::test]
async fn attack_another_store_is_refused_by_name() {
    let (place, other) = (Place::new(), Place::new());
    place.grow(1).await;
    let (foreign, _) = other.grow(9).await;
    std::fs::write(&place.store, &foreign).unwrap();
    std::fs::copy(other.secrets(), place.secrets()).unwrap();
    place.forget_side_file();
    let refused = place.open(none().older(true).missing(true)).await.unwrap_err();
    assert!(matches!(refused, StoreOpenError::Other { .. }), "{refused:?}");
    assert_eq!(content(&place.store), Some(foreign));
    let store = place.open(none().other(true)).await.unwrap();
    assert_eq!((count(&store).await, store.pin().unwrap().mark("instance")), (9, None));
    store.close().await.unwrap();
    place.open(none()).await.unwrap();
}

#[tokio::test]
async fn a_damaged_pin_is_named() {
    let place = Place::new();
    let (_, pin) = place.grow(2).await;
    std::fs::write(&place.pin, &pin[..pin.len() / 2]).unwrap();
    let refused = place.open(none().missing(true).other(true)).await.unwrap_err();
    assert!(matches!(&refused, StoreOpenError::PinDamaged { path } if *path == place.pin), "{refused:?}");
    assert_eq!(count(&place.open(none().older(true)).await.unwrap()).await, 2);
}

/// The pin that a crash leaves is behind the store, never ahead.
#[tokio::test]
async fn a_pin_behind_its_store_follows() {
    let place = Place::new();
    let (_, earlier) = place.grow(2).await;
    let (_, later) = place.grow(5).await;
    assert!(
        earlier.contains("revision 2\nmark instance 1 1 2\n")
            && later.contains("revision 7\nmark instance 1 1 7\n")
    );
    std::fs::write(&place.pin, &earlier).unwrap();
    place.open(none()).await.unwrap().close().await.unwrap();
    assert!(std::fs::read_to_string(&place.pin).unwrap().contains("revision 7\nmark instance 1 1 2\n"));
}

/// The store of an earlier version has no pin.
#[tokio::test]
async fn a_store_without_a_pin_gets_one() {
    let place = Place::new();
    let (older, _) = place.grow(3).await;
    place.grow(1).await;
    std::fs::remove_file(&place.pin).unwrap();
    // As for a program that begins to pin its store.
    RedbStore::open(&place.store, place.options()).await.unwrap().close().await.unwrap();
    std::fs::write(&place.store, &older).unwrap();
    assert!(matches!(place.open(none()).await, Err(StoreOpenError::Older { .. })));
}

/// Every state that a crash leaves while a store is created: the store opens, and is pinned.
#[tokio::test]
async fn an_interrupted_creation_is_repeated() {
    let created = Place::new();
    let (file, pin) = created.grow(0).await;
    let pin = pin.replace("mark instance 1 1 0\n", "");
    let creating = pin.replace("created yes", "created no");
    assert_ne!(creating, pin);
    let begun = Place::new();
    StorePin::begin(&begun.pin).unwrap();
    let begun = std::fs::read_to_string(&begun.pin).unwrap();
    for (file, pin) in [(None, &begun), (None, &creating), (Some(&file), &creating), (Some(&file), &pin)] {
        let place = Place::new();
        std::fs::write(&place.pin, pin).unwrap();
        if let Some(file) = file {
            std::fs::write(&place.store, file).unwrap();
            std::fs::copy(created.secrets(), place.secrets()).unwrap();
        }
        let store = place.open(none()).await.unwrap();
        put(&store, 1).await;
        store.close().await.unwrap();
        std::fs::remove_file(&place.store).unwrap();
        assert!(matches!(place.open(none()).await, Err(StoreOpenError::Missing { .. })));
    }
    // An existing pin stays as it is.
    let before = content(&created.pin);
    StorePin::begin(&created.pin).unwrap();
    assert_eq!(content(&created.pin), before);
}

/// A crash between the store's change of identity and the pin's.
#[tokio::test]
async fn an_interrupted_acceptance_of_an_older_store_locks_no_caller_out() {
    let place = Place::new();
    let (older, _) = place.grow(3).await;
    let (_, newest_pin) = place.grow(4).await;
    std::fs::write(&place.store, &older).unwrap();
    place.forget_side_file();
    let store = place.open(none().older(true)).await.unwrap();
    let identity = store.identity();
    store.close().await.unwrap();
    let renewed = std::fs::read(&place.store).unwrap();
    let between = newest_pin.replace("created", &format!("next {identity}\ncreated"));
    std::fs::write(&place.pin, &between).unwrap();
    let store = place.open(none()).await.unwrap();
    assert_eq!((count(&store).await, store.identity()), (3, identity));
    store.close().await.unwrap();
    // The crash came before the store's change: it has to be accepted again.
    std::fs::write(&place.store, &older).unwrap();
    place.forget_side_file();
    std::fs::write(&place.pin, &between).unwrap();
    assert!(matches!(place.open(none()).await, Err(StoreOpenError::Older { .. })));
    place.open(none().older(true)).await.unwrap();
    assert_ne!(content(&place.store), Some(renewed));
}

/// While the store is open, its pin follows without a clean end of the process.
#[tokio::test]
async fn the_pin_follows_an_open_store() {
    let place = Place::new();
    place.grow(1).await;
    let store = place.open(none()).await.unwrap();
    put(&store, 1).await;
    store.pin().unwrap().raise_mark("instance", (1, 1, 99));
    while !std::fs::read_to_string(&place.pin).unwrap().contains("revision 2\nmark instance 1 1 99\n") {
        tokio::task::yield_now().await;
    }
}

/// Who removes the pin together with an older file in place must not make the store take it for its first start.
#[tokio::test]
async fn attack_a_store_without_its_pin_is_refused() {
    let place = Place::new();
    let (old, _) = place.grow(2).await;
    place.grow(5).await;
    std::fs::write(&place.store, &old).unwrap();
    place.forget_side_file();
    std::fs::remove_file(&place.pin).unwrap();
    let refused = place.open(Accepted::default()).await.unwrap_err();
    assert!(matches!(refused, StoreOpenError::PinDamaged { .. }), "{refused}");
    let mut accepted = Accepted::default();
    accepted.older = true;
    place.open(accepted).await.unwrap().close().await.unwrap();
    place.open(Accepted::default()).await.unwrap();
}
