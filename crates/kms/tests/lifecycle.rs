//! States and timers, on a clock that the test moves.

use crate::common::{ALICE, World, new_key, op};
use jiff::SignedDuration;
use kms::{Clock as _, KeyAction, KeyKind, KeyQuery, KeyRef, KeyState, KmsError, NewKey, Payload, Timers};

const NO_AAD: [&str; 0] = [];
const DAY: i64 = 86_400;

impl World {
    async fn state(&self, key: &KeyRef) -> KeyState {
        self.kms.metadata(&self.call(), key).await.unwrap().state
    }

    async fn expiring(&self, kind: KeyKind, seconds: i64) -> KeyRef {
        let expires_at = Some(self.clock.now() + SignedDuration::from_secs(seconds));
        self.create(NewKey { expires_at, ..new_key(kind, None) }).await
    }
}

#[tokio::test]
async fn a_suspended_key_is_unusable_and_can_be_enabled_after_30_s() {
    let w = World::new().await;
    let key = w.root(None).await;
    let ciphertext = w.kms.wrap(&w.call(), &key, None, &NO_AAD).await.unwrap().ciphertext;
    assert_eq!(w.kms.disable(&w.call(), op(), &key).await.unwrap().state, KeyState::Suspended);
    let state = KeyState::Suspended;
    let refused = w.kms.wrap(&w.call(), &key, None, &NO_AAD).await;
    assert!(matches!(refused, Err(KmsError::WrongState { action: KeyAction::Wrap, state: s }) if s == state));
    let refused = w.kms.unwrap(&w.call(), &key, &ciphertext, &NO_AAD).await;
    assert!(matches!(refused, Err(KmsError::WrongState { action: KeyAction::Unwrap, .. })));
    assert!(matches!(w.kms.disable(&w.call(), op(), &key).await, Err(KmsError::WrongState { .. })));
    let from = w.clock.now() + SignedDuration::from_secs(30);
    w.clock.advance(29);
    let early = w.kms.enable(&w.call(), op(), &key).await;
    assert!(matches!(early, Err(KmsError::TooEarly { allowed_from, .. }) if allowed_from == from));
    w.clock.advance(1);
    assert_eq!(w.kms.enable(&w.call(), op(), &key).await.unwrap().state, KeyState::Active);
    w.kms.unwrap(&w.call(), &key, &ciphertext, &NO_AAD).await.unwrap();
}

#[tokio::test]
async fn a_lifecycle_action_repeated_with_its_token_succeeds_without_effect() {
    let w = World::new().await;
    let key = w.root(None).await;
    let token = op();
    let first = w.kms.delete(&w.call(), token, &key).await.unwrap();
    w.clock.advance(3);
    let second = w.kms.delete(&w.call(), token, &key).await.unwrap();
    assert_eq!(first.updated_at, second.updated_at);
    assert!(matches!(w.kms.delete(&w.call(), op(), &key).await, Err(KmsError::KeyDeleted { .. })));
    // The same token with another action is another request.
    w.clock.advance(30);
    assert_eq!(w.kms.restore(&w.call(), token, &key).await.unwrap().state, KeyState::Active);
}

