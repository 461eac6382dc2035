//! Creating, naming, reading and listing keys; the content of the store.

use std::time::Duration;

use crate::common::{ALICE, PATIENCE, World, new_key, op};
use getrandom::SysRng;
use keystore::StoreError;
use kms::{
    Call, Field, InstanceError, InstanceHeader, InstanceId, KeyKind, KeyOrigin, KeyQuery, KeyRef, KeyState,
    Kms, KmsError, KmsOptions, Mode, NewKey, NoEligibleUnit, OpenError, Payload, Plaintext, RecordError,
    SortBy, SortProperty, StateSet, UnitsError,
};
use unit_api::{UnitError, VerificationPattern};
use uuid::Uuid;

#[tokio::test]
async fn a_generated_root_key_is_active_and_shows_no_material() {
    let w = World::new().await;
    let made = w.kms.create_key(&w.call(), op(), new_key(KeyKind::Root, None)).await.unwrap();
    assert_eq!((made.kind, made.origin, made.state), (KeyKind::Root, KeyOrigin::Generated, KeyState::Active));
    assert_eq!(made.latest_version.id, made.id.first_version());
    assert_eq!((made.created_by.as_str(), made.version_count), (ALICE, 1));
    assert_eq!((made.updated_at, made.rotated_at), (made.created_at, None));
    let key = w.kms.get_key(&w.call(), &made.id.into()).await.unwrap();
    assert_eq!(key.metadata, made);
    assert!(key.payload.is_none());
}

#[tokio::test]
async fn a_standard_key_returns_its_material_until_it_is_deleted() {
    let w = World::new().await;
    let material = b"correct horse battery staple".to_vec();
    let imported = w.create(new_key(KeyKind::Standard, Some(&material))).await;
    let longest = w.create(new_key(KeyKind::Standard, Some(&[7; 7500]))).await;
    let generated = w.create(new_key(KeyKind::Standard, None)).await;
    let payload = async |key: &KeyRef| w.kms.get_key(&w.call(), key).await.unwrap().payload;
    assert_eq!(payload(&imported).await.unwrap().expose(), material);
    assert_eq!(payload(&longest).await.unwrap().expose(), [7; 7500]);
    let once = payload(&generated).await.unwrap();
    assert_eq!(once.expose().len(), 32);
    assert_eq!(payload(&generated).await.unwrap().expose(), once.expose());

    w.kms.delete(&w.call(), op(), &imported).await.unwrap();
    assert!(payload(&imported).await.is_none());
    w.clock.advance(31);
    w.kms.restore(&w.call(), op(), &imported).await.unwrap();
    assert_eq!(payload(&imported).await.unwrap().expose(), material);
}

#[tokio::test]
async fn an_alias_names_one_key_of_the_instance() {
    let w = World::new().await;
    let with = |aliases: &[&str]| NewKey {
        aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
        ..new_key(KeyKind::Root, None)
    };
    let made = w.kms.create_key(&w.call(), op(), with(&["backups", "Backups"])).await.unwrap();
    for alias in ["backups", "Backups"] {
        let found = w.kms.metadata(&w.call(), &KeyRef::parse(alias)).await.unwrap();
        assert_eq!(found.id, made.id);
    }
    let missing = w.kms.metadata(&w.call(), &KeyRef::parse("BACKUPS")).await;
    assert!(matches!(missing, Err(KmsError::KeyNotFound(KeyRef::Alias(a))) if a == "BACKUPS"));
    let second = w.kms.create_key(&w.call(), op(), with(&["other", "Backups"])).await;
    assert!(matches!(second, Err(KmsError::AliasNotUnique { alias }) if alias == "Backups"));
    // Nothing of the refused key is stored, its free alias included.
    assert!(w.kms.metadata(&w.call(), &KeyRef::parse("other")).await.is_err());
    assert_eq!(w.kms.count_keys(&w.call(), &KeyQuery::default()).await.unwrap(), 1);
    // Aliases are per instance, also for a service that has just started.
    let elsewhere = Call { instance: InstanceId(Uuid::from_u128(2)), ..w.call() };
    w.begin(elsewhere.instance).await;
    w.kms.create_key(&elsewhere, op(), with(&["backups"])).await.unwrap();
    let found = w.reopened().await.metadata(&w.call(), &KeyRef::parse("backups")).await.unwrap();
    assert_eq!(found.id, made.id);
}

