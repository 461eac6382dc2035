//! Rotation of the master key under load, with the program and its units killed in every phase: no request fails, no key
//! is lost, and `resume` completes the rotation.

use crate::common::control::{fault, kill};
use crate::common::tool::FAST_KDF;
use crate::common::{PATIENCE, Region, Rest, program, until, wait_for};
use hsm_sim::control::{FaultKind, Target};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Number of root keys.
const KEYS: usize = 20_000;
/// Number of concurrent requests while keys are created and checked.
const CALLERS: usize = 32;
/// Number of callers during the rotation.
const LOAD: usize = 4;
const PLAINTEXT: &str = "c2VjcmV0IG9mIHRoZSB0ZXN0";

/// ID of a key, and a ciphertext under it.
type Made = (String, String);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_a_rotation_under_load_survives_kills_in_every_phase() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut region = up(folder.path(), port);
    assert_done(&tke(
        folder.path(),
        &["auto-init", "--new-administrator", "Ada", "--new-administrator", "Bob"],
    ));
    wait_for("the region to serve", || is_ready(&region));
    assert_done(&tke(folder.path(), &["sigkey-sel", "Ada", "Bob"]));
    let old = pattern(&region).await;

    let keys = Arc::new(make_keys(&region.rest()).await);
    let load = Load::start(&region.rest(), &keys);

    // The program is killed while keys are re-enciphered.
    let begun = Instant::now();
    let tool = begin(folder.path(), "auto-mk-rotate");
    rotation_once(&region, |standing| {
        standing["phase"] == "re-enciphering" && standing["done"].as_u64() > Some(0)
    })
    .await;
    region.kill();
    assert!(!finished(tool).status.success(), "the tool went on without a service");
    region = up(folder.path(), port);

    // The region continues by itself. A unit is killed, and the program again once every key has both forms.
    region.control().fault(&kill(1)).await.unwrap();
    rotation_once(&region, |standing| standing["phase"] == "re-enciphered").await;
    println!("{KEYS} keys got their second form within {:?}, one kill included", begun.elapsed());
    region.kill();
    region = up(folder.path(), port);

    // Killed after the last moment to cancel, before and after the first activation.
    wait_for("the region to serve", || is_ready(&region));
    let (status, said) = region.tke().send("POST", "/rotation", r#"{"action": "activate"}"#).await;
    assert_eq!((status, &said["phase"]), (200, &Value::from("activating")), "{said}");
    region.kill();
    region = up(folder.path(), port);
    let tool = begin(folder.path(), "resume");
    until_units_differ(&region).await;
    region.kill();
    drop(finished(tool));
    region = up(folder.path(), port);

    // Killed while the forms under the old master key are removed.
    let tool = begin(folder.path(), "resume");
    rotation_once(&region, |standing| standing["phase"] == "finishing" || standing["next"] == "nothing")
        .await;
    region.kill();
    drop(finished(tool));
    region = up(folder.path(), port);
    let done = tke(folder.path(), &["resume"]);
    assert_done(&done);
    rotation_once(&region, |standing| standing["next"] == "nothing").await;

    let (served, created) = load.end().await;
    println!("{served} requests served and {} keys made meanwhile, none failed", created.len());
    let new = pattern(&region).await;
    assert_ne!(new, old, "the keystore is under the new master key");
    assert_done(&tke(folder.path(), &["cryptounit-compare"]));
    check_keys(&region.rest(), keys.iter().cloned().chain(created).collect()).await;
}

/// After a cancelled rotation every key is under the old master key, including those created during the rotation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_a_rotation_is_cancelled_before_the_first_activation() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(folder.path(), free_port());
    assert_done(&tke(
        folder.path(),
        &["auto-init", "--new-administrator", "Ada", "--new-administrator", "Bob"],
    ));
    wait_for("the region to serve", || is_ready(&region));
    assert_done(&tke(folder.path(), &["sigkey-sel", "Ada", "Bob"]));
    let (old, rest) = (pattern(&region).await, region.rest());
    let mut keys = vec![make_key(rest.clone(), "before".to_owned()).await];

    // A unit that is unreachable before the activation stops the rotation where it can still be cancelled.
    region.control().fault(&fault(FaultKind::Pause, 2)).await.unwrap();
    let tool = tke(folder.path(), &["auto-mk-rotate"]);
    assert!(!tool.status.success(), "not with a unit that does not answer");
    region.control().heal(&Target::Unit(2)).await.unwrap();
    let mut tool = begin(folder.path(), "auto-mk-rotate");
    rotation_once(&region, |standing| standing["id"].is_string()).await;
    tool.kill().unwrap();
    tool.wait().unwrap();
    // The administrators of a rotation know the units that it began with.
    let control = region.control();
    let added = control.add_unit(None).await.err();
    for refused in [added, control.remove_unit(1, true).await.err()] {
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("the master key is being rotated"), "{refused}");
    }
    keys.push(make_key(rest.clone(), "meanwhile".to_owned()).await);
    // What the killed tool had asked for is carried to its end, so that a status read before says little.
    if tke(folder.path(), &["rotation-cancel"]).status.success() {
        assert_eq!(pattern(&region).await, old);
    } else {
        assert_eq!(standing(&region).await["cancellable"], false, "refused, and not too late");
        assert_done(&tke(folder.path(), &["resume"]));
    }
    assert_eq!(standing(&region).await["next"], "nothing");
    assert_done(&tke(folder.path(), &["cryptounit-compare"]));
    check_keys(&rest, keys).await;
}

