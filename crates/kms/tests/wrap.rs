//! Wrap, unwrap, rewrap and rotation.

use crate::common::{World, new_key, op};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kms::{
    Call, Field, FieldRule, InstanceId, KeyKind, KeyMetadata, KeyRef, KmsError, Payload, Plaintext, Timers,
    Unwrapped,
};
use uuid::Uuid;

const NO_AAD: [&str; 0] = [];

fn plaintext(bytes: &[u8]) -> Option<Plaintext> {
    Some(Plaintext::new(bytes.to_vec()))
}

impl World {
    async fn wrapped(&self, key: &KeyRef, bytes: &[u8], aad: &[&str]) -> String {
        self.kms.wrap(&self.call(), key, plaintext(bytes), aad).await.unwrap().ciphertext
    }

    async fn unwrapped(&self, key: &KeyRef, ciphertext: &str, aad: &[&str]) -> Result<Unwrapped, KmsError> {
        self.kms.unwrap(&self.call(), key, ciphertext, aad).await
    }

    async fn rotated(&self, key: &KeyRef, payload: Option<&[u8]>) -> KeyMetadata {
        let payload = payload.map(|bytes| Payload::new(bytes.to_vec()));
        self.kms.rotate(&self.call(), op(), key, payload).await.unwrap()
    }
}

#[tokio::test]
async fn a_plaintext_of_any_length_unwraps() {
    let w = World::new().await;
    for material in [None, Some(&[1; 16][..]), Some(&[2; 24]), Some(&[3; 32])] {
        let key = w.root(material).await;
        for len in [1, 18, 24, 32, 35, 32 * 1024] {
            let data = vec![0x5a; len];
            let made = w.kms.wrap(&w.call(), &key, plaintext(&data), &["a", "b"]).await.unwrap();
            assert!(made.generated.is_none());
            let found = w.unwrapped(&key, &made.ciphertext, &["a", "b"]).await.unwrap();
            assert_eq!(found.plaintext.expose(), data);
            assert_eq!(found.version, made.version);
            assert!(found.rewrapped.is_none());
        }
    }
    let key = w.root(None).await;
    for len in [0, 32 * 1024 + 1] {
        let found = w.kms.wrap(&w.call(), &key, plaintext(&vec![1; len]), &NO_AAD).await;
        let Err(KmsError::InvalidField { field: Field::Plaintext, rule }) = found else { unreachable!() };
        assert_eq!(rule, FieldRule::Bytes { min: 1, max: 32 * 1024, found: len });
    }
}

#[tokio::test]
async fn wrapping_without_a_plaintext_generates_a_data_key() {
    let w = World::new().await;
    let key = w.root(None).await;
    let made = w.kms.wrap(&w.call(), &key, None, &NO_AAD).await.unwrap();
    let data_key = made.generated.unwrap();
    assert_eq!(data_key.expose().len(), 32);
    let found = w.unwrapped(&key, &made.ciphertext, &[]).await.unwrap();
    assert_eq!(found.plaintext.expose(), data_key.expose());
    let other = w.kms.wrap(&w.call(), &key, None, &NO_AAD).await.unwrap();
    assert_ne!(other.generated.unwrap().expose(), data_key.expose());
}

#[tokio::test]
async fn the_same_input_never_gives_the_same_ciphertext() {
    let w = World::new().await;
    let key = w.root(None).await;
    assert_ne!(w.wrapped(&key, b"x", &[]).await, w.wrapped(&key, b"x", &[]).await);
}

