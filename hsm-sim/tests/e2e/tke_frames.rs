//! A ceremony and a rotation under load with a tap on every connection between host and units: the frames contain no key
//! part, no master key, nothing derived from one, and no key that a unit has decrypted.

use crate::common::blobs::Master;
use crate::common::known::{DATA_KEY, NEW_PARTS, PARTS, ROOT_KEY, ceremony, forms, import, rotation, xor};
use crate::common::tap::{self, Exchange, Tap};
use crate::common::tool::Tool;
use crate::common::{Rest, wait_for};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hsm_sim::region::{CeremonyKind, Region, UpOptions, Wanted};
use kms::RotationProfile;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Root keys that units generate before the rotation.
const GENERATED: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e2e_no_frame_of_a_rotation_under_load_has_a_secret_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let tap = Tap::default();
    tapped_ceremony_and_rotation(folder.path(), &tap).await;

    let read: Vec<_> = tap.connections().iter().map(|connection| tap::read(connection)).collect();
    let exchanges: Vec<&Exchange> = read.iter().flat_map(|(exchanges, _)| exchanges).collect();
    let streams: Vec<&[u8]> = read.iter().flat_map(|(_, streams)| streams).map(Vec::as_slice).collect();
    let mut seen = BTreeMap::new();
    for exchange in &exchanges {
        *seen.entry(exchange.command).or_insert(0_usize) += 1;
    }
    println!("{seen:?} in {} bytes", streams.iter().map(|stream| stream.len()).sum::<usize>());
    for command in ["Administer", "GenerateKey", "ImportKey", "Encrypt", "Decrypt", "Reencipher"] {
        assert!(seen.get(command).is_some_and(|count| *count > 1), "{command} was not seen: {seen:?}");
    }

    let secrets = secrets(&exchanges);
    let search = Search::of(&secrets);
    assert_eq!(search.found(&streams), BTreeSet::<&str>::new());
    the_search_is_not_blind(&search, &secrets, &streams, &tap);
}

/// Secrets that no frame may contain, except where a caller sends or receives them.
fn secrets(exchanges: &[&Exchange]) -> Vec<(String, [u8; 32])> {
    let mut secrets =
        vec![("the imported key".to_owned(), ROOT_KEY), ("the caller's text".to_owned(), DATA_KEY)];
    for (n, part) in PARTS.iter().chain(&NEW_PARTS).enumerate() {
        secrets.push((format!("part {n}"), *part));
    }
    let masters = [xor(&PARTS), xor(&NEW_PARTS)].map(Master::new);
    for (n, master) in masters.iter().enumerate() {
        secrets.push((format!("master key {n}"), master.key));
        secrets.push((format!("wrapping key of master key {n}"), master.wrap));
        secrets.push((format!("MAC key of master key {n}"), master.mac));
    }
    // The blobs open with the keys derived here, so that these are the keys that the units derive and decrypt.
    let opened = |exchange: &Exchange| {
        let blob = exchange.blob.as_ref()?;
        let master = masters.iter().position(|master| master.has_sealed(blob)).unwrap();
        Some((master, masters[master].open(blob)))
    };
    let (mut generated, mut imported, mut reenciphered) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for exchange in exchanges {
        match (exchange.command, opened(exchange)) {
            ("GenerateKey", Some((_, key))) => drop(generated.insert(key)),
            ("ImportKey", Some((_, key))) => {
                assert_eq!(Some(&key), exchange.given.as_ref());
                imported.insert(key);
            }
            ("Reencipher", Some((master, key))) => {
                assert_eq!(master, 1, "re-enciphered to the old master key");
                reenciphered.insert(key);
            }
            (_, None) => {}
            (command, Some(_)) => panic!("a blob in an answer to {command}"),
        }
    }
    assert!(imported.contains(ROOT_KEY.as_slice()) && generated.len() > GENERATED, "{}", generated.len());
    assert!(reenciphered.len() > GENERATED, "{} keys were re-enciphered", reenciphered.len());
    assert!(reenciphered.iter().all(|key| generated.contains(key) || imported.contains(key)));
    for (n, key) in generated.iter().chain(&imported).enumerate() {
        secrets.push((format!("opened key {n}"), key.as_slice().try_into().unwrap()));
    }
    secrets
}

/// Every encoding of either half of every secret, indexed by its first bytes.
struct Search<'a>(HashMap<[u8; 8], Vec<(&'a str, Vec<u8>)>>);