/// Callers that use and create keys, and retry as clients do.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    created: Arc<Mutex<Vec<Made>>>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(rest: &Rest, keys: &Arc<Vec<Made>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let created = Arc::new(Mutex::new(Vec::new()));
        let callers = (0..LOAD)
            .map(|caller| {
                let (rest, keys) = (rest.clone(), Arc::clone(keys));
                let (stop, served, created) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&created));
                tokio::spawn(async move {
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let (key, ciphertext) = keys.get((caller + n * 61) % keys.len()).unwrap();
                        let plaintext = patiently(&rest, Ask::Unwrap(key, ciphertext)).await;
                        assert_eq!(plaintext, PLAINTEXT);
                        patiently(&rest, Ask::Wrap(key)).await;
                        if n % 8 == 0 {
                            let made = make_key(rest.clone(), format!("meanwhile {caller} {n}")).await;
                            created.lock().unwrap().push(made);
                        }
                        served.fetch_add(2, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { stop, served, created, callers }
    }

    async fn end(self) -> (u64, Vec<Made>) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        (self.served.load(Ordering::Relaxed), self.created.lock().unwrap().clone())
    }
}

/// A request that can be retried.
enum Ask<'a> {
    Create(&'a str),
    Wrap(&'a str),
    Unwrap(&'a str, &'a str),
}

/// Retries a request without a response, or with a retryable status, as clients do.
async fn patiently(rest: &Rest, ask: Ask<'_>) -> String {
    let started = Instant::now();
    loop {
        let answered = match ask {
            Ask::Create(name) => rest.create(name).await,
            Ask::Wrap(key) => rest.wrap(key, PLAINTEXT).await,
            Ask::Unwrap(key, ciphertext) => rest.unwrap(key, ciphertext).await,
        };
        match answered {
            Ok(answer) => return answer,
            // The message begins with the status, unless the connection failed.
            Err(why) => {
                let status = why.get(..3).and_then(|digits| digits.parse::<u16>().ok());
                let passes = status.is_none_or(|status| matches!(status, 408 | 429 | 503));
                assert!(passes && started.elapsed() < PATIENCE, "a request failed: {why}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn make_key(rest: Rest, name: String) -> Made {
    let key = patiently(&rest, Ask::Create(&name)).await;
    let ciphertext = patiently(&rest, Ask::Wrap(&key)).await;
    (key, ciphertext)
}

async fn make_keys(rest: &Rest) -> Vec<Made> {
    let mut made = Vec::with_capacity(KEYS);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..KEYS {
        if tasks.len() >= CALLERS {
            made.push(tasks.join_next().await.unwrap().unwrap());
        }
        tasks.spawn(make_key(rest.clone(), format!("key {n}")));
    }
    made.extend(tasks.join_all().await);
    made
}

async fn check_keys(rest: &Rest, keys: Vec<Made>) {
    let mut tasks = tokio::task::JoinSet::new();
    for (key, ciphertext) in keys {
        if tasks.len() >= CALLERS {
            tasks.join_next().await.unwrap().unwrap();
        }
        let rest = rest.clone();
        tasks.spawn(async move {
            let plaintext = patiently(&rest, Ask::Unwrap(&key, &ciphertext)).await;
            assert_eq!(plaintext, PLAINTEXT, "key {key}");
        });
    }
    tasks.join_all().await;
}

fn up(folder: &Path, port: u16) -> Region {
    let port = port.to_string();
    let extra = ["--ceremony", "manual", "--recovery-units", "2", "--port", &port];
    tokio::task::block_in_place(|| Region::up(&folder.join("data"), &extra))
}

fn is_ready(region: &Region) -> bool {
    let address = region.ready.rest_url.trim_start_matches("http://");
    let asked = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(format!("GET /readyz HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    asked().is_ok_and(|answer: String| answer.split(' ').nth(1) == Some("200"))
}

async fn standing(region: &Region) -> Value {
    let (status, standing) = region.tke().send("GET", "/rotation", "").await;
    if status == 200 { standing } else { Value::Null }
}

/// Waits until `holds` is true of the rotation.
async fn rotation_once(region: &Region, holds: impl Fn(&Value) -> bool) {
    let ask = async || {
        let now = standing(region).await;
        if holds(&now) { Ok(()) } else { Err(now.to_string()) }
    };
    until("the rotation", ask).await;
}

/// Waits until the units have different current master keys, or all have the new one.
async fn until_units_differ(region: &Region) {
    let differ = async || {
        let units = region.control().status().await.unwrap().units;
        let patterns: BTreeSet<_> = units.iter().filter_map(|u| u.pattern.clone()).collect();
        let phase = standing(region).await["phase"].clone();
        if patterns.len() > 1 || phase == "finishing" { Ok(()) } else { Err(format!("{patterns:?} {phase}")) }
    };
    until("units with different master keys", differ).await;
}

async fn pattern(region: &Region) -> Value {
    let (status, keystore) = region.tke().send("GET", "/keystore", "").await;
    assert_eq!(status, 200, "{keystore}");
    keystore["pattern"].clone()
}

fn command(folder: &Path) -> Command {
    let password = folder.join("password");
    std::fs::write(&password, "a password of eight and more").unwrap();
    let mut command = program();
    command
        .arg("tke")
        .args(FAST_KDF)
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--files")
        .arg(folder.join("files"))
        .arg("--password-file")
        .arg(password);
    command
}

fn tke(folder: &Path, args: &[&str]) -> Output {
    tokio::task::block_in_place(|| command(folder).args(args).output().unwrap())
}

fn begin(folder: &Path, name: &str) -> Child {
    command(folder).arg(name).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finished(tool: Child) -> Output {
    tokio::task::block_in_place(|| tool.wait_with_output().unwrap())
}

fn assert_done(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

/// A free port whose successor is free too.
///
/// The region does not hold the port while it is down. The port is therefore below the ephemeral ports, which the
/// system assigns to other processes.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = std::process::id() as u16 % 5000 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + 2 * (offset % 5000);
        let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
}