#[tokio::test]
async fn a_deleted_key_is_restored_unchanged_within_30_days() {
    let w = World::new().await;
    let material = [9; 32];
    let key = w.root(Some(&material)).await;
    let ciphertext = w.kms.wrap(&w.call(), &key, None, &NO_AAD).await.unwrap().ciphertext;
    w.kms.disable(&w.call(), op(), &key).await.unwrap();
    let deleted = w.kms.delete(&w.call(), op(), &key).await.unwrap();
    let deletion = deleted.deletion.unwrap();
    assert_eq!((deleted.state, deletion.by.as_str()), (KeyState::Destroyed, ALICE));
    assert_eq!(deletion.restorable_until, deletion.at + SignedDuration::from_hours(30 * 24));
    assert_eq!(deletion.purgeable_from, deletion.at + SignedDuration::from_hours(4));
    assert_eq!(deletion.purged_at, deletion.at + SignedDuration::from_hours(90 * 24));
    assert_eq!((deletion.restorable, deletion.purgeable), (true, false));
    let refused = w.kms.unwrap(&w.call(), &key, &ciphertext, &NO_AAD).await;
    assert!(
        matches!(refused, Err(KmsError::KeyDeleted { action: KeyAction::Unwrap, at }) if at == deletion.at)
    );
    assert!(matches!(w.kms.restore(&w.call(), op(), &key).await, Err(KmsError::TooEarly { .. })));
    w.clock.advance(30 * DAY);
    assert_eq!(w.kms.restore(&w.call(), op(), &key).await.unwrap().state, KeyState::Suspended);
    assert!(matches!(w.kms.restore(&w.call(), op(), &key).await, Err(KmsError::WrongState { .. })));
    w.clock.advance(30);
    w.kms.enable(&w.call(), op(), &key).await.unwrap();
    w.kms.unwrap(&w.call(), &key, &ciphertext, &NO_AAD).await.unwrap();

    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    w.clock.advance(30 * DAY + 1);
    let late = w.kms.restore(&w.call(), op(), &key).await;
    assert!(matches!(late, Err(KmsError::RestoreExpired { .. })));
}

#[tokio::test]
async fn an_expired_key_unwraps_and_does_not_wrap() {
    let w = World::new().await;
    let key = w.expiring(KeyKind::Root, 100).await;
    let ciphertext = w.kms.wrap(&w.call(), &key, None, &NO_AAD).await.unwrap().ciphertext;
    w.clock.advance(99);
    assert_eq!(w.state(&key).await, KeyState::Active);
    w.clock.advance(1);
    assert_eq!(w.state(&key).await, KeyState::Deactivated);
    w.kms.unwrap(&w.call(), &key, &ciphertext, &NO_AAD).await.unwrap();
    w.kms.rewrap(&w.call(), &key, &ciphertext, &NO_AAD).await.unwrap();
    let state = KeyState::Deactivated;
    for refused in [
        w.kms.wrap(&w.call(), &key, None, &NO_AAD).await.map(|_| ()),
        w.kms.rotate(&w.call(), op(), &key, None).await.map(|_| ()),
        w.kms.disable(&w.call(), op(), &key).await.map(|_| ()),
        w.kms.list_versions(&w.call(), &key, false).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(KmsError::WrongState { state: s, .. }) if s == state));
    }
    assert_eq!(w.kms.list_versions(&w.call(), &key, true).await.unwrap().len(), 1);
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    w.clock.advance(31);
    assert!(matches!(w.kms.restore(&w.call(), op(), &key).await, Err(KmsError::KeyExpired { .. })));
}

#[tokio::test]
async fn the_first_rotation_is_immediate_and_later_ones_an_hour_apart() {
    let w = World::new().await;
    let key = w.root(None).await;
    w.kms.rotate(&w.call(), op(), &key, None).await.unwrap();
    w.clock.advance(3599);
    let early = w.kms.rotate(&w.call(), op(), &key, None).await;
    let from = w.clock.now() + SignedDuration::from_secs(1);
    assert!(matches!(early, Err(KmsError::RotationTooEarly { allowed_from, .. }) if allowed_from == from));
    w.clock.advance(1);
    assert_eq!(w.kms.rotate(&w.call(), op(), &key, None).await.unwrap().version_count, 3);
}

#[tokio::test]
async fn a_rotation_repeated_with_its_token_is_the_same_one_or_refused() {
    let w = World::with_timers(Timers::UNGUARDED).await;
    let key = w.root(Some(&[1; 32])).await;
    let token = op();
    let rotate = async |byte| w.kms.rotate(&w.call(), token, &key, Some(Payload::new(vec![byte; 32]))).await;
    let first = rotate(2).await.unwrap();
    assert_eq!(rotate(2).await.unwrap(), first);
    // Otherwise the caller would learn that the material is in use, which it is not.
    assert!(matches!(rotate(3).await, Err(KmsError::OpIdReused)));
    assert_eq!(w.kms.metadata(&w.call(), &key).await.unwrap(), first);
}

