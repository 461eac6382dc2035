//! Random operations agree with a naive model.

use crate::common::{World, new_key, op};
use jiff::SignedDuration;
use kms::{Clock as _, KeyKind, KeyQuery, KeyRef, KeyState, KmsError, NewKey, Plaintext};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Create { root: bool, expires_in: Option<i64> },
    Wrap(usize),
    Unwrap { key: usize, ciphertext: usize },
    Rotate(usize),
    Disable(usize),
    Enable(usize),
    Delete(usize),
    Restore(usize),
    Purge(usize),
    Advance(i64),
}

/// Results of an operation that callers distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    NotFound,
    RootRequired,
    WrongState,
    Deleted,
    TooEarly,
    RestoreExpired,
    Expired,
    Rejected,
}

fn outcome<T>(result: Result<T, KmsError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(KmsError::KeyNotFound(_)) => Outcome::NotFound,
        Err(KmsError::RootKeyRequired { .. }) => Outcome::RootRequired,
        Err(KmsError::WrongState { .. }) => Outcome::WrongState,
        Err(KmsError::KeyDeleted { .. }) => Outcome::Deleted,
        Err(KmsError::TooEarly { .. } | KmsError::RotationTooEarly { .. }) => Outcome::TooEarly,
        Err(KmsError::RestoreExpired { .. }) => Outcome::RestoreExpired,
        Err(KmsError::KeyExpired { .. }) => Outcome::Expired,
        Err(KmsError::CiphertextRejected) => Outcome::Rejected,
        Err(other) => unreachable!("{other}"),
    }
}

/// A key as plain flags and times, in seconds; deliberately different from the service's own representation.
struct ModelKey {
    root: bool,
    expires: Option<i64>,
    disabled: bool,
    deleted: Option<i64>,
    acted: Option<i64>,
    rotated: Option<i64>,
    versions: usize,
    purged: bool,
}

impl ModelKey {
    fn state(&self, now: i64) -> Option<u8> {
        match self.deleted {
            _ if self.purged => None,
            Some(at) if now >= at + 90 * 86_400 => None,
            Some(_) => Some(5),
            None if self.disabled => Some(2),
            None if self.expires.is_some_and(|at| now >= at) => Some(3),
            None => Some(1),
        }
    }

    /// The checks that all actions of root keys share.
    fn root_in(&self, now: i64, states: &[u8]) -> Outcome {
        match self.state(now) {
            None => Outcome::NotFound,
            Some(_) if !self.root => Outcome::RootRequired,
            Some(state) if states.contains(&state) => Outcome::Done,
            Some(5) => Outcome::Deleted,
            Some(_) => Outcome::WrongState,
        }
    }

    fn paused(&self, now: i64) -> bool {
        self.acted.is_some_and(|at| now < at + 30)
    }

    fn rotate(&mut self, now: i64) -> Outcome {
        match self.root_in(now, &[1]) {
            Outcome::Done if self.rotated.is_some_and(|at| now < at + 3600) => Outcome::TooEarly,
            Outcome::Done => {
                self.rotated = Some(now);
                self.versions += 1;
                Outcome::Done
            }
            refused => refused,
        }
    }

    fn switch(&mut self, now: i64, disable: bool) -> Outcome {
        match self.root_in(now, if disable { &[1] } else { &[2] }) {
            Outcome::Done if !disable && self.paused(now) => Outcome::TooEarly,
            Outcome::Done => {
                self.disabled = disable;
                self.acted = Some(now);
                Outcome::Done
            }
            refused => refused,
        }
    }

    fn delete(&mut self, now: i64) -> Outcome {
        match self.state(now) {
            None => Outcome::NotFound,
            Some(5) => Outcome::Deleted,
            Some(_) => {
                self.deleted = Some(now);
                self.acted = Some(now);
                Outcome::Done
            }
        }
    }

    fn restore(&mut self, now: i64) -> Outcome {
        match (self.state(now), self.deleted) {
            (None, _) => Outcome::NotFound,
            (Some(5), Some(_)) if self.paused(now) => Outcome::TooEarly,
            (Some(5), Some(at)) if now > at + 30 * 86_400 => Outcome::RestoreExpired,
            (Some(5), Some(_)) if self.expires.is_some_and(|at| now >= at) => Outcome::Expired,
            (Some(5), Some(_)) => {
                self.deleted = None;
                self.acted = Some(now);
                Outcome::Done
            }
            _ => Outcome::WrongState,
        }
    }

