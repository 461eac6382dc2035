//! Power cuts and disk failures at every step: each transaction is applied as a whole or not at all, and every
//! acknowledged one is applied.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use crate::support::{Disk, Fault, Random, open_on};
use keystore::{
    Commit, Cond, Deadline, Freshness, Key, Keystore, LeaseId, OpId, RedbOptions, RedbStore, StoreError, Txn,
    WallClock, Write,
};

const D: Deadline = Deadline(Duration::from_secs(60));
const TXNS: u64 = 24;

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn options() -> RedbOptions {
    // The clock advances with each reading, so that trimming is interrupted too.
    let hours = std::sync::atomic::AtomicU64::new(0);
    let wall = WallClock::new(move || {
        Duration::from_secs(1000 * hours.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    });
    RedbOptions::default().without_threads().cache_bytes(1024 * 1024).wall_clock(wall)
}

fn op(i: u64) -> OpId {
    OpId(u128::from(i + 1).to_be_bytes())
}

/// The `i`th transaction of every run: writes shared keys and a key of its own, and deletes that of an earlier one.
fn txn(i: u64) -> Txn {
    let random = &mut Random(i);
    let mut writes = BTreeMap::new();
    for _ in 0..=random.below(6) {
        let key = format!("shared/{}", random.below(12));
        let value = vec![i as u8; [10, 300, 5000, 20_000][random.below(4) as usize]];
        writes.insert(key, Some(value));
    }
    writes.insert(format!("own/{i}"), Some(i.to_be_bytes().to_vec()));
    if let Some(earlier) = i.checked_sub(3) {
        writes.insert(format!("own/{earlier}"), None);
    }
    let writes = writes.into_iter().map(|(key, value)| match value {
        Some(value) => Write::Put { key: Key::from(key.as_bytes()), value: value.into(), lease: None },
        None => Write::Delete(Key::from(key.as_bytes())),
    });
    Txn {
        op: op(i),
        conds: vec![Cond::Absent(Key::from(format!("own/{i}").as_bytes()))],
        writes: writes.collect(),
    }
}

/// The state after 0, 1, 2, … transactions.
fn states() -> Vec<State> {
    let mut states = vec![State::new()];
    for i in 0..TXNS {
        let mut state = states[i as usize].clone();
        for write in txn(i).writes {
            match write {
                Write::Put { key, value, .. } => state.insert(key.0.to_vec(), value.to_vec()),
                Write::Delete(key) => state.remove(&*key.0),
            };
        }
        states.push(state);
    }
    states
}

async fn state_of(store: &RedbStore) -> State {
    let page = store.scan(Key::with_prefix(b""), 1000, None, Freshness::Linearizable, D).await.unwrap();
    page.entries.iter().map(|e| (e.key.0.to_vec(), e.value.to_vec())).collect()
}

/// Runs the transactions until one fails. Returns how many were acknowledged, and the error of the next one.
async fn run(store: &RedbStore) -> (u64, Option<StoreError>) {
    for i in 0..TXNS {
        match store.commit(txn(i), D).await {
            Ok(Commit::Applied { replayed: false, .. }) => {}
            Err(error) => return (i, Some(error)),
            other => panic!("transaction {i}: {other:?}"),
        }
    }
    (TXNS, None)
}

/// Opens the image that a crash left, and checks it. Returns what is wrong.
async fn check_image(image: Vec<u8>, states: &[State], acknowledged: u64) -> Result<(), String> {
    let store = open_on(Disk::with(image), options()).await.map_err(|e| format!("open: {e}"))?;
    let found = state_of(&store).await;
    let Some(reached) = states.iter().position(|state| *state == found) else {
        return Err(format!("a state that never existed, after {acknowledged} acknowledged"));
    };
    let reached = reached as u64;
    if reached < acknowledged {
        return Err(format!("{acknowledged} acknowledged, {reached} applied"));
    }
    if reached > acknowledged + 1 {
        return Err(format!("{acknowledged} acknowledged and one started, {reached} applied"));
    }
    // An operation is remembered exactly if its transaction was applied, and the store accepts more transactions.
    for i in acknowledged..TXNS.min(acknowledged + 2) {
        match store.commit(txn(i), D).await {
            Ok(Commit::Applied { replayed, .. }) if replayed == (i < reached) => {}
            other => return Err(format!("transaction {i} of {reached} repeated: {other:?}")),
        }
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Creates a store. Returns its file, and the number of disk operations of all transactions.
async fn new_image() -> (Vec<u8>, u64) {
    let disk = Disk::default();
    open_on(disk.clone(), options()).await.unwrap().close().await.unwrap();
    let image = disk.written();
    let disk = Disk::with(image.clone());
    let store = open_on(disk.clone(), options()).await.unwrap();
    let before = disk.steps();
    assert_eq!(run(&store).await, (TXNS, None));
    (image, disk.steps() - before)
}

/// Runs the transactions with a fault at one disk operation. Returns the disk, the number of acknowledged transactions, the
/// error, and the open store.
async fn run_with_fault(image: &[u8], at: u64, fault: Fault) -> (Disk, u64, Option<StoreError>, RedbStore) {
    let disk = Disk::with(image.to_vec());
    let store = open_on(disk.clone(), options()).await.unwrap();
    disk.fail_at(at, fault);
    let (acknowledged, error) = run(&store).await;
    (disk, acknowledged, error, store)
}

#[test]
fn power_cuts_at_every_step() {
    runtime().block_on(async {
        let (image, steps) = new_image().await;
        let states = states();
        let mut cuts = 0;
        for round in 0..1400 / steps + 1 {
            for at in 0..steps {
                let random = &mut Random(round << 32 | at);
                let (disk, acknowledged, _, store) = run_with_fault(&image, at, Fault::PowerCut).await;
                let left = disk.after_power_loss(random);
                drop(store);
                if let Err(error) = check_image(left, &states, acknowledged).await {
                    panic!("round {round}, power cut at step {at}: {error}");
                }
                cuts += 1;
            }
        }
        assert!(cuts >= 1400, "{cuts} cuts");
    });
}

#[test]
fn one_failed_write_or_flush_ends_all_commits() {
    runtime().block_on(async {
        let (image, steps) = new_image().await;
        let states = states();
        let mut failed = 0;
        for at in 0..steps {
            let (disk, acknowledged, error, store) = run_with_fault(&image, at, Fault::IoError).await;
            if let Some(error) = error {
                assert!(
                    matches!(error, StoreError::Unknown | StoreError::Corrupt(_)),
                    "step {at}: {error:?}"
                );
                failed += 1;
                for i in 100..103 {
                    let refused = store.commit(txn(i), D).await;
                    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "step {at}: {refused:?}");
                }
                let refused = store.grant(Duration::from_secs(9), D).await;
                assert!(matches!(refused, Err(StoreError::Corrupt(_))), "step {at}: {refused:?}");
                assert_eq!(state_of(&store).await, states[acknowledged as usize], "reads go on, step {at}");
            }
            let left = disk.after_power_loss(&mut Random(at));
            drop(store);
            for image in [left, disk.written()] {
                if let Err(error) = check_image(image, &states, acknowledged).await {
                    panic!("failure of step {at}: {error}");
                }
            }
        }
        assert!(failed > steps / 2, "{failed} of {steps} failures met a commit");
    });
}

#[test]
fn a_disk_without_room_is_full_and_loses_nothing() {
    runtime().block_on(async {
        let (image, steps) = new_image().await;
        let states = states();
        for at in (0..steps).step_by(3) {
            let (disk, acknowledged, error, store) = run_with_fault(&image, at, Fault::NoRoom).await;
            if let Some(error) = error {
                assert!(matches!(error, StoreError::Unknown | StoreError::Full), "step {at}: {error:?}");
                assert_eq!(store.commit(txn(100), D).await, Err(StoreError::Full), "step {at}");
            }
            drop(store);
            if let Err(error) = check_image(disk.written(), &states, acknowledged).await {
                panic!("no room at step {at}: {error}");
            }
        }
    });
}

#[test]
fn cuts_while_many_share_a_commit() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let base = Disk::default();
        open_on(base.clone(), RedbOptions::default()).await.unwrap().close().await.unwrap();
        let pair = |i: u64| {
            let put = |name: String| Write::Put {
                key: Key::from(name.as_bytes()),
                value: vec![i as u8; 700].into(),
                lease: None::<LeaseId>,
            };
            Txn {
                op: op(i),
                conds: Vec::new(),
                writes: vec![put(format!("{i:03}/a")), put(format!("{i:03}/b"))],
            }
        };
        for seed in 0..150 {
            let random = &mut Random(seed);
            let disk = Disk::with(base.written());
            let store = open_on(disk.clone(), RedbOptions::default()).await.unwrap();
            disk.fail_at(random.below(120), Fault::PowerCut);
            let store = std::sync::Arc::new(store);
            let commits: Vec<_> = (0..40)
                .map(|i| {
                    let store = std::sync::Arc::clone(&store);
                    tokio::spawn(async move { store.commit(pair(i), D).await })
                })
                .collect();
            let mut outcomes = Vec::new();
            for commit in commits {
                outcomes.push(commit.await.unwrap());
            }
            let left = disk.after_power_loss(random);
            drop(store);
            let store = open_on(Disk::with(left), RedbOptions::default()).await.unwrap();
            let found = state_of(&store).await;
            for (i, outcome) in (0..).zip(outcomes) {
                let there = ["a", "b"].map(|half| found.contains_key(format!("{i:03}/{half}").as_bytes()));
                assert_eq!(there[0], there[1], "seed {seed}: transaction {i} is applied in part");
                match outcome {
                    Ok(Commit::Applied { .. }) => assert!(there[0], "seed {seed}: {i} acknowledged and lost"),
                    Err(StoreError::Unknown) => {}
                    Err(StoreError::Corrupt(_)) => assert!(!there[0], "seed {seed}: {i} refused and applied"),
                    other => panic!("seed {seed}: {other:?}"),
                }
                let again = store.commit(pair(i), D).await;
                assert!(
                    matches!(again, Ok(Commit::Applied { replayed, .. }) if replayed == there[0]),
                    "{again:?}"
                );
            }
        }
    });
}

