//! Counts of AES-GCM invocations: never below what was made, and a rotation at the limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::fleet::{Goal, Region};
use crate::common::mirror::Mirror;
use crate::common::raw;
use crate::common::{FakeUnit, PATIENCE, Service, World, new_key, op};
use keystore::{Acknowledging, Deadline, GatedStore, Revision, StoreError, Write, WriteGate, WritePermit};
use kms::replica::Applied;
use kms::{
    INVOCATIONS_PER_COMMAND, InvocationLimits, KeyKind, KeyRef, Kms, KmsError, KmsOptions, Mode, Plaintext,
    Timers, VersionId, VolatileLedger,
};
use proptest::prelude::*;

const NO_AAD: [&str; 0] = [];
const EACH: u64 = INVOCATIONS_PER_COMMAND;

/// Blocks of four wraps.
fn limits() -> InvocationLimits {
    InvocationLimits::STANDARD.with_block(4 * EACH)
}

fn within(limits: InvocationLimits) -> KmsOptions {
    KmsOptions::default().with_invocations(limits).with_timers(Timers::UNGUARDED)
}

impl World {
    async fn leased(&self, kms: &Service, key: &KeyRef) -> Vec<u64> {
        let counts = kms.invocations(&self.call(), key).await.unwrap();
        counts.into_iter().map(|count| count.leased).collect()
    }

    async fn wrap_by(&self, kms: &Service, key: &KeyRef) -> Result<String, KmsError> {
        let data = Plaintext::new(vec![7; 16]);
        Ok(kms.wrap(&self.call(), key, Some(data), &NO_AAD).await?.ciphertext)
    }
}

