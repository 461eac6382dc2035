//! How fast keys are re-enciphered: a store on disk, two units in process, 20,000 keys or as many as the first argument
//! says.
//!
//! `cargo run --release -p kms --example rotation_rate`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails ends the measurement")]
#![expect(clippy::print_stdout, reason = "the example prints its measurements")]

#[path = "../tests/common/real.rs"]
mod real;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use getrandom::SysRng;
use keystore::{RedbOptions, RedbStore};
use kms::rotation::RegionRotation;
use kms::{Call, InstanceHeader, InstanceId, KeyKind, Kms, KmsOptions, NewKey, RotationPhase};
use real::RealFleet;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const MAKERS: usize = 256;

#[tokio::main]
async fn main() {
    let keys: usize = std::env::args().nth(1).map_or(20_000, |keys| keys.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keystore.redb");
    let store = Arc::new(RedbStore::open(&file, RedbOptions::default()).await.unwrap());
    let (fleet, old) = RealFleet::new(2, [[1; 32], [2; 32]]);
    let fleet = Arc::new(fleet);
    let instances = [InstanceId(Uuid::from_u128(1))];
    InstanceHeader::create(&store, &fleet, &mut SysRng, instances[0], old, PATIENCE).await.unwrap();
    let kms = Kms::open(store, Arc::clone(&fleet), KmsOptions::default(), PATIENCE).await.unwrap();
    let kms = Arc::new(kms);
    let call = Call { instance: instances[0], caller: "IBMid-alice", deadline: PATIENCE, changed_at: None };

    let (begun, left) = (Instant::now(), Arc::new(AtomicUsize::new(keys)));
    let makers: Vec<_> = (0..MAKERS)
        .map(|_| {
            let (kms, left) = (Arc::clone(&kms), Arc::clone(&left));
            tokio::spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let new = NewKey {
                        kind: KeyKind::Root,
                        name: "measured".into(),
                        description: None,
                        aliases: vec![],
                        tags: vec![],
                        expires_at: None,
                        payload: None,
                    };
                    kms.create_key(&call, kms.random_op().unwrap(), new).await.unwrap();
                }
            })
        })
        .collect();
    for maker in makers {
        maker.await.unwrap();
    }
    println!("{keys} keys made in {:.2?}", begun.elapsed());

    let rotation = RegionRotation::new(&kms, &instances, call);
    let new = fleet.units[0].prepare([[1; 32], [3; 32]]);
    fleet.units[1].prepare([[1; 32], [3; 32]]);
    rotation.begin(new).await.unwrap();
    report("re-enciphered", keys, &rotation, RotationPhase::ReEnciphered).await;
    let begun = Instant::now();
    rotation.begin_activation().await.unwrap();
    fleet.units.iter().for_each(|unit| unit.activate(new));
    rotation.finish(&fleet.states()).await.unwrap();
    println!("activated and finished in {:.2?}", begun.elapsed());
    report("freed of the old master key", keys, &rotation, RotationPhase::Done).await;
}

async fn report(
    what: &str,
    keys: usize,
    rotation: &RegionRotation<'_, Arc<RedbStore>, Arc<RealFleet>>,
    phase: RotationPhase,
) {
    let begun = Instant::now();
    let status = rotation.run(|_, _| ()).await.unwrap();
    assert_eq!(status.instances[0].1.unwrap().phase, phase);
    let taken = begun.elapsed();
    println!("{keys} keys {what} in {taken:.2?}: {:.0} a second", keys as f64 / taken.as_secs_f64());
}