/// Recovery is interrupted repeatedly.
#[test]
fn power_cuts_while_opening() {
    runtime().block_on(async {
        let (image, steps) = new_image().await;
        let states = states();
        let mut cut_openings = 0;
        for seed in 0..40 {
            let random = &mut Random(seed);
            let (disk, acknowledged, _, store) =
                run_with_fault(&image, random.below(steps), Fault::PowerCut).await;
            let mut left = disk.after_power_loss(random);
            drop(store);
            for at in 0..8 {
                let disk = Disk::with(left);
                disk.fail_at(at, Fault::PowerCut);
                let opened = open_on(disk.clone(), options()).await;
                cut_openings += u64::from(opened.is_err());
                left = disk.after_power_loss(random);
            }
            if let Err(error) = check_image(left, &states, acknowledged).await {
                panic!("seed {seed}: {error}");
            }
        }
        assert!(cut_openings > 0, "no opening was cut");
    });
}

/// The canary: the same checks detect a disk that does not flush.
#[test]
fn a_lying_disk_is_caught() {
    runtime().block_on(async {
        let (image, steps) = new_image().await;
        let states = states();
        let (mut runs, mut caught) = (0, 0);
        // On inconsistent pages redb panics, which counts as detected. The panic hook is not replaced, because it belongs to
        // the process and other tests run at the same time.
        for at in (steps / 4..steps).step_by(7) {
            let disk = Disk::with(image.clone());
            let store = open_on(disk.clone(), options()).await.unwrap();
            disk.lie();
            disk.fail_at(at, Fault::PowerCut);
            let (acknowledged, _) = run(&store).await;
            let left = disk.after_power_loss(&mut Random(at));
            drop(store);
            let check = || block_on_new_runtime(check_image(left, &states, acknowledged));
            let outcome =
                std::thread::scope(|s| s.spawn(|| std::panic::catch_unwind(AssertUnwindSafe(check))).join());
            runs += 1;
            caught += u64::from(!matches!(outcome, Ok(Ok(Ok(())))));
        }
        assert!(caught * 2 > runs, "{caught} of {runs} lies caught");
    });
}

fn block_on_new_runtime<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}
