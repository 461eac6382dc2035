//! A mirror has what its source has, whatever happens in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::common::disk::Random;
use crate::common::fleet::{Fleet, Goal, Kept, Region};
use crate::common::mirror::{D, Mirror};
use crate::common::{PATIENCE, new_key, op, raw};
use keystore::{Keystore, RedbStore, SecretOwner, StoreIdentity};
use kms::replica::{Applied, CopyReason, Event, ReplicaError, ReplicaState};
use kms::{KeyKind, KeyQuery, KeyRef, KeyState, Kms, KmsError, KmsOptions, NewKey, StateSet, Timers};

type MirrorService = Kms<Arc<RedbStore>, Arc<Fleet>>;

/// A service over a mirror, with the same units.
async fn service(region: &Region, store: &Arc<RedbStore>) -> MirrorService {
    let options = KmsOptions::default().with_timers(Timers::UNGUARDED);
    Kms::open(Arc::clone(store), Arc::clone(&region.fleet), options, PATIENCE).await.unwrap()
}

async fn open_kept(kms: &MirrorService, region: &Region, kept: &Kept) {
    let call = region.call(kept.instance);
    let found = kms.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await.unwrap();
    assert_eq!(found.plaintext.expose(), kept.plaintext);
}

fn in_any_state() -> KeyQuery {
    KeyQuery { states: StateSet::LIVE.with(KeyState::Destroyed), ..KeyQuery::default() }
}

/// What a region has done, for later checks.
#[derive(Default)]
struct Deeds {
    kept: Vec<Kept>,
    purged: Vec<KeyRef>,
    /// Secrets of purged keys.
    erased: Vec<[u8; 32]>,
    named: u32,
}

impl Deeds {
    /// Does something at random.
    async fn act(&mut self, region: &Region, random: &mut Random) {
        let instance = region.instances[random.below(region.instances.len() as u64) as usize];
        let call = region.call(instance);
        let one = random.below(self.kept.len().max(1) as u64) as usize;
        match random.below(10) {
            0 | 1 => self.kept.push(region.keep(instance).await.unwrap()),
            2 => {
                self.named += 1;
                let aliases = vec![format!("alias-{}", self.named)];
                let kind = if self.named.is_multiple_of(2) { KeyKind::Root } else { KeyKind::Standard };
                let new = NewKey { aliases, ..new_key(kind, Some(&[self.named as u8; 32])) };
                region.kms.create_key(&call, op(), new).await.unwrap();
            }
            3 | 4 if !self.kept.is_empty() => {
                let kept = &self.kept[one];
                region.kms.rotate(&region.call(kept.instance), op(), &kept.key, None).await.unwrap();
            }
            5 if !self.kept.is_empty() => {
                let (kept, kms) = (&self.kept[one], &region.kms);
                let call = region.call(kept.instance);
                kms.disable(&call, op(), &kept.key).await.unwrap();
                kms.enable(&call, op(), &kept.key).await.unwrap();
            }
            6 | 7 if self.kept.len() > 2 => {
                let kept = self.kept.remove(one);
                let call = region.call(kept.instance);
                let record = raw::entries(&*region.store, &[&format!("/k/{}", kept.key)]).await.remove(0).1;
                self.erased.push(raw::secret_of(&*region.store, &record).await.unwrap().1);
                region.kms.delete(&call, op(), &kept.key).await.unwrap();
                region.kms.purge(&call, op(), &kept.key).await.unwrap();
                self.purged.push(kept.key);
            }
            _ => {
                if !region.is_loaded() {
                    region.load_all();
                }
                region.advance(Goal::Rotated).await.unwrap();
            }
        }
    }

