//! Measures the cost that a unit adds to the cryptography of a command, and that the socket adds to the unit.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

use criterion::{Criterion, criterion_group, criterion_main};
use engine::{CipherMechanism, Engine, KeyPart, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use host::UnitClient;
use hsm_sim::unit::UnitOptions;
use std::hint::black_box;
use std::time::Duration;
use unit_api::{Command, Envelope, Response};
use unit_testkit::{TestUnit, generate_master_key, secure, soft_engine, target_of};

const DATA_KEY: [u8; 32] = [7; 32];
const SPEC: KeySpec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));

/// Sealing is measured by an import, which only makes a blob; opening by the shortest use of a key, less that use.
fn blob(c: &mut Criterion) {
    let mut unit = TestUnit::ready();
    let blob = unit.data_key();
    let mut engine = soft_engine();
    let (wrap, mac) = blob_keys(&mut engine);
    let mut wrapped = [0; 40];

    let mut group = c.benchmark_group("blob of an AES-256 key");
    group.bench_function("parts of seal: import, AES-KW, CMAC", |b| {
        let mut tag = [0; 16];
        b.iter(|| {
            let key = engine.import_key(&SPEC, black_box(&DATA_KEY)).unwrap();
            engine.wrap_key(WrapMechanism::AesKw, wrap, key, &mut wrapped).unwrap();
            engine.sign(MacMechanism::AesCmac, mac, black_box(&blob), &mut tag).unwrap();
            engine.destroy_key(key).unwrap();
        });
    });
    group.bench_function("seal: ImportKey", |b| {
        b.iter(|| match unit.run(Command::ImportKey { spec: SPEC, value: black_box(&DATA_KEY) }) {
            Response::Blob(blob) => blob.len(),
            other => panic!("{other:?}"),
        });
    });
    group.bench_function("parts of open: CMAC, AES-KW, GCM of 32 bytes", |b| {
        let mut tag = [0; 16];
        let mut sealed = [0; 48];
        b.iter(|| {
            // Generating a CMAC costs as much as verifying it.
            engine.sign(MacMechanism::AesCmac, mac, black_box(&blob), &mut tag).unwrap();
            let key = engine.unwrap_key(WrapMechanism::AesKw, wrap, black_box(&wrapped), &SPEC).unwrap();
            let by = CipherMechanism::AesGcm { iv: &[0; 12], aad: &[] };
            engine.encrypt(by, key, &DATA_KEY, &mut sealed).unwrap();
            engine.destroy_key(key).unwrap();
        });
    });
    group.bench_function("open: Encrypt 32 bytes", |b| {
        b.iter(|| match unit.run(encrypt(black_box(&blob))) {
            Response::Ciphertext { ciphertext, .. } => ciphertext.len(),
            other => panic!("{other:?}"),
        });
    });
    group.finish();
}

/// The same command over a socket.
fn link(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let options = UnitOptions {
        state: folder.path().join("state"),
        socket: folder.path().join("unit.sock"),
        factory: None,
        serial: "BENCH001".to_owned(),
        domain_index: None,
        instance: None,
        engine: None,
        supervised_as: None,
    };
    let served = options.clone();
    std::thread::spawn(move || hsm_sim::unit::run(&served).unwrap());
    while !options.socket.exists() {
        std::thread::yield_now();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(UnitClient::connect(&options.socket)).unwrap();
    let call = async |command: Command<'_>| {
        client.call(&Envelope::plain(command), Duration::from_secs(5)).await.unwrap()
    };
    let target = || match runtime.block_on(call(Command::Status)).response() {
        Ok(Response::Status(status)) => target_of(&status),
        other => panic!("{other:?}"),
    };
    let exchange = |request: &[u8]| match runtime.block_on(call(Command::Administer { request })).response() {
        Ok(Response::Administered(answer)) => answer.to_vec(),
        other => panic!("{other:?}"),
    };
    let (unit, counter) = target();
    secure(unit, counter, exchange);
    let (unit, counter) = target();
    generate_master_key(unit, counter, exchange);
    let made = runtime.block_on(call(Command::GenerateKey { spec: SPEC }));
    let Ok(Response::Blob(blob)) = made.response() else { panic!("no blob") };

    let mut in_process = TestUnit::ready();
    let own = in_process.data_key();
    let mut group = c.benchmark_group("Encrypt 32 bytes");
    group.bench_function("in process", |b| {
        b.iter(|| match in_process.run(encrypt(black_box(&own))) {
            Response::Ciphertext { ciphertext, .. } => ciphertext.len(),
            other => panic!("{other:?}"),
        });
    });
    group.bench_function("limit: Status over the socket", |b| {
        b.iter(|| runtime.block_on(call(Command::Status)).response().is_ok());
    });
    group.bench_function("over the socket", |b| {
        b.iter(|| runtime.block_on(call(encrypt(blob))).response().is_ok());
    });
    group.finish();
}

const fn encrypt(key: &[u8]) -> Command<'_> {
    Command::Encrypt { key, aad: &[], plaintext: &DATA_KEY }
}

/// The two keys that a unit derives from a master key.
fn blob_keys(engine: &mut impl Engine) -> (engine::KeyHandle, engine::KeyHandle) {
    let parts = [KeyPart::new([1; 32]), KeyPart::new([2; 32])];
    let master = engine.combine_key_parts(&parts, false).unwrap();
    let wrap = KeySpec::aes(32, KeyUses::WRAP.with(KeyUses::UNWRAP));
    let mac = KeySpec::aes(32, KeyUses::SIGN.with(KeyUses::VERIFY));
    let wrap = engine.derive_key(master, b"wrap", b"bench", &wrap).unwrap();
    let mac = engine.derive_key(master, b"mac", b"bench", &mac).unwrap();
    (wrap, mac)
}

criterion_group!(benches, blob, link);
criterion_main!(benches);