#[tokio::test]
async fn two_creations_with_one_token_make_one_key() {
    let w = World::new().await;
    let token = op();
    let import = || new_key(KeyKind::Root, Some(&[5; 32]));
    let first = w.kms.create_key(&w.call(), token, import()).await.unwrap();
    w.clock.advance(5);
    let second = w.reopened().await.create_key(&w.call(), token, import()).await.unwrap();
    assert_eq!(first, second);
    let others = [
        NewKey { name: "another".into(), ..import() },
        NewKey { payload: Some(Payload::new(vec![6; 32])), ..import() },
        NewKey { payload: None, ..import() },
        NewKey { kind: KeyKind::Standard, ..import() },
    ];
    for other in others {
        let found = w.kms.create_key(&w.call(), token, other).await;
        assert!(matches!(found, Err(KmsError::OpIdReused)));
    }
    // A token belongs to its caller.
    let bob = Call { caller: "IBMid-bob", ..w.call() };
    assert_ne!(w.kms.create_key(&bob, token, import()).await.unwrap().id, first.id);
}

#[tokio::test]
async fn a_creation_of_unknown_outcome_is_resolved_by_repeating_it() {
    let w = World::new().await;
    let token = op();
    w.store.set_fault(Some(StoreError::Unknown));
    let unknown = w.kms.create_key(&w.call(), token, new_key(KeyKind::Root, None)).await.unwrap_err();
    assert!(matches!(unknown, KmsError::OutcomeUnknown(_)) && unknown.is_retryable());
    w.store.set_fault(None);
    let made = w.kms.create_key(&w.call(), token, new_key(KeyKind::Root, None)).await.unwrap();
    let all = w.kms.list_keys(&w.call(), &KeyQuery::default()).await.unwrap();
    assert_eq!(all, [made]);
}

