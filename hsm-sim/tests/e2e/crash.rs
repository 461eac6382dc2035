//! Kills the program at random moments under load: no acknowledged key is lost, and no key is incomplete.

use crate::common::{Region, Rest, is_alive, until, up, wait_for};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Number of kills.
const KILLS: u32 = 20;
/// Number of concurrent callers that create and use keys.
const CALLERS: u32 = 4;

/// Acknowledged changes of one key.
#[derive(Clone, Default)]
struct Acknowledged {
    /// Ciphertexts with their plaintexts.
    wrapped: Vec<(String, String)>,
    rotations: usize,
    /// A rotation without a response may have been executed.
    rotation_unknown: bool,
    deleted: bool,
}

type Ledger = Arc<Mutex<BTreeMap<String, Acknowledged>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_crash_loses_no_acknowledged_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (ledger, done) = (Ledger::default(), Arc::<AtomicU32>::default());
    // The seed is printed, so that a failing run can be repeated.
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    for round in 0..KILLS {
        let mut region = up(&data, &[]);
        verify(&region, &ledger).await;
        let units: Vec<u32> =
            region.control().status().await.unwrap().units.iter().filter_map(|unit| unit.pid).collect();
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let work = work(region.rest(), Arc::clone(&ledger), Arc::clone(&done), round, n);
                tokio::spawn(work)
            })
            .collect();
        // The test varies the moment of the kill, counted in answered requests.
        let answered = done.load(Ordering::Acquire) + moment(seed, round);
        until("requests to be answered", async || {
            let so_far = done.load(Ordering::Acquire);
            if so_far >= answered { Ok(()) } else { Err(format!("{so_far} of {answered}")) }
        })
        .await;
        region.kill();
        for caller in callers {
            caller.await.unwrap();
        }
        // Units must end with their region, so that the next region can start them.
        wait_for("the units to end with their region", || units.iter().all(|pid| !is_alive(*pid)));
    }
    let region = up(&data, &[]);
    verify(&region, &ledger).await;
    let keys = ledger.lock().unwrap().len();
    assert!(keys > KILLS as usize, "only {keys} keys were acknowledged in all: the test had no load");
    println!("{keys} acknowledged keys survived {KILLS} kills");
}

/// A pseudorandom number of requests from 1 to 100, by round.
fn moment(seed: u64, round: u32) -> u32 {
    let mixed =
        (seed ^ u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    1 + (mixed >> 33) as u32 % 100
}

/// Creates keys, wraps under them, rotates every third and deletes every fifth, until the program is killed.
async fn work(rest: Rest, ledger: Ledger, done: Arc<AtomicU32>, round: u32, caller: u32) {
    for n in 0.. {
        let Ok(key) = rest.create(&format!("key {round}-{caller}-{n}")).await else { return };
        ledger.lock().unwrap().insert(key.clone(), Acknowledged::default());
        done.fetch_add(1, Ordering::AcqRel);
        let note = |change: &dyn Fn(&mut Acknowledged)| {
            change(ledger.lock().unwrap().get_mut(&key).unwrap());
            done.fetch_add(1, Ordering::AcqRel);
        };
        let plaintext = "c2VjcmV0IG9mIHRoZSB0ZXN0".to_owned();
        let Ok(ciphertext) = rest.wrap(&key, &plaintext).await else { return };
        note(&|entry| entry.wrapped.push((ciphertext.clone(), plaintext.clone())));
        if n % 3 == 0 {
            match rest.send("POST", &format!("/keys/{key}/actions/rotate"), "").await {
                Ok((204, _)) => note(&|entry| entry.rotations += 1),
                _ => {
                    note(&|entry| entry.rotation_unknown = true);
                    return;
                }
            }
            let Ok(ciphertext) = rest.wrap(&key, &plaintext).await else { return };
            note(&|entry| entry.wrapped.push((ciphertext.clone(), plaintext.clone())));
        }
        if n % 5 == 4 {
            match rest.send("DELETE", &format!("/keys/{key}"), "").await {
                Ok((200, _)) => note(&|entry| entry.deleted = true),
                // The deletion may have been executed: this key is not checked any more.
                _ => {
                    ledger.lock().unwrap().remove(&key);
                    return;
                }
            }
        }
    }
}

/// Checks that every acknowledged key has its acknowledged state, and that every listed key works.
async fn verify(region: &Region, ledger: &Ledger) {
    let rest = region.rest();
    let known = Arc::new(ledger.lock().unwrap().clone());
    let acknowledged = known.iter().map(|(key, expected)| (key.clone(), Some(expected.clone())));
    // An unacknowledged key may exist, but it must be complete.
    let others = list(&rest).await.into_iter().filter(|key| !known.contains_key(key)).map(|key| (key, None));
    let mut queue = acknowledged.chain(others).collect::<Vec<_>>().into_iter();
    let mut checks = tokio::task::JoinSet::new();
    loop {
        while checks.len() < 16
            && let Some((key, expected)) = queue.next()
        {
            checks.spawn(check(rest.clone(), key, expected));
        }
        match checks.join_next().await {
            Some(done) => done.unwrap(),
            None => return,
        }
    }
}

/// IDs of all keys that are not destroyed.
async fn list(rest: &Rest) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let (status, page) =
            rest.send("GET", &format!("/keys?limit=500&offset={}", found.len()), "").await.unwrap();
        assert_eq!(status, 200, "{page}");
        let keys = resources(&page);
        found.extend(keys.iter().filter_map(|key| key.get("id")?.as_str()).map(str::to_owned));
        if keys.len() < 500 {
            return found;
        }
    }
}

async fn check(rest: Rest, key: String, expected: Option<Acknowledged>) {
    let Some(expected) = expected else {
        if let Err(e) = rest.wrap(&key, "eA==").await {
            panic!("key {key} is incomplete: {e}");
        }
        return;
    };
    let (status, answer) = rest.send("GET", &format!("/keys/{key}/metadata"), "").await.unwrap();
    assert_eq!(status, 200, "key {key} is gone: {answer}");
    let state = answer.pointer("/resources/0/state").unwrap().as_u64().unwrap();
    assert_eq!(state, if expected.deleted { 5 } else { 1 }, "key {key}");
    if expected.deleted {
        return;
    }
    let (_, versions) = rest.send("GET", &format!("/keys/{key}/versions"), "").await.unwrap();
    let versions = resources(&versions).len();
    let least = 1 + expected.rotations;
    let most = least + usize::from(expected.rotation_unknown);
    assert!((least..=most).contains(&versions), "key {key} has {versions} versions, not {least} to {most}");
    for (ciphertext, plaintext) in &expected.wrapped {
        assert_eq!(rest.unwrap(&key, ciphertext).await.as_ref(), Ok(plaintext), "key {key}");
    }
}

fn resources(answer: &serde_json::Value) -> Vec<serde_json::Value> {
    answer.get("resources").and_then(|resources| resources.as_array()).cloned().unwrap_or_default()
}