#[tokio::test]
async fn only_root_keys_wrap_rotate_and_suspend() {
    let w = World::new().await;
    let key = w.create(new_key(KeyKind::Standard, None)).await;
    for refused in [
        w.kms.wrap(&w.call(), &key, None, &NO_AAD).await.map(|_| ()),
        w.kms.rotate(&w.call(), op(), &key, None).await.map(|_| ()),
        w.kms.disable(&w.call(), op(), &key).await.map(|_| ()),
        w.kms.enable(&w.call(), op(), &key).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(KmsError::RootKeyRequired { .. })));
    }
}

#[tokio::test]
async fn a_purged_key_leaves_nothing_behind() {
    let w = World::new().await;
    let before = w.stored_values().await.len();
    let new = NewKey { aliases: vec!["gone".into()], ..new_key(KeyKind::Root, None) };
    let key = w.create(new).await;
    let alias = KeyRef::parse("gone");
    assert!(matches!(w.kms.purge(&w.call(), op(), &alias).await, Err(KmsError::WrongState { .. })));
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    w.clock.advance(4 * 3600 - 1);
    assert!(matches!(w.kms.purge(&w.call(), op(), &key).await, Err(KmsError::TooEarly { .. })));
    w.clock.advance(1);
    assert_eq!(w.kms.purge(&w.call(), op(), &alias).await.unwrap().state, KeyState::Destroyed);
    for name in [&key, &alias] {
        assert!(matches!(w.kms.metadata(&w.call(), name).await, Err(KmsError::KeyNotFound(_))));
    }
    let after = w.stored_values().await;
    assert!(
        !after.iter().any(|v| v.starts_with(b"v1/i/") && v.windows(3).any(|w| w == b"/k/" || w == b"/b/"))
    );
    assert!(after.len() >= before);
    // The alias can be used again.
    let new = NewKey { aliases: vec!["gone".into()], ..new_key(KeyKind::Root, None) };
    w.create(new).await;
}

#[tokio::test]
async fn a_key_of_many_versions_is_purged_whole() {
    let w = World::with_timers(Timers::UNGUARDED).await;
    let key = w.root(None).await;
    for _ in 0..200 {
        w.kms.rotate(&w.call(), op(), &key, None).await.unwrap();
    }
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    assert_eq!(w.kms.purge(&w.call(), op(), &key).await.unwrap().version_count, 201);
    assert!(!w.stored_values().await.iter().any(|v| v.windows(3).any(|w| w == b"/b/" || w == b"/k/")));
}

#[tokio::test]
async fn a_deleted_key_is_purged_after_90_days() {
    let w = World::new().await;
    let (kept, key) = (w.root(None).await, w.root(None).await);
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    w.clock.advance(90 * DAY - 1);
    assert_eq!(w.state(&key).await, KeyState::Destroyed);
    assert_eq!(w.kms.purge_lapsed(&w.call(), 10).await.unwrap(), 0);
    w.clock.advance(1);
    assert!(matches!(w.kms.metadata(&w.call(), &key).await, Err(KmsError::KeyNotFound(_))));
    assert!(matches!(w.kms.restore(&w.call(), op(), &key).await, Err(KmsError::KeyNotFound(_))));
    let all = KeyQuery { states: KeyState::ALL.into_iter().collect(), ..KeyQuery::default() };
    assert_eq!(w.kms.count_keys(&w.call(), &all).await.unwrap(), 1);
    assert_eq!(w.kms.purge_lapsed(&w.call(), 10).await.unwrap(), 1);
    assert_eq!(w.kms.purge_lapsed(&w.call(), 10).await.unwrap(), 0);
    assert_eq!(w.state(&kept).await, KeyState::Active);
}
