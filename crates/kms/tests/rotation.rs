//! The rotation of the master key: whole, interrupted at every step, given up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::fleet::{Goal, NEW, OLD, Region};
use common::pattern;
use kms::RotationPhase;

/// A few keys in each of two instances, some of them of several versions, over two units.
async fn region() -> (Region, Vec<common::fleet::Kept>) {
    let region = Region::new(2, 2).await;
    let mut kept = Vec::new();
    for instance in region.instances.clone() {
        // More than one batch.
        for n in [0, 1, 2].into_iter().chain([0; 63]) {
            let key = region.keep(instance).await.unwrap();
            for _ in 0..n {
                let call = region.call(instance);
                region.kms.rotate(&call, common::op(), &key.key, None).await.unwrap();
            }
            kept.push(key);
        }
    }
    (region, kept)
}

async fn check(region: &Region, kept: &[common::fleet::Kept], goal: Goal) {
    for key in kept {
        region.open_kept(key).await;
    }
    let (master, phase) = match goal {
        Goal::Rotated => (NEW, Some(RotationPhase::Done)),
        Goal::Cancelled => (OLD, None),
    };
    assert_eq!(region.phases().await, [phase; 2]);
    for instance in &region.instances {
        let header = region.kms.header(&region.call(*instance)).await.unwrap();
        assert!(header.pattern.is_of_same_key(&pattern(master)) && header.next.is_none());
    }
}

#[tokio::test]
async fn a_rotation_from_end_to_end() {
    let (region, kept) = region().await;
    region.load_all().unwrap();
    region.reach(Goal::Rotated).await.unwrap();
    check(&region, &kept, Goal::Rotated).await;
    for instance in &region.instances {
        region.keep(*instance).await.unwrap();
    }
}

/// The machine dies at each durable step in turn, before or after it is taken; whoever comes after finds every key
/// usable, and gets to either end by doing what he is told.
#[tokio::test]
async fn an_interruption_at_any_step_is_resumed() {
    for (goal, then, lasts) in [
        (Goal::Rotated, Goal::Rotated, false),
        (Goal::Rotated, Goal::Rotated, true),
        (Goal::Rotated, Goal::Cancelled, true),
        (Goal::Cancelled, Goal::Cancelled, false),
        (Goal::Cancelled, Goal::Cancelled, true),
    ] {
        let mut interrupted = 0;
        loop {
            let (mut region, mut kept) = region().await;
            let begin_to_cancel = goal == Goal::Cancelled;
            if begin_to_cancel {
                // Up to the last moment to cancel.
                region.load_all().unwrap();
                while region.phases().await != [Some(RotationPhase::ReEnciphered); 2] {
                    assert!(region.advance(Goal::Rotated).await.unwrap());
                }
            }
            region.fuse.arm(interrupted, lasts);
            let loaded = if begin_to_cancel { Some(()) } else { region.load_all() };
            let whole = match loaded {
                Some(()) => region.reach(goal).await.is_some(),
                None => false,
            };
            region.restart().await;
            for key in &kept {
                region.open_kept(key).await;
            }
            let phases = region.phases().await;
            for instance in region.instances.clone() {
                kept.push(region.keep(instance).await.unwrap());
            }
            let end = match () {
                // Not even one unit was loaded: nobody knows of a rotation.
                () if phases == [None; 2] && region.fleet.units.iter().all(|unit| !unit.is_rotating()) => {
                    Goal::Cancelled
                }
                () if phases.contains(&Some(RotationPhase::Cancelling)) => Goal::Cancelled,
                () if phases.iter().all(|phase| phase.is_none_or(|phase| phase.is_cancellable())) => then,
                () => Goal::Rotated,
            };
            region.reach(end).await.unwrap();
            check(&region, &kept, end).await;
            if whole {
                break;
            }
            interrupted += 1;
        }
        assert!(interrupted > 5, "{goal:?} was interrupted only {interrupted} times");
    }
}