#[tokio::test]
async fn invocations_are_leased_in_blocks() {
    let w = World::new().await;
    let kms = w.reopened_as(within(limits())).await;
    let key = w.root(None).await;
    assert_eq!(w.leased(&kms, &key).await, [0; 0]);
    for n in 0..9_u64 {
        w.wrap_by(&kms, &key).await.unwrap();
        assert_eq!(w.leased(&kms, &key).await, [(n / 4 + 1) * 4 * EACH], "after {n}");
    }
    // The rest of a block is lost with its process, and another process has its own blocks.
    let other = w.reopened_as(within(limits())).await;
    w.wrap_by(&other, &key).await.unwrap();
    assert_eq!(w.leased(&kms, &key).await, [16 * EACH]);
    w.wrap_by(&kms, &key).await.unwrap();
    assert_eq!(w.leased(&kms, &key).await, [16 * EACH]);
    // Rewraps are encryptions too.
    let text = w.wrap_by(&kms, &key).await.unwrap();
    for _ in 0..3 {
        kms.rewrap(&w.call(), &key, &text, &NO_AAD).await.unwrap();
    }
    assert_eq!(w.leased(&kms, &key).await, [20 * EACH]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_wraps_share_a_block() {
    let w = World::new().await;
    let kms = w.reopened_as(within(limits().with_block(24 * EACH))).await;
    let key = w.root(None).await;
    let racers: Vec<_> = (0..24)
        .map(|_| {
            let (kms, key, call) = (kms.clone(), key.clone(), w.call());
            tokio::spawn(async move { kms.wrap(&call, &key, None, &NO_AAD).await })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap().unwrap();
    }
    assert_eq!(w.leased(&kms, &key).await, [24 * EACH]);
}

#[tokio::test]
async fn at_the_limit_a_key_has_to_be_rotated() {
    let w = World::new().await;
    let limits = limits().with_limit(256);
    let kms = w.reopened_as(within(limits)).await;
    let key = w.root(None).await;
    let mut texts = Vec::new();
    let refused = loop {
        match w.wrap_by(&kms, &key).await {
            Ok(text) => texts.push(text),
            Err(refused) => break refused,
        }
    };
    assert_eq!(texts.len() as u64, limits.leasable() / EACH);
    assert!(matches!(refused, KmsError::InvocationsExhausted { limit: 256, .. }), "{refused}");
    assert!(!refused.is_retryable());
    let stats = kms.invocation_stats();
    assert_eq!((stats.versions_to_rotate, stats.refused), (1, 1));
    // A restart changes nothing, and unwrap goes on.
    let kms = w.reopened_as(within(limits)).await;
    assert!(matches!(w.wrap_by(&kms, &key).await, Err(KmsError::InvocationsExhausted { .. })));
    let rewrap = kms.rewrap(&w.call(), &key, &texts[0], &NO_AAD).await;
    assert!(matches!(rewrap, Err(KmsError::InvocationsExhausted { .. })));
    assert!(kms.unwrap(&w.call(), &key, &texts[0], &NO_AAD).await.unwrap().rewrapped.is_none());

    kms.rotate(&w.call(), op(), &key, None).await.unwrap();
    assert!(kms.unwrap(&w.call(), &key, &texts[0], &NO_AAD).await.unwrap().rewrapped.is_some());
    w.wrap_by(&kms, &key).await.unwrap();
    assert_eq!(w.leased(&kms, &key).await, [limits.leasable(), 4 * EACH]);
    while w.wrap_by(&kms, &key).await.is_ok() {}
    let found = kms.unwrap(&w.call(), &key, &texts[0], &NO_AAD).await.unwrap();
    assert_eq!(found.plaintext.expose(), [7; 16]);
    assert!(found.rewrapped.is_none(), "there is no invocation left for it");
}

/// With blocks of half the limit, each of which a restart gives up.
#[tokio::test]
async fn the_standard_limit_is_advised_at_half_and_forced() {
    let w = World::new().await;
    let key = w.root(None).await;
    let options = || within(InvocationLimits::STANDARD.with_block(1 << 31));
    let kms = w.reopened_as(options()).await;
    w.wrap_by(&kms, &key).await.unwrap();
    assert_eq!((w.leased(&kms, &key).await, kms.invocation_stats().versions_to_rotate), (vec![1 << 31], 1));
    w.wrap_by(&*w.reopened_as(options()).await, &key).await.unwrap();
    assert_eq!(w.leased(&kms, &key).await, [(1 << 32) - (1 << 28)]);
    let refused = w.wrap_by(&*w.reopened_as(options()).await, &key).await;
    assert!(matches!(refused, Err(KmsError::InvocationsExhausted { limit: 0x1_0000_0000, .. })));
}

#[tokio::test]
async fn an_instance_without_writes_wraps_as_often_as_is_set_aside() {
    let w = World::new().await;
    let ledger = Arc::new(VolatileLedger::default());
    // Sixteen invocations are set aside for one store, in blocks of two wraps.
    let limits = InvocationLimits::STANDARD.with_limit(4096).with_block(2 * EACH);
    let options = || within(limits).with_ledger(ledger.clone());
    let kms = w.reopened_as(options()).await;
    let key = w.root(None).await;
    let text = w.wrap_by(&kms, &key).await.unwrap();
    for mode in [Mode::ReadOnly, Mode::Frozen] {
        kms.set_mode(&w.call(), op(), mode).await.unwrap();
        let kms = w.reopened_as(options()).await;
        let wraps = if mode == Mode::ReadOnly { 4 } else { 0 };
        for _ in 0..wraps {
            w.wrap_by(&kms, &key).await.unwrap();
        }
        // Also after a restart.
        for kms in [kms, w.reopened_as(options()).await] {
            let refused = w.wrap_by(&kms, &key).await.unwrap_err();
            assert!(matches!(refused, KmsError::SetAsideExhausted { most: 16, .. }), "{refused}");
            kms.unwrap(&w.call(), &key, &text, &NO_AAD).await.unwrap();
            assert_eq!(kms.invocation_stats().refused, 1);
        }
    }
    // What is left of a block that was leased before is used up first.
    w.wrap_by(&kms, &key).await.unwrap();
    w.wrap_by(&kms, &key).await.unwrap_err();
    kms.set_mode(&w.call(), op(), Mode::ReadWrite).await.unwrap();
    w.wrap_by(&kms, &key).await.unwrap();
    assert_eq!(w.leased(&kms, &key).await, [4 * EACH]);
}

/// A service over a mirror wraps without a write, which would be lost.
#[tokio::test]
async fn a_mirror_uses_what_is_set_aside() {
    let region = Region::new(1, 1).await;
    let call = region.call(region.instances[0]);
    let kept = region.keep(region.instances[0]).await.unwrap();
    let mut mirror = Mirror::of(&region.store).await;
    while mirror.step().await.unwrap() != Applied::Copied {}
    let options = within(InvocationLimits::STANDARD.with_limit(4096).with_block(2 * EACH));
    let kms =
        Kms::open(Arc::clone(&mirror.store), Arc::clone(&region.fleet), options, PATIENCE).await.unwrap();
    let before = raw::entries(&*mirror.store, &["/"]).await;
    for _ in 0..4 {
        kms.wrap(&call, &kept.key, None, &NO_AAD).await.unwrap();
    }
    let refused = kms.wrap(&call, &kept.key, None, &NO_AAD).await.unwrap_err();
    assert!(matches!(refused, KmsError::SetAsideExhausted { most: 16, .. }), "{refused}");
    assert_eq!(raw::entries(&*mirror.store, &["/"]).await, before);
    // Counts are replicated, and a mirror that takes over counts on.
    assert_eq!(kms.invocations(&call, &kept.key).await.unwrap()[0].leased, 1 << 20);
    mirror.replica.take_over().await.unwrap();
    let refused = kms.wrap(&call, &kept.key, None, &NO_AAD).await.unwrap_err();
    assert!(matches!(refused, KmsError::InvocationsExhausted { limit: 4096, .. }), "{refused}");
    let kms = within(limits());
    let kms = Kms::open(Arc::clone(&mirror.store), Arc::clone(&region.fleet), kms, PATIENCE).await.unwrap();
    kms.wrap(&call, &kept.key, None, &NO_AAD).await.unwrap();
    assert_eq!(kms.invocations(&call, &kept.key).await.unwrap()[0].leased, (1 << 20) + 4 * EACH);
}

/// A gate that permits no write.
struct Closed;

impl WriteGate for Closed {
    fn enter(&self, _: &[Write]) -> Result<WritePermit, StoreError> {
        let retry_after = std::time::Duration::from_secs(1);
        Err(StoreError::ReadOnly { epoch: 1, retry_after, reason: "another region writes".into() })
    }

    fn acknowledge(&self, _: WritePermit, _: Revision, _: Deadline) -> Acknowledging<'_> {
        Box::pin(std::future::ready(false))
    }

    fn exit(&self) {}

    fn is_open(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_region_without_the_right_to_write_uses_what_is_set_aside() {
    let w = World::new().await;
    let key = w.root(None).await;
    let options = within(InvocationLimits::STANDARD.with_limit(4096).with_block(2 * EACH));
    let store = GatedStore::new(Arc::clone(&w.store), Arc::new(Closed));
    let kms = Kms::open(store, Arc::clone(&w.unit), options.with_clock(w.clock.clone()), PATIENCE);
    let kms = kms.await.unwrap();
    for _ in 0..4 {
        kms.wrap(&w.call(), &key, None, &NO_AAD).await.unwrap();
    }
    let refused = kms.wrap(&w.call(), &key, None, &NO_AAD).await.unwrap_err();
    assert!(matches!(refused, KmsError::SetAsideExhausted { most: 16, .. }), "{refused}");
    assert!(kms.invocations(&w.call(), &key).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_purge_removes_the_count() {
    let w = World::new().await;
    let (key, other) = (w.root(None).await, w.root(None).await);
    for key in [&key, &other] {
        w.wrap_by(&w.kms, key).await.unwrap();
    }
    w.kms.delete(&w.call(), op(), &key).await.unwrap();
    w.clock.advance(4 * 3600);
    w.kms.purge(&w.call(), op(), &key).await.unwrap();
    let left = raw::entries(&*w.store, &["/c/"]).await;
    assert_eq!(left.len(), 1);
    assert!(String::from_utf8_lossy(&left[0].0.0).ends_with(&other.to_string()));
    w.wrap_by(&*w.reopened().await, &other).await.unwrap();
}

#[tokio::test]
async fn counts_survive_a_rotation_of_the_master_key() {
    let region = Region::new(2, 1).await;
    let call = region.call(region.instances[0]);
    let kept = region.keep(region.instances[0]).await.unwrap();
    let before = region.kms.invocations(&call, &kept.key).await.unwrap();
    assert_eq!(before[0].leased, 1 << 20);
    region.load_all().unwrap();
    region.reach(Goal::Rotated).await.unwrap();
    let kms = region.service_within(limits()).await;
    assert_eq!(kms.invocations(&call, &kept.key).await.unwrap(), before);
    kms.wrap(&call, &kept.key, None, &NO_AAD).await.unwrap();
    assert_eq!(kms.invocations(&call, &kept.key).await.unwrap()[0].leased, (1 << 20) + 4 * EACH);
}

#[derive(Clone, Debug)]
enum Step {
    /// A wrap by one of two nodes.
    Wrap {
        node: usize,
        key: usize,
    },
    Rotate {
        key: usize,
    },
    /// The node's process ends.
    Restart {
        node: usize,
    },
    /// The machine crashes at one of the next durable steps, which takes effect or not.
    Crash {
        after: usize,
        lasts: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..2_usize, 0..2_usize).prop_map(|(node, key)| Step::Wrap { node, key }),
        1 => (0..2_usize).prop_map(|key| Step::Rotate { key }),
        1 => (0..2_usize).prop_map(|node| Step::Restart { node }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(after, lasts)| Step::Crash { after, lasts }),
    ];
    prop::collection::vec(step, 1..80)
}

async fn run(steps: Vec<Step>) {
    let mut region = Region::new(1, 1).await;
    let call = region.call(region.instances[0]);
    let mut nodes = [region.service_within(limits()).await, region.service_within(limits()).await];
    let mut keys: Vec<KeyRef> = Vec::new();
    for _ in 0..2 {
        let made = nodes[0].create_key(&call, op(), new_key(KeyKind::Root, None)).await.unwrap();
        keys.push(made.id.into());
    }
    let encrypted = |region: &Region| region.fleet.units.iter().map(FakeUnit::encrypted).sum::<usize>();
    let before = encrypted(&region);
    let mut wraps: BTreeMap<VersionId, u64> = BTreeMap::new();
    let mut restarts = 0;
    for step in steps {
        match step {
            Step::Wrap { node, key } => {
                if let Ok(made) = nodes[node].wrap(&call, &keys[key], None, &NO_AAD).await {
                    *wraps.entry(made.version).or_default() += 1;
                }
            }
            Step::Rotate { key } => drop(nodes[0].rotate(&call, op(), &keys[key], None).await),
            Step::Restart { node } => {
                if !region.fuse.is_dead() {
                    nodes[node] = region.service_within(limits()).await;
                    restarts += 1;
                }
            }
            Step::Crash { after, lasts } => region.fuse.arm(after, lasts),
        }
        if region.fuse.is_dead() {
            region.restart().await;
            nodes = [region.service_within(limits()).await, region.service_within(limits()).await];
            restarts += 2;
        }
    }
    region.restart().await;
    let (mut leased, mut made) = (0, 0);
    for key in &keys {
        for count in region.kms.invocations(&call, key).await.unwrap() {
            let wraps = wraps.remove(&count.version).unwrap_or(0);
            assert!(count.leased >= wraps * EACH, "{} for {wraps} wraps", count.leased);
            // Each process loses one block of each version at most.
            assert!(count.leased <= wraps * EACH + (restarts + 2) * 4 * EACH);
            leased += count.leased;
            made += wraps;
        }
    }
    assert!(wraps.is_empty(), "a version without a count: {wraps:?}");
    assert!((encrypted(&region) - before) as u64 * EACH <= leased, "{made} wraps");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn model_counts_never_fall_below_what_was_encrypted(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(run(steps));
    }
}