#[tokio::test]
async fn a_store_that_did_nothing_is_distinguished_from_an_unknown_outcome() {
    let w = World::new().await;
    w.store.set_fault(Some(StoreError::Full));
    let full = w.kms.create_key(&w.call(), op(), new_key(KeyKind::Root, None)).await.unwrap_err();
    assert!(matches!(full, KmsError::Store(StoreError::Full)) && !full.is_retryable());
    let why = StoreError::Unavailable { retry_after: Duration::from_millis(1), reason: "test".into() };
    w.store.set_fault(Some(why));
    let down = w.kms.metadata(&w.call(), &KeyRef::parse("x")).await.unwrap_err();
    assert!(matches!(down, KmsError::Store(StoreError::Unavailable { .. })) && down.is_retryable());
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let w = World::new().await;
    let mut made = Vec::new();
    for i in 0..7 {
        let kind = if i % 3 == 0 { KeyKind::Standard } else { KeyKind::Root };
        let new = NewKey { name: format!("key {i}"), ..new_key(kind, None) };
        made.push(w.kms.create_key(&w.call(), op(), new).await.unwrap());
        w.clock.advance(1);
    }
    let deleted = made[2].id;
    w.kms.delete(&w.call(), op(), &deleted.into()).await.unwrap();
    let list = async |query: KeyQuery| {
        let keys = w.kms.list_keys(&w.call(), &query).await.unwrap();
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    let mut by_id: Vec<_> = made.iter().map(|key| key.id).filter(|id| *id != deleted).collect();
    by_id.sort();
    assert_eq!(list(KeyQuery::default()).await, by_id);
    let page = KeyQuery { offset: 2, limit: 3, ..KeyQuery::default() };
    assert_eq!(list(page.clone()).await, by_id[2..5]);
    assert_eq!(w.kms.count_keys(&w.call(), &page).await.unwrap(), 6, "a count is of all pages");
    assert_eq!(list(KeyQuery { offset: 9, ..KeyQuery::default() }).await, []);
    let destroyed = StateSet::NONE.with(KeyState::Destroyed);
    assert_eq!(list(KeyQuery { states: destroyed, ..KeyQuery::default() }).await, [deleted]);
    let standard = KeyQuery { kind: Some(KeyKind::Standard), ..KeyQuery::default() };
    assert_eq!(w.kms.count_keys(&w.call(), &standard).await.unwrap(), 3);
    let newest_first = SortBy { property: SortProperty::CreatedAt, descending: true };
    let query = KeyQuery {
        states: StateSet::LIVE.with(KeyState::Destroyed),
        sort: vec![SortBy { property: SortProperty::Kind, descending: false }, newest_first],
        ..KeyQuery::default()
    };
    let expected = [5, 4, 2, 1, 6, 3, 0].map(|i| made[i].id);
    assert_eq!(list(query).await, expected);
}

#[tokio::test]
async fn the_store_contains_no_text_of_a_caller() {
    let w = World::new().await;
    let material = *b"0123456789ABCDEFfedcba9876543210";
    let secret = b"a standard key's material".to_vec();
    let described = |kind, payload: &[u8], alias: &str| NewKey {
        name: "NAME-in-clear".into(),
        description: Some("DESCRIPTION-in-clear".into()),
        aliases: vec![alias.into()],
        tags: vec!["TAG-in-clear".into()],
        ..new_key(kind, Some(payload))
    };
    let root = w.create(described(KeyKind::Root, &material, "ALIAS-in-clear")).await;
    w.create(described(KeyKind::Standard, &secret, "ALIAS2-in-clear")).await;
    w.kms.wrap(&w.call(), &root, Some(Plaintext::new(b"PLAINTEXT".to_vec())), &["AAD"]).await.unwrap();
    w.kms.delete(&w.call(), op(), &root).await.unwrap();
    let values = w.stored_values().await;
    assert!(values.len() > 14, "meta, header, two keys with blob and alias, {}", values.len());
    let words: [&[u8]; 8] =
        [b"in-clear", b"NAME", b"TAG", b"DESCR", b"ALIAS", &material, &secret, ALICE.as_bytes()];
    for value in &values {
        for word in words {
            let found = value.windows(word.len()).any(|part| part == word);
            assert!(!found, "{} in {}", word.escape_ascii(), value.escape_ascii());
        }
    }
}

#[tokio::test]
async fn a_record_moved_or_changed_is_refused() {
    use keystore::{Deadline, Freshness, Key, Keystore, OpId, Txn, Write};
    let w = World::new().await;
    let (a, b) = (w.root(None).await, w.root(None).await);
    let name = |key: &KeyRef| Key::from(format!("v1/i/{}/k/{key}", w.instance).into_bytes());
    let read = w.store.get(&[name(&a)], Freshness::Linearizable, Deadline(PATIENCE)).await.unwrap();
    let value = read.entries[0].as_ref().unwrap().value.clone();
    let write = Write::Put { key: name(&b), value, lease: None };
    let txn = Txn { op: OpId([9; 16]), conds: vec![], writes: vec![write] };
    w.store.commit(txn, Deadline(PATIENCE)).await.unwrap();
    w.kms.metadata(&w.call(), &a).await.unwrap();
    let moved = w.kms.metadata(&w.call(), &b).await.unwrap_err();
    assert!(matches!(moved, KmsError::RecordInvalid { why: RecordError::Forged, .. }), "{moved}");
    assert!(!moved.is_retryable());
}

#[tokio::test]
async fn a_header_that_was_changed_is_refused() {
    use keystore::{Deadline, Freshness, Key, Keystore, OpId, Txn, Write};
    let w = World::new().await;
    let name = Key::from(format!("v1/i/{}/hdr", w.instance).into_bytes());
    let read =
        w.store.get(std::slice::from_ref(&name), Freshness::Linearizable, Deadline(PATIENCE)).await.unwrap();
    let mut value = read.entries[0].as_ref().unwrap().value.to_vec();
    value[2] = Mode::Frozen as u8;
    let write = Write::Put { key: name, value: value.into(), lease: None };
    let txn = Txn { op: OpId([9; 16]), conds: vec![], writes: vec![write] };
    w.store.commit(txn, Deadline(PATIENCE)).await.unwrap();
    for kms in [w.kms.clone(), w.reopened().await] {
        let found = kms.header(&w.call()).await.unwrap_err();
        assert!(matches!(found, KmsError::RecordInvalid { why: RecordError::Forged, .. }), "{found}");
    }
}

#[tokio::test]
async fn a_read_only_instance_still_reads_and_wraps() {
    let w = World::new().await;
    let key = w.root(None).await;
    let before = w.kms.header(&w.call()).await.unwrap();
    let frozen = w.kms.set_mode(&w.call(), op(), Mode::Frozen).await.unwrap();
    assert_eq!((frozen.mode, frozen.epoch), (Mode::Frozen, before.epoch + 1));
    let refused = w.kms.create_key(&w.call(), op(), new_key(KeyKind::Root, None)).await.unwrap_err();
    assert!(matches!(refused, KmsError::ReadOnly { mode: Mode::Frozen, epoch: 2 }));
    assert!(matches!(w.kms.rotate(&w.call(), op(), &key, None).await, Err(KmsError::ReadOnly { .. })));
    assert!(matches!(w.kms.delete(&w.call(), op(), &key).await, Err(KmsError::ReadOnly { .. })));
    let wrapped = w.kms.wrap(&w.call(), &key, None, &["x"]).await.unwrap();
    w.kms.unwrap(&w.call(), &key, &wrapped.ciphertext, &["x"]).await.unwrap();
    w.kms.set_mode(&w.call(), op(), Mode::ReadWrite).await.unwrap();
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
}

#[tokio::test]
async fn a_token_repeats_only_the_same_change_of_mode() {
    let w = World::new().await;
    let token = op();
    let frozen = w.kms.set_mode(&w.call(), token, Mode::Frozen).await.unwrap();
    assert_eq!(w.kms.set_mode(&w.call(), token, Mode::Frozen).await.unwrap().epoch, frozen.epoch);
    // A different change is made or refused; the service does not mistake it for the first one.
    let thawed = w.kms.set_mode(&w.call(), token, Mode::ReadWrite).await.unwrap();
    assert_eq!((thawed.mode, thawed.epoch), (Mode::ReadWrite, frozen.epoch + 1));
}

#[tokio::test]
async fn unknown_names_are_not_found() {
    let w = World::new().await;
    let nowhere = Call { instance: InstanceId(Uuid::from_u128(77)), ..w.call() };
    let found = w.kms.list_keys(&nowhere, &KeyQuery::default()).await;
    assert!(matches!(found, Err(KmsError::InstanceNotFound(id)) if id == nowhere.instance));
    let id = KeyRef::parse("7c44b60d-a3f2-4e26-a0f1-11a1c6bb3c6e");
    assert!(matches!(w.kms.get_key(&w.call(), &id).await, Err(KmsError::KeyNotFound(found)) if found == id));
    let mut rng = SysRng;
    let exists = InstanceHeader::create(
        &w.store,
        &w.unit,
        &mut rng,
        w.instance,
        VerificationPattern::from_bytes([3; 32]),
        PATIENCE,
    );
    assert!(matches!(exists.await, Err(InstanceError::Exists(id)) if id == w.instance));
}

#[tokio::test]
async fn without_a_serving_unit_creation_fails_and_stores_nothing() {
    let w = World::new().await;
    let key = w.root(None).await;
    w.unit.set_fault(Some(UnitsError::NoEligibleUnit(NoEligibleUnit::Unreachable(
        "all units are down".to_owned(),
    ))));
    let down = w.kms.wrap(&w.call(), &key, None, &[""; 0]).await.unwrap_err();
    assert!(matches!(down, KmsError::Units(UnitsError::NoEligibleUnit(_))) && down.is_retryable());
    assert!(w.kms.create_key(&w.call(), op(), new_key(KeyKind::Root, None)).await.is_err());
    // Metadata needs no unit once the instance is open; a service that has just started needs one.
    assert_eq!(w.kms.list_keys(&w.call(), &KeyQuery::default()).await.unwrap().len(), 1);
    let cold = w.reopened().await.list_keys(&w.call(), &KeyQuery::default()).await;
    assert!(matches!(cold, Err(KmsError::Units(_))));
    w.unit.set_fault(Some(UnitsError::Refused(UnitError::WkidMismatch.into())));
    let foreign = w.kms.wrap(&w.call(), &key, None, &[""; 0]).await.unwrap_err();
    assert!(matches!(foreign, KmsError::Units(UnitsError::Refused(_))) && !foreign.is_retryable());
}

#[tokio::test]
async fn a_request_past_its_deadline_starts_nothing() {
    let w = World::new().await;
    let late = Call { deadline: Duration::ZERO, ..w.call() };
    let served = w.unit.served();
    let found = w.kms.create_key(&late, op(), new_key(KeyKind::Root, None)).await;
    assert!(matches!(found, Err(KmsError::DeadlineExceeded)));
    assert_eq!(w.unit.served(), served);
}

#[tokio::test]
async fn fields_are_checked() {
    let w = World::new().await;
    let short = NewKey { name: "x".into(), ..new_key(KeyKind::Root, None) };
    let found = w.kms.create_key(&w.call(), op(), short).await.unwrap_err();
    assert!(matches!(found, KmsError::InvalidField { field: Field::Name, .. }));
    assert_eq!(found.to_string(), "the field `name` must be: 2-90 characters long");
    let past = Some(w.kms.header(&w.call()).await.map(|_| jiff::Timestamp::UNIX_EPOCH).unwrap());
    let expired = NewKey { expires_at: past, ..new_key(KeyKind::Root, None) };
    let found = w.kms.create_key(&w.call(), op(), expired).await.unwrap_err();
    assert!(matches!(found, KmsError::InvalidField { field: Field::ExpirationDate, .. }));
}

#[tokio::test]
async fn a_foreign_store_is_refused() {
    use keystore::{Deadline, Key, Keystore, MemoryStore, OpId, StoreIdentity, Txn, WallClock, Write};
    let w = World::new().await;
    let store = MemoryStore::new(StoreIdentity([2; 16]), WallClock::system());
    let write =
        Write::Put { key: Key::from(*b"v1/meta"), value: b"something else".as_slice().into(), lease: None };
    let txn = Txn { op: OpId([1; 16]), conds: vec![], writes: vec![write] };
    store.commit(txn, Deadline(PATIENCE)).await.unwrap();
    let found = Kms::open(store, w.unit.clone(), KmsOptions::default(), PATIENCE).await;
    assert!(matches!(found, Err(OpenError::ForeignStore { found_len: 14 })));
    assert_eq!(w.reopened().await.store_meta(), w.kms.store_meta());
}

#[tokio::test]
async fn the_proof_is_what_a_host_expects() {
    use hmac::Mac;
    use kms::Units;
    use sha2::Digest;
    use unit_api::{Command, Response, Variants};
    let w = World::new().await;
    let header = InstanceHeader::read(&w.store, w.instance, PATIENCE).await.unwrap().unwrap();
    assert_eq!(header.pattern().as_bytes(), w.unit.pattern().as_bytes());
    let proof = header.proof;
    let (key, iv, ciphertext) = (&proof.root_blob, proof.iv, &proof.sealed_secret);
    let aad = b"hsm-sim instance secret v1";
    let reply =
        w.unit.execute(&Variants::of(Command::Decrypt { key, iv, aad, ciphertext }), PATIENCE).await.unwrap();
    let Response::Plaintext(secret) = reply.response().unwrap() else { panic!("no plaintext") };
    assert_eq!(secret.len(), 32);
    let commitment = sha2::Sha256::new().chain_update(b"hsm-sim instance commitment v1").chain_update(secret);
    assert_eq!(proof.commitment, <[u8; 32]>::from(commitment.finalize()));
    let canary = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(secret).unwrap();
    let canary = canary.chain_update(b"hsm-sim canary v1").finalize().into_bytes();
    assert_eq!(w.unit.exposed(&proof.canary_blob, engine::KeyUses::SIGN), canary.as_slice());
}
