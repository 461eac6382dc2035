//! Secrets: drawn, read, erased.

use std::collections::BTreeSet;

use super::{D, Fixture, Keystore};
use crate::{
    AdoptedSecret, Limit, MAX_SECRETS, Secret, SecretId, SecretOwner, SlotInUse, StoreError, UnnamedSecrets,
};

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

fn adopted(slot: u32, generation: u32, byte: u8) -> AdoptedSecret {
    let id = SecretId(u64::from(slot) << 32 | u64::from(generation));
    AdoptedSecret { owner: FIRST, id, secret: Secret::copy_of(&[byte; 32]) }
}

async fn read(store: &impl Keystore, id: SecretId) -> Option<u8> {
    store.secret(id, D).await.unwrap().map(|secret| {
        let [first, ..] = *secret.expose();
        assert_eq!(*secret.expose(), [first; 32]);
        first
    })
}

pub async fn an_adopted_secret_has_its_identifier(f: &impl Fixture) {
    let store = f.open().await;
    // Far beyond what the store has drawn, and twice, and again after an erasure.
    let ids = [adopted(1, 1, 0).id, adopted(70, 9, 0).id, adopted(500, 3, 0).id];
    for _ in 0..2 {
        let all = vec![adopted(1, 1, 1), adopted(70, 9, 2), adopted(500, 3, 3)];
        store.adopt_secrets(all, SlotInUse::Refuse, D).await.unwrap();
        for (id, byte) in ids.iter().zip(1..) {
            assert_eq!(read(&store, *id).await, Some(byte));
        }
        assert!(store.inherited_secrets(FIRST, D).await.unwrap().is_empty());
        store.erase_secrets(&ids[1..2], D).await.unwrap();
        assert_eq!(read(&store, ids[1]).await, None);
    }
    let Some(store) = f.reopen(store).await else { return };
    assert_eq!(store.inherited_secrets(FIRST, D).await.unwrap(), [ids[0], ids[2]]);
    // What is adopted again is as new as what is drawn now.
    store.adopt_secrets(vec![adopted(1, 1, 1)], SlotInUse::Refuse, D).await.unwrap();
    assert_eq!(store.inherited_secrets(FIRST, D).await.unwrap(), [ids[2]]);
    let inherited = UnnamedSecrets::Inherited(FIRST);
    assert_eq!(store.erase_unnamed(inherited, &BTreeSet::new(), D).await, Ok(1));
    assert_eq!((read(&store, ids[0]).await, read(&store, ids[2]).await), (Some(1), None));
}

pub async fn drawn_and_adopted_identifiers_never_meet(f: &impl Fixture) {
    let store = f.open().await;
    let mut ids = BTreeSet::new();
    for n in 0..120_u32 {
        let (id, _) = store.draw_secret(FIRST, D).await.unwrap();
        assert!(ids.insert(id), "{id:?} again");
        let next = adopted(n * 2 + 100, 7, n as u8);
        if ids.iter().any(|id| id.0 >> 32 == next.id.0 >> 32) {
            continue;
        }
        let id = next.id;
        match store.adopt_secrets(vec![next], SlotInUse::Refuse, D).await {
            Ok(()) => assert!(ids.insert(id)),
            // Drawn ahead.
            Err(StoreError::SecretConflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        if n % 3 == 0 {
            store.erase_secrets(&[id], D).await.unwrap();
        }
    }
    assert!(ids.len() > 150);
}

pub async fn a_slot_in_use_is_refused_or_replaced(f: &impl Fixture) {
    let store = f.open().await;
    let (kept, generation, owner) = (adopted(5, 2, 1), adopted(5, 3, 2), SECOND);
    let id = kept.id;
    store.adopt_secrets(vec![kept], SlotInUse::Refuse, D).await.unwrap();
    let others =
        [generation, adopted(5, 1, 2), adopted(5, 2, 2), AdoptedSecret { owner, ..adopted(5, 2, 1) }];
    for other in others {
        let refused = StoreError::SecretConflict { id: other.id, found: id };
        let both = vec![adopted(6, 1, 3), other];
        assert_eq!(store.adopt_secrets(both, SlotInUse::Refuse, D).await, Err(refused));
        assert_eq!(read(&store, id).await, Some(1));
        let part = store.secret(adopted(6, 1, 3).id, D).await;
        assert!(!matches!(part, Ok(Some(_))), "stored in part");
    }
    store.adopt_secrets(vec![adopted(5, 1, 4)], SlotInUse::Replace, D).await.unwrap();
    assert_eq!(read(&store, adopted(5, 1, 0).id).await, Some(4));
    assert_eq!(store.erase_unnamed(UnnamedSecrets::All, &BTreeSet::from([id]), D).await, Ok(1));
    assert_eq!(read(&store, adopted(5, 1, 0).id).await, None);
}

pub async fn an_identifier_out_of_range_is_refused(f: &impl Fixture) {
    let store = f.open().await;
    let most = adopted(MAX_SECRETS + 1, 1, 1);
    for bad in
        [vec![adopted(0, 1, 1)], vec![adopted(1, 0, 1)], vec![most], vec![adopted(9, 1, 1), adopted(9, 2, 1)]]
    {
        let refused = store.adopt_secrets(bad, SlotInUse::Replace, D).await;
        assert_eq!(refused, Err(StoreError::TooLarge { limit: Limit::SecretId }));
    }
    store.erase_secrets(&[SecretId(0), SecretId(u64::MAX), SecretId(7)], D).await.unwrap();
}

pub async fn a_secret_that_was_never_there_can_be_erased(f: &impl Fixture) {
    let store = f.open().await;
    let id = adopted(40, 8, 0).id;
    store.erase_secrets(&[id], D).await.unwrap();
    assert_eq!(read(&store, id).await, None);
    store.adopt_secrets(vec![adopted(40, 9, 1)], SlotInUse::Refuse, D).await.unwrap();
    store.erase_secrets(&[adopted(40, 10, 0).id], D).await.unwrap();
    assert_eq!(read(&store, adopted(40, 9, 0).id).await, Some(1), "another secret in the slot");
}
