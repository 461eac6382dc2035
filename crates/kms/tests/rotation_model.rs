//! Random sequences of requests and of rotation steps: every key stays usable, in every order.

use crate::common::fleet::{Goal, Kept, Region};
use crate::common::{PATIENCE, new_key, op, random};
use kms::{KeyKind, KeyRef, KmsError, Plaintext, RotationPhase};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Do {
    Create,
    CreateStandard,
    /// Wrap with a key; the new ciphertext must open from then on.
    Wrap(usize),
    Open(usize),
    Rotate(usize),
    Delete(usize),
    Restore(usize),
    /// The next step of the rotation, with one unit activated at a time.
    Advance,
    /// Cancel, if still possible.
    Cancel,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let step = prop_oneof![
        3 => Just(Do::Create),
        1 => Just(Do::CreateStandard),
        2 => any::<usize>().prop_map(Do::Wrap),
        3 => any::<usize>().prop_map(Do::Open),
        2 => any::<usize>().prop_map(Do::Rotate),
        1 => any::<usize>().prop_map(Do::Delete),
        1 => any::<usize>().prop_map(Do::Restore),
        8 => Just(Do::Advance),
        1 => Just(Do::Cancel),
        1 => Just(Do::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Model {
    region: Region,
    kept: Vec<Kept>,
    deleted: Vec<KeyRef>,
    standard: Vec<(KeyRef, Vec<u8>)>,
}

impl Model {
    fn pick(&self, n: usize) -> Option<&Kept> {
        let len = self.kept.len();
        if len == 0 { None } else { Some(&self.kept[n % len]) }
    }

    async fn open(&self, kept: &Kept) {
        if self.deleted.contains(&kept.key) {
            let call = self.region.call(kept.instance);
            let found = self.region.kms.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await;
            assert!(matches!(found, Err(KmsError::KeyDeleted { .. } | KmsError::WrongState { .. })));
        } else {
            self.region.open_kept(kept).await;
        }
    }

    async fn apply(&mut self, step: Do) {
        let instance = self.region.instances[0];
        let call = self.region.call(instance);
        let key = |n| self.pick(n).map(|kept| kept.key.clone());
        let live = |n| key(n).filter(|key| !self.deleted.contains(key));
        match step {
            Do::Create => {
                let kept = self.region.keep(instance).await.unwrap();
                self.kept.push(kept);
            }
            Do::CreateStandard => {
                let payload = random(40);
                let new = new_key(KeyKind::Standard, Some(&payload));
                let made = self.region.kms.create_key(&call, op(), new).await.unwrap();
                self.standard.push((made.id.into(), payload));
            }
            Do::Wrap(n) => {
                let Some(key) = live(n) else { return };
                let plaintext = random(8);
                let data = Some(Plaintext::new(plaintext.clone()));
                let ciphertext = self.region.kms.wrap(&call, &key, data, &["kept"]).await.unwrap().ciphertext;
                self.kept.push(Kept { instance, key, ciphertext, plaintext });
            }
            Do::Open(n) => {
                if let Some(kept) = self.pick(n) {
                    self.open(kept).await;
                }
            }
            Do::Rotate(n) => {
                let Some(key) = live(n) else { return };
                self.region.kms.rotate(&call, op(), &key, None).await.unwrap();
            }
            Do::Delete(n) => {
                let Some(key) = live(n) else { return };
                self.region.kms.delete(&call, op(), &key).await.unwrap();
                self.deleted.push(key);
            }
            Do::Restore(n) => {
                if self.deleted.is_empty() {
                    return;
                }
                let key = self.deleted.remove(n % self.deleted.len());
                self.region.kms.restore(&call, op(), &key).await.unwrap();
            }
            Do::Advance => {
                if !self.region.is_loaded() && self.region.phases().await == [None] {
                    self.region.load_all().unwrap();
                }
                self.region.advance(Goal::Rotated).await.unwrap();
            }
            Do::Cancel => {
                let phases = self.region.phases().await;
                if phases
                    .iter()
                    .flatten()
                    .all(|phase| *phase != RotationPhase::Done && phase.is_cancellable())
                {
                    self.region.reach(Goal::Cancelled).await.unwrap();
                }
            }
            Do::Restart => self.region.restart().await,
        }
    }
}

async fn run(steps: Vec<Do>) {
    let region = Region::new(2, 1).await;
    let mut model = Model { region, kept: vec![], deleted: vec![], standard: vec![] };
    for step in steps {
        model.apply(step).await;
    }
    for _ in 0..2 {
        for kept in &model.kept {
            model.open(kept).await;
        }
        for (key, payload) in &model.standard {
            let call = kms::Call { deadline: PATIENCE, ..model.region.call(model.region.instances[0]) };
            let found = model.region.kms.get_key(&call, key).await.unwrap();
            assert_eq!(found.payload.unwrap().expose(), payload);
        }
        model.region.reach(Goal::Rotated).await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn model_every_key_stays_usable_through_any_run(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(run(steps));
    }
}