#[tokio::test]
async fn unwrapping_needs_the_same_associated_data() {
    let w = World::new().await;
    let key = w.root(None).await;
    let lists: [&[&str]; 8] =
        [&[], &[""], &["", ""], &["a", "b"], &["ab"], &["b", "a"], &["a", "b", ""], &["a", "B"]];
    for list in lists {
        let ciphertext = w.wrapped(&key, b"data", list).await;
        for other in lists {
            let found = w.unwrapped(&key, &ciphertext, other).await;
            if other == list {
                assert_eq!(found.unwrap().plaintext.expose(), b"data");
            } else {
                assert!(matches!(found, Err(KmsError::CiphertextRejected)), "{list:?} {other:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_changed_or_foreign_ciphertext_is_refused() {
    let w = World::new().await;
    let (key, other) = (w.root(None).await, w.root(None).await);
    let ciphertext = w.wrapped(&key, b"data", &[]).await;
    assert!(matches!(w.unwrapped(&other, &ciphertext, &[]).await, Err(KmsError::CiphertextRejected)));
    assert!(matches!(w.unwrapped(&key, "not base64!", &[]).await, Err(KmsError::CiphertextMalformed(_))));
    let json = STANDARD.decode(&ciphertext).unwrap();
    let text = String::from_utf8(json.clone()).unwrap();
    let handle = text.find("\"handle\"").unwrap();
    for (i, byte) in json.iter().enumerate() {
        let mut bad = json.clone();
        bad[i] = if *byte == b'A' { b'B' } else { b'A' };
        let found = w.unwrapped(&key, &STANDARD.encode(&bad), &[]).await;
        if i >= handle && found.is_ok() {
            // The handle is a hint: with a wrong one, the service still finds the version.
            continue;
        }
        assert!(
            matches!(found, Err(KmsError::CiphertextRejected | KmsError::CiphertextMalformed(_))),
            "byte {i}"
        );
    }
}

#[tokio::test]
async fn every_version_unwraps_and_only_the_latest_wraps() {
    let w = World::with_timers(Timers::UNGUARDED).await;
    let key = w.root(None).await;
    let mut made = Vec::new();
    for _ in 0..40 {
        let wrapped = w.kms.wrap(&w.call(), &key, None, &["x"]).await.unwrap();
        made.push(wrapped);
        w.rotated(&key, None).await;
    }
    let versions = w.kms.list_versions(&w.call(), &key, false).await.unwrap();
    assert_eq!(versions.len(), 41);
    let latest = versions[0].id;
    for (wrapped, version) in made.iter().zip(versions.iter().rev()) {
        assert_eq!(wrapped.version, version.id);
        let found = w.unwrapped(&key, &wrapped.ciphertext, &["x"]).await.unwrap();
        assert_eq!(found.version, version.id);
        let data_key = wrapped.generated.as_ref().unwrap().expose();
        assert_eq!(found.plaintext.expose(), data_key);
        let new = found.rewrapped.unwrap();
        assert_eq!(new.version, latest);
        let again = w.unwrapped(&key, &new.ciphertext, &["x"]).await.unwrap();
        assert_eq!((again.version, again.rewrapped.is_none()), (latest, true));
        assert_eq!(again.plaintext.expose(), data_key);
    }
    // The version is found without its handle as well.
    let blank = STANDARD.decode(&made[20].ciphertext).unwrap();
    let blank = String::from_utf8(blank).unwrap().replace(&made[20].version.to_string(), "");
    let found = w.unwrapped(&key, &STANDARD.encode(blank), &["x"]).await.unwrap();
    assert_eq!(found.version, made[20].version);

    let rewrapped = w.kms.rewrap(&w.call(), &key, &made[3].ciphertext, &["x"]).await.unwrap();
    assert_eq!((rewrapped.version, rewrapped.new.version), (made[3].version, latest));
    let found = w.unwrapped(&key, &rewrapped.new.ciphertext, &["x"]).await.unwrap();
    assert_eq!(found.plaintext.expose(), made[3].generated.as_ref().unwrap().expose());
    assert!(matches!(
        w.kms.rewrap(&w.call(), &key, &made[3].ciphertext, &["y"]).await,
        Err(KmsError::CiphertextRejected)
    ));
}

#[tokio::test]
async fn keys_of_the_same_material_unwrap_each_others_data() {
    let w = World::new().await;
    let (old, new) = ([0x11; 32], [0x22; 32]);
    let elsewhere = Call { instance: InstanceId(Uuid::from_u128(2)), ..w.call() };
    w.begin(elsewhere.instance).await;
    let a = w.root(Some(&old)).await;
    let made = w.kms.create_key(&elsewhere, op(), new_key(KeyKind::Root, Some(&old))).await.unwrap();
    let b = KeyRef::Id(made.id);
    assert_ne!(a, b);
    let by_a = w.wrapped(&a, b"by a", &["aad"]).await;
    let by_b = w.kms.wrap(&elsewhere, &b, plaintext(b"by b"), &["aad"]).await.unwrap();
    let found = w.kms.unwrap(&elsewhere, &b, &by_a, &["aad"]).await.unwrap();
    assert_eq!(found.plaintext.expose(), b"by a");
    assert_eq!(found.version, made.latest_version.id, "the version that unwraps, not the one that wrapped");
    assert!(found.rewrapped.is_none());
    assert_eq!(w.unwrapped(&a, &by_b.ciphertext, &["aad"]).await.unwrap().plaintext.expose(), b"by b");
    assert!(w.unwrapped(&a, &by_b.ciphertext, &["bad"]).await.is_err());

    // Only one key is rotated: until the other is too, it opens everything older and nothing newer.
    w.rotated(&a, Some(&new)).await;
    let newer = w.wrapped(&a, b"newer", &[]).await;
    let found = w.kms.unwrap(&elsewhere, &b, &by_a, &["aad"]).await.unwrap();
    assert_eq!(found.plaintext.expose(), b"by a");
    let found = w.kms.unwrap(&elsewhere, &b, &newer, &NO_AAD).await;
    assert!(matches!(found, Err(KmsError::CiphertextRejected)));
    w.kms.rotate(&elsewhere, op(), &b, Some(Payload::new(new.to_vec()))).await.unwrap();
    let found = w.kms.unwrap(&elsewhere, &b, &newer, &NO_AAD).await.unwrap();
    assert_eq!(found.plaintext.expose(), b"newer");
    assert_eq!(w.kms.unwrap(&elsewhere, &b, &by_a, &["aad"]).await.unwrap().plaintext.expose(), b"by a");
}

#[tokio::test]
async fn a_rotation_needs_material_exactly_if_the_key_was_imported() {
    let w = World::new().await;
    let (generated, imported) = (w.root(None).await, w.root(Some(&[1; 16])).await);
    let rotate = async |key: &KeyRef, payload: Option<Vec<u8>>| {
        w.kms.rotate(&w.call(), op(), key, payload.map(Payload::new)).await
    };
    assert!(matches!(rotate(&generated, Some(vec![1; 32])).await, Err(KmsError::PayloadNotAllowed)));
    assert!(matches!(rotate(&imported, None).await, Err(KmsError::PayloadRequired)));
    for bad in [vec![1; 31], vec![], vec![0; 32]] {
        let found = rotate(&imported, Some(bad)).await;
        assert!(matches!(found, Err(KmsError::InvalidField { field: Field::Payload, .. })));
    }
    let rotated = rotate(&imported, Some(vec![2; 32])).await.unwrap();
    assert_eq!(rotated.version_count, 2);
    assert_ne!(rotated.latest_version.id, rotated.id.first_version());
    assert_eq!(rotated.rotated_at, Some(rotated.latest_version.created_at));
}

#[tokio::test]
async fn two_rotations_with_one_token_make_one_version() {
    let w = World::new().await;
    let key = w.root(None).await;
    let token = op();
    let first = w.kms.rotate(&w.call(), token, &key, None).await.unwrap();
    let second = w.kms.rotate(&w.call(), token, &key, None).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.version_count, 2);
    w.clock.advance(3600);
    w.kms.rotate(&w.call(), op(), &key, None).await.unwrap();
    let late = w.kms.rotate(&w.call(), token, &key, None).await.unwrap();
    assert_eq!(late.version_count, 3);
}

#[tokio::test]
async fn a_rotation_of_unknown_outcome_is_resolved_by_repeating_it() {
    let w = World::new().await;
    let key = w.root(None).await;
    let token = op();
    w.store.set_fault(Some(keystore::StoreError::Unknown));
    let unknown = w.kms.rotate(&w.call(), token, &key, None).await;
    assert!(matches!(unknown, Err(KmsError::OutcomeUnknown(_))));
    w.store.set_fault(None);
    assert_eq!(w.kms.rotate(&w.call(), token, &key, None).await.unwrap().version_count, 2);
}