    /// Checks that the mirror has the same keys, all usable, and nothing of purged ones.
    async fn check(&self, region: &Region, mirror: &Mirror<impl Keystore>) {
        let kms = service(region, &mirror.store).await;
        for kept in &self.kept {
            open_kept(&kms, region, kept).await;
        }
        for instance in &region.instances {
            let call = region.call(*instance);
            let home = region.kms.list_keys(&call, &in_any_state()).await.unwrap();
            assert_eq!(kms.list_keys(&call, &in_any_state()).await.unwrap(), home);
            for key in &self.purged {
                assert!(matches!(kms.metadata(&call, key).await, Err(KmsError::KeyNotFound(_))));
            }
        }
        let file = mirror.secrets.written();
        for secret in &self.erased {
            assert!(!file.windows(32).any(|part| part == secret), "a purged key's secret is in the mirror");
        }
        // And no secret that no key has.
        let mut used = BTreeSet::new();
        for (_, value) in raw::entries(&*mirror.store, &["/k/"]).await {
            used.insert(raw::secret_of(&*mirror.store, &value).await.unwrap().1);
        }
        let there: BTreeSet<[u8; 32]> =
            file.chunks(64).skip(1).map(|slot| slot[24..56].try_into().unwrap()).collect();
        let there: BTreeSet<_> = there.into_iter().filter(|secret| *secret != [0; 32]).collect();
        assert_eq!(there, used);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_follows_its_source() {
    let region = Region::new(2, 2).await;
    let (mut deeds, mut random) = (Deeds::default(), Random(1));
    for _ in 0..10 {
        deeds.act(&region, &mut random).await;
    }
    let mut mirror = Mirror::of(&region.store).await;
    assert!(matches!(mirror.next().await, Event::CopyBegins { why: CopyReason::FirstTime, .. }));
    mirror.reconnect();
    let entries = mirror.catch_up().await;
    assert!(entries > 10, "{entries}");
    deeds.check(&region, &mirror).await;
    for _ in 0..60 {
        deeds.act(&region, &mut random).await;
    }
    mirror.catch_up().await;
    assert!(deeds.purged.len() > 4 && !deeds.kept.is_empty());
    deeds.check(&region, &mirror).await;
    assert_eq!(mirror.replica.lag().revisions, 0);
    assert!(mirror.replica.lag().complete_ms.is_some());
    // Nothing was copied a second time, and each transaction is in the mirror once.
    let applied = mirror.applied().await;
    assert!(applied.len() > 60 && applied.is_sorted_by(|a, b| a < b), "{applied:?}");
}

/// Power is cut at a random disk operation, the stream breaks, and the source's history is compacted.
#[tokio::test(start_paused = true)]
async fn model_a_mirror_is_equal_after_crashes_and_compactions() {
    let (mut cuts, mut copies, mut compactions) = (0, 0, 0);
    for seed in 0..24 {
        let (region, wall) = Region::with_wall(1, 2).await;
        let (mut deeds, mut random) = (Deeds::default(), Random(seed));
        let mut mirror = Mirror::of(&region.store).await;
        for _ in 0..40 {
            for _ in 0..random.below(4) {
                deeds.act(&region, &mut random).await;
            }
            match random.below(6) {
                0 => mirror.cut_power_at(random.below(12), false),
                1 => mirror.cut_power_at(random.below(6), true),
                2 => mirror.reconnect(),
                3 if random.below(3) == 0 => {
                    wall.advance(Duration::from_secs(2 * 3600));
                    compactions += 1;
                }
                _ => {}
            }
            for _ in 0..random.below(8) {
                match mirror.step().await {
                    Ok(Applied::Copied) => copies += 1,
                    Ok(_) => {}
                    Err(ReplicaError::Store(_)) => {
                        cuts += 1;
                        mirror.restart(&mut random).await;
                    }
                    Err(other) => panic!("seed {seed}: {other}"),
                }
            }
        }
        mirror.restart(&mut random).await;
        mirror.catch_up().await;
        deeds.check(&region, &mirror).await;
    }
    assert!(cuts > 60 && copies > 24 && compactions > 10, "{cuts} cuts, {copies} copies, {compactions}");
}

/// Power is cut at each disk operation of a copy over an earlier one, and of some transactions after it.
#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_step_is_made_good() {
    let (region, wall) = Region::with_wall(1, 1).await;
    let (mut deeds, mut random) = (Deeds::default(), Random(7));
    for _ in 0..12 {
        deeds.act(&region, &mut random).await;
    }
    let mut first = Mirror::of(&region.store).await;
    first.catch_up().await;
    for _ in 0..12 {
        deeds.act(&region, &mut random).await;
    }
    wall.advance(Duration::from_secs(2 * 3600));
    deeds.act(&region, &mut random).await;
    let (mut cuts, mut was_copying) = (0, 0);
    for of_secrets in [false, true] {
        for n in 0.. {
            let mut mirror = Mirror::of(&region.store).await;
            mirror.data = crate::common::disk::Disk::with(first.data.written());
            mirror.secrets = crate::common::disk::Disk::with(first.secrets.written());
            mirror.restart(&mut random).await;
            mirror.cut_power_at(n, of_secrets);
            let mut steps = 0;
            let whole = loop {
                match mirror.step().await {
                    // A transaction with a purge comes after the copy.
                    Ok(Applied::Copied) => deeds.act(&region, &mut Random(n)).await,
                    Ok(Applied::Progress) => break true,
                    Ok(_) => {}
                    Err(_) => break false,
                }
                steps += 1;
                assert!(steps < 1000);
            };
            cuts += u64::from(!whole);
            mirror.restart(&mut random).await;
            if mirror.replica.state() == ReplicaState::Copying {
                was_copying += 1;
                // A mirror of which a part is old, and a part is new, is not opened.
                let options = KmsOptions::default();
                let opened =
                    Kms::open(Arc::clone(&mirror.store), Arc::clone(&region.fleet), options, PATIENCE).await;
                assert!(matches!(opened, Err(kms::OpenError::MirrorIncomplete)));
            }
            mirror.catch_up().await;
            deeds.check(&region, &mirror).await;
            if whole {
                break;
            }
        }
    }
    assert!(cuts > 20 && was_copying > 10, "{cuts} cuts, {was_copying} while copying");
}

/// A service that is open over a mirror reads correctly while transactions arrive.
#[tokio::test(start_paused = true)]
async fn a_service_over_a_mirror_reads_what_has_arrived() {
    let region = Region::new(2, 1).await;
    let (mut deeds, mut random) = (Deeds::default(), Random(3));
    deeds.kept.push(region.keep(region.instances[0]).await.unwrap());
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    let kms = service(&region, &mirror.store).await;
    let call = region.call(region.instances[0]);
    for _ in 0..40 {
        let before = deeds.kept.len();
        deeds.act(&region, &mut random).await;
        // Each event on its own: between any two, everything that the mirror lists can be read.
        loop {
            let event = mirror.next().await;
            let is_at_end = matches!(&event, Event::Progress { at, newest, .. } if at.revision == *newest);
            mirror.replica.apply(&event).await.unwrap();
            for key in kms.list_keys(&call, &in_any_state()).await.unwrap() {
                kms.metadata(&call, &key.id.into()).await.unwrap();
            }
            for kept in &deeds.kept[..before.min(deeds.kept.len())] {
                match kms.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await {
                    Ok(found) => assert_eq!(found.plaintext.expose(), kept.plaintext),
                    // It is disabled for a moment.
                    Err(KmsError::WrongState { state: KeyState::Suspended, .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            if is_at_end {
                break;
            }
        }
    }
    assert!(deeds.purged.len() > 1 && region.is_loaded());
    deeds.check(&region, &mirror).await;
}

/// A mirror that lags is told of a key that was purged meanwhile: it reads as purged, not as damaged.
#[tokio::test(start_paused = true)]
async fn a_key_that_was_purged_before_it_arrived_is_not_found() {
    let region = Region::new(1, 1).await;
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    let (instance, call) = (region.instances[0], region.call(region.instances[0]));
    let kept = region.keep(instance).await.unwrap();
    region.kms.delete(&call, op(), &kept.key).await.unwrap();
    region.kms.purge(&call, op(), &kept.key).await.unwrap();
    let kms = service(&region, &mirror.store).await;
    let mut applied = 0;
    while applied < 2 {
        applied += u64::from(mirror.step().await.unwrap() == Applied::Applied);
        assert!(matches!(kms.metadata(&call, &kept.key).await, Err(KmsError::KeyNotFound(_))));
        assert!(kms.list_keys(&call, &in_any_state()).await.unwrap().is_empty());
    }
    mirror.catch_up().await;
}

/// The store that took over is mirrored by the one that was mirrored: what the latter has alone is lost, the slots of its
/// secrets are used again.
#[tokio::test(start_paused = true)]
async fn a_former_source_becomes_a_mirror() {
    let region = Region::new(1, 1).await;
    let (instance, call) = (region.instances[0], region.call(region.instances[0]));
    let kept = region.keep(instance).await.unwrap();
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    let at = mirror.replica.take_over().await.unwrap();
    assert_eq!(mirror.replica.state(), ReplicaState::Own(Some(at)));
    // Both write: the former source what was never replicated, the new one what lasts.
    let lost = region.keep(instance).await.unwrap();
    let kms = service(&region, &mirror.store).await;
    let new: KeyRef = kms.create_key(&call, op(), new_key(KeyKind::Root, None)).await.unwrap().id.into();
    let refused = mirror.step().await;
    assert!(matches!(refused, Err(ReplicaError::Own)), "{refused:?}");

    let mut back = Mirror::of(&mirror.store).await;
    back.replica = kms::replica::Replica::open(Arc::clone(&back.store), Default::default()).await.unwrap();
    let home = Arc::clone(&region.store);
    let mut replica = kms::replica::Replica::open(Arc::clone(&home), Default::default()).await.unwrap();
    assert_eq!(replica.state(), ReplicaState::Own(None));
    let event = back.next().await;
    assert!(matches!(replica.apply(&event).await, Err(ReplicaError::Own)));
    replica.danger_replace().await.unwrap();
    assert_eq!(replica.state(), ReplicaState::Copying);
    back.reconnect();
    loop {
        let event = back.next().await;
        let is_at_end = matches!(&event, Event::Progress { at, newest, .. } if at.revision == *newest);
        replica.apply(&event).await.unwrap();
        if is_at_end {
            break;
        }
    }
    back.source.request_digest();
    let equal = replica.apply(&back.next().await).await.unwrap();
    assert!(matches!(equal, Applied::Equal { without_secret: 0, .. }), "{equal:?}");
    let again = region.service(kms::RotationProfile::Online).await;
    again.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await.unwrap();
    again.metadata(&call, &new).await.unwrap();
    assert!(matches!(again.metadata(&call, &lost.key).await, Err(KmsError::KeyNotFound(_))));
    home.inner.inherit_secrets();
    let left = home.inherited_secrets(SecretOwner(instance.0.into_bytes()), D).await.unwrap();
    assert_eq!(left.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_difference_is_noticed_and_a_new_copy_removes_it() {
    let region = Region::new(1, 1).await;
    region.keep(region.instances[0]).await.unwrap();
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    raw::delete(&*mirror.store, "/b/").await;
    mirror.source.request_digest();
    let error = mirror.step().await.unwrap_err();
    assert!(matches!(&error, ReplicaError::Diverged { .. }) && error.needs_copy(), "{error}");
    mirror.source = kms::replica::Source::new(Arc::clone(&region.store), None, Default::default());
    mirror.catch_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_complete_copy_is_not_overwritten_with_another_store_unasked() {
    let region = Region::new(1, 1).await;
    let mut mirror = Mirror::of(&region.store).await;
    mirror.catch_up().await;
    let kept = mirror.replica.state();
    region.store.inner.set_identity(StoreIdentity([9; 16]));
    let begins = mirror.next().await;
    assert!(matches!(begins, Event::CopyBegins { why: CopyReason::OtherStore, .. }));
    let refused = mirror.replica.apply(&begins).await.unwrap_err();
    assert!(matches!(refused, ReplicaError::OtherSource { .. }) && !refused.needs_copy(), "{refused}");
    assert_eq!(mirror.replica.state(), kept);
    mirror.replica.danger_replace().await.unwrap();
    mirror.reconnect();
    mirror.catch_up().await;
    assert_eq!(mirror.replica.position().unwrap().source, StoreIdentity([9; 16]));
}