impl<'a> Search<'a> {
    fn of(secrets: &'a [(String, [u8; 32])]) -> Self {
        let mut by_start: HashMap<_, Vec<_>> = HashMap::new();
        for (name, secret) in secrets {
            for form in forms(secret) {
                by_start.entry(*form.first_chunk().unwrap()).or_default().push((name.as_str(), form));
            }
        }
        Self(by_start)
    }

    /// Names of the secrets that are found in the bytes.
    fn found(&self, streams: &[&[u8]]) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        for stream in streams {
            for (at, start) in stream.windows(8).enumerate() {
                for (name, form) in self.0.get(start).into_iter().flatten() {
                    if stream[at..].starts_with(form) {
                        names.insert(*name);
                    }
                }
            }
        }
        names
    }
}

/// The search finds a secret at any position, and those that a caller legitimately sends.
fn the_search_is_not_blind(
    search: &Search<'_>,
    secrets: &[(String, [u8; 32])],
    streams: &[&[u8]],
    tap: &Tap,
) {
    let stream = streams.iter().max_by_key(|stream| stream.len()).unwrap();
    for (name, secret) in secrets {
        for form in forms(secret) {
            let mut planted = stream[..1000].to_vec();
            planted[501..501 + form.len()].copy_from_slice(&form);
            let found = search.found(&[&planted]);
            assert!(found.contains(name.as_str()), "{name} was planted and not found");
        }
    }
    let raw: Vec<Vec<u8>> = tap.connections().iter().map(|c| c.requests.lock().unwrap().clone()).collect();
    let raw: Vec<&[u8]> = raw.iter().map(Vec::as_slice).collect();
    let rightly = search.found(&raw);
    assert!(rightly.contains("the imported key") && rightly.contains("the caller's text"), "{rightly:?}");
}

/// Sets up a region and rotates its master key, with callers before, during and after the rotation.
async fn tapped_ceremony_and_rotation(folder: &Path, tap: &Tap) {
    let data = folder.join("data");
    for unit in [1, 2] {
        tap.listen(&data, unit);
    }
    let wanted =
        Wanted { recovery_units: Some(0), ceremony: Some(CeremonyKind::Manual), ..Wanted::default() };
    let options = UpOptions {
        data: data.clone(),
        wanted,
        rotation: RotationProfile::default(),
        accepted: keystore::Accepted::default(),
        port: 0,
        faults: None,
        hosts: Vec::new(),
        backup_dir: None,
        ready_file: None,
        program: Some(Tap::program(folder)),
        pair: None,
    };
    let region = Region::start(options).await.unwrap();
    let (tool, rest) = (Tool::at(&data), Rest::to(&region.ready()));
    ceremony(&tool);
    wait_for("the region to serve", || {
        tool.json("cryptounit-compare")["alike"] == true && tool.run("rotation").status.success()
    });

    let (status, made) = rest.send("POST", "/keys", &import("root", false, &ROOT_KEY)).await.unwrap();
    assert_eq!(status, 201, "{made}");
    let mut keys = vec![made.pointer("/resources/0/id").unwrap().as_str().unwrap().to_owned()];
    let (status, made) = rest.send("POST", "/keys", &import("standard", true, &DATA_KEY)).await.unwrap();
    assert_eq!(status, 201, "{made}");
    for n in 0..GENERATED {
        keys.push(rest.create(&format!("generated {n}")).await.unwrap());
    }
    let text = BASE64_STANDARD.encode(DATA_KEY);
    let mut wrapped = Vec::new();
    for key in keys {
        let ciphertext = rest.wrap(&key, &text).await.unwrap();
        wrapped.push((key, ciphertext));
    }

    let wrapped = Arc::new(wrapped);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = tokio::spawn(load(rest.clone(), Arc::clone(&wrapped), Arc::clone(&stop), Arc::clone(&served)));
    rotation(&tool);
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert!(served.load(Ordering::Relaxed) > GENERATED, "hardly anything was asked meanwhile");
    for (key, ciphertext) in wrapped.iter() {
        assert_eq!(rest.unwrap(key, ciphertext).await.unwrap(), text);
    }
    region.stop().await;
}

/// Uses every key in turn and creates new ones, until `stop` is set.
async fn load(
    rest: Rest,
    wrapped: Arc<Vec<(String, String)>>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) {
    let text = BASE64_STANDARD.encode(DATA_KEY);
    for (n, (key, ciphertext)) in wrapped.iter().cycle().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        assert_eq!(rest.unwrap(key, ciphertext).await.unwrap(), text);
        rest.wrap(key, &text).await.unwrap();
        if n % 8 == 0 {
            rest.create("meanwhile").await.unwrap();
        }
        served.fetch_add(1, Ordering::Relaxed);
    }
}
