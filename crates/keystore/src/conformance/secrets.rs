//! Secrets: drawn, read, erased.

use std::collections::BTreeSet;

use super::{D, Fixture, Keystore};
use crate::SecretOwner;

const FIRST: SecretOwner = SecretOwner([1; 16]);
const SECOND: SecretOwner = SecretOwner([2; 16]);

pub async fn a_secret_is_read_back_until_it_is_erased(f: &impl Fixture) {
    let store = f.open().await;
    let (id, drawn) = store.draw_secret(FIRST, D).await.unwrap();
    assert_ne!(id.0, 0);
    let read = store.secret(id, D).await.unwrap().unwrap();
    assert!(read.expose() == drawn.expose() && *drawn.expose() != [0; 32]);
    for _ in 0..2 {
        store.erase_secrets(&[id], D).await.unwrap();
        assert!(store.secret(id, D).await.unwrap().is_none());
    }
}

pub async fn secrets_and_their_identifiers_are_never_the_same(f: &impl Fixture) {
    let store = f.open().await;
    let (mut ids, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..100 {
        let (id, secret) = store.draw_secret(FIRST, D).await.unwrap();
        assert!(ids.insert(id) && secrets.insert(*secret.expose()), "the {n}th again");
        if n % 2 == 0 {
            store.erase_secrets(&[id], D).await.unwrap();
        }
    }
}

pub async fn the_secrets_of_an_owner_are_erased_together(f: &impl Fixture) {
    let store = f.open().await;
    let (mine, _) = store.draw_secret(FIRST, D).await.unwrap();
    let (other, _) = store.draw_secret(SECOND, D).await.unwrap();
    store.erase_owner(FIRST, D).await.unwrap();
    assert!(store.secret(mine, D).await.unwrap().is_none());
    assert!(store.secret(other, D).await.unwrap().is_some());
    let (again, _) = store.draw_secret(FIRST, D).await.unwrap();
    assert!(again != mine && store.secret(again, D).await.unwrap().is_some());
}

pub async fn a_released_secret_may_be_drawn_again(f: &impl Fixture) {
    let store = f.open().await;
    let (id, _) = store.draw_secret(FIRST, D).await.unwrap();
    store.release_secret(FIRST, id);
    let (again, secret) = store.draw_secret(FIRST, D).await.unwrap();
    assert!(store.secret(again, D).await.unwrap().unwrap().expose() == secret.expose());
}

pub async fn secrets_survive_and_are_inherited(f: &impl Fixture) {
    let store = f.open().await;
    let (kept, secret) = store.draw_secret(FIRST, D).await.unwrap();
    let (erased, _) = store.draw_secret(FIRST, D).await.unwrap();
    store.erase_secrets(&[erased], D).await.unwrap();
    assert!(store.inherited_secrets(FIRST, D).await.unwrap().is_empty());
    let Some(store) = f.reopen(store).await else { return };
    let (drawn, _) = store.draw_secret(FIRST, D).await.unwrap();
    let inherited = store.inherited_secrets(FIRST, D).await.unwrap();
    assert!(inherited.contains(&kept) && !inherited.contains(&erased) && !inherited.contains(&drawn));
    assert!(store.secret(kept, D).await.unwrap().unwrap().expose() == secret.expose());
    assert!(store.secret(erased, D).await.unwrap().is_none());
    assert!(store.inherited_secrets(SECOND, D).await.unwrap().is_empty());
}