    fn purge(&mut self, now: i64) -> Outcome {
        match (self.state(now), self.deleted) {
            (None, _) => Outcome::NotFound,
            (Some(5), Some(at)) if now < at + 4 * 3600 => Outcome::TooEarly,
            (Some(5), Some(_)) => {
                self.purged = true;
                Outcome::Done
            }
            _ => Outcome::WrongState,
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..4_usize;
    let pause = prop_oneof![Just(29), Just(30), Just(3600), Just(4 * 3600), Just(30 * 86_400), 1..100_i64];
    let step = prop_oneof![
        2 => (any::<bool>(), prop::option::weighted(0.3, 1..5000_i64))
            .prop_map(|(root, expires_in)| Step::Create { root, expires_in }),
        3 => key.clone().prop_map(Step::Wrap),
        3 => (key.clone(), 0..8_usize).prop_map(|(key, ciphertext)| Step::Unwrap { key, ciphertext }),
        2 => key.clone().prop_map(Step::Rotate),
        2 => key.clone().prop_map(Step::Disable),
        2 => key.clone().prop_map(Step::Enable),
        2 => key.clone().prop_map(Step::Delete),
        2 => key.clone().prop_map(Step::Restore),
        1 => key.prop_map(Step::Purge),
        5 => pause.prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..60)
}

/// A ciphertext and the model's knowledge of it.
struct Made {
    key: usize,
    version: usize,
    text: String,
    plain: Vec<u8>,
}

async fn run(steps: Vec<Step>) {
    let w = World::new().await;
    let call = w.call();
    let mut ids: Vec<KeyRef> = Vec::new();
    let mut model: Vec<ModelKey> = Vec::new();
    let mut made: Vec<Made> = Vec::new();
    for step in steps {
        let now = w.clock.now().as_second();
        let at = |key: usize| (!ids.is_empty()).then(|| key % ids.len());
        match step {
            Step::Create { root, expires_in } => {
                let kind = if root { KeyKind::Root } else { KeyKind::Standard };
                let expires_at = expires_in.map(|s| w.clock.now() + SignedDuration::from_secs(s));
                ids.push(w.create(NewKey { expires_at, ..new_key(kind, None) }).await);
                let expires = expires_in.map(|s| now + s);
                model.push(ModelKey {
                    root,
                    expires,
                    disabled: false,
                    deleted: None,
                    acted: None,
                    rotated: None,
                    versions: 1,
                    purged: false,
                });
            }
            Step::Advance(seconds) => w.clock.advance(seconds),
            Step::Wrap(key) => {
                let Some(key) = at(key) else { continue };
                let plain = vec![made.len() as u8; 8];
                let data = Some(Plaintext::new(plain.clone()));
                let found = w.kms.wrap(&call, &ids[key], data, &["model"]).await;
                if let Ok(wrapped) = &found {
                    let (version, text) = (model[key].versions, wrapped.ciphertext.clone());
                    made.push(Made { key, version, text, plain });
                }
                assert_eq!(outcome(found), model[key].root_in(now, &[1]));
            }
            Step::Unwrap { key, ciphertext } => {
                let Some(key) = at(key) else { continue };
                let Some(made) = made.get(ciphertext) else { continue };
                let found = w.kms.unwrap(&call, &ids[key], &made.text, &["model"]).await;
                let expected = match model[key].root_in(now, &[1, 3]) {
                    Outcome::Done if made.key != key => Outcome::Rejected,
                    other => other,
                };
                if let Ok(unwrapped) = &found {
                    assert_eq!(unwrapped.plaintext.expose(), made.plain);
                    assert_eq!(unwrapped.rewrapped.is_some(), made.version != model[key].versions);
                }
                assert_eq!(outcome(found), expected);
            }
            Step::Rotate(key) => {
                let Some(key) = at(key) else { continue };
                let found = w.kms.rotate(&call, op(), &ids[key], None).await;
                assert_eq!(outcome(found), model[key].rotate(now));
            }
            Step::Disable(key) => {
                let Some(key) = at(key) else { continue };
                let found = w.kms.disable(&call, op(), &ids[key]).await;
                assert_eq!(outcome(found), model[key].switch(now, true));
            }
            Step::Enable(key) => {
                let Some(key) = at(key) else { continue };
                let found = w.kms.enable(&call, op(), &ids[key]).await;
                assert_eq!(outcome(found), model[key].switch(now, false));
            }
            Step::Delete(key) => {
                let Some(key) = at(key) else { continue };
                let found = w.kms.delete(&call, op(), &ids[key]).await;
                assert_eq!(outcome(found), model[key].delete(now));
            }
            Step::Restore(key) => {
                let Some(key) = at(key) else { continue };
                let found = w.kms.restore(&call, op(), &ids[key]).await;
                assert_eq!(outcome(found), model[key].restore(now));
            }
            Step::Purge(key) => {
                let Some(key) = at(key) else { continue };
                let found = w.kms.purge(&call, op(), &ids[key]).await;
                assert_eq!(outcome(found), model[key].purge(now));
            }
        }
        // After each step every key is as in the model, and the list shows exactly the model's keys.
        let now = w.clock.now().as_second();
        let mut shown = 0;
        for (id, key) in ids.iter().zip(&model) {
            match (w.kms.metadata(&call, id).await, key.state(now)) {
                (Ok(found), Some(state)) => {
                    assert_eq!((found.state.number(), found.version_count), (state, key.versions));
                    shown += 1;
                }
                (found, expected) => {
                    assert_eq!((outcome(found), expected), (Outcome::NotFound, None));
                }
            }
        }
        let all = KeyQuery { states: KeyState::ALL.into_iter().collect(), ..KeyQuery::default() };
        assert_eq!(w.kms.count_keys(&call, &all).await.unwrap(), shown);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn model_random_operations_agree_with_a_naive_model(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(run(steps));
    }
}
