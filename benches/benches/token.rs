//! Measures a unit whose keys are on a token, against a unit in software and against the PKCS #11 calls that each command
//! needs.
//!
//! The token is a temporary SoftHSM token. First, a table compares the unit with the bare calls: they run in alternating
//! turns, so that other load on the machine affects both. Their ratio should stay below 1.10.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its results")]

use criterion::Criterion;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use engine::{Algorithm, Engine, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use engine_pkcs11::softhsm::{CONF_VARIABLE, Home, INSTALL_HINT, find_module};
use engine_pkcs11::{DeviceKeyMode, Pkcs11Engine, Token};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;
use unit_api::{Command, Response};
use unit_testkit::TestUnit;

const DATA_SPEC: KeySpec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));
const KEK_SPEC: KeySpec = KeySpec::aes(32, KeyUses::WRAP);
const LEAVING_SPEC: KeySpec = KeySpec { extractable: true, ..DATA_SPEC };
const MAC_SPEC: KeySpec =
    KeySpec { algorithm: Algorithm::GenericSecret, key_len: 32, uses: KeyUses::SIGN, extractable: false };
const PAGE: [u8; 4096] = [7; 4096];
const LINE: [u8; 32] = [7; 32];

/// Number of turns of the unit and of the bare calls, and of commands in each turn.
const TURNS: usize = 201;
const COMMANDS: u32 = 12;

/// Environment variable that names the token's folder to the child process.
const FOLDER: &str = "HSM_SIM_BENCH_SOFTHSM";

fn main() {
    let module = find_module().unwrap_or_else(|| panic!("SoftHSM is not installed: {INSTALL_HINT}"));
    match std::env::var_os(FOLDER) {
        Some(folder) => measure(&module, Path::new(&folder)),
        None => start_child(),
    }
}

/// Runs this program again with the environment variable by which SoftHSM finds its tokens.
fn start_child() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::create_or_open(folder.path()).unwrap();
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(FOLDER, folder.path())
        .env(CONF_VARIABLE, home.conf())
        .status()
        .unwrap();
    assert!(ended.success(), "{ended}");
}

fn measure(module: &Path, folder: &Path) {
    let home = Home::create_or_open(folder).unwrap();
    home.create_token(module, "bench").unwrap();
    let uri = home.uri(module, "bench").unwrap();
    let pin = uri.pin_source().unwrap().read(|_| panic!("the PIN is in a file")).unwrap();
    let token = Token::open(&uri, pin, Box::new(|event| eprintln!("{event}"))).unwrap();
    let engine = Pkcs11Engine::open(&token, "bench", DeviceKeyMode::CreateIfMissing).unwrap();
    println!("{}", engine.describe());
    let mut on_token = Bench::on(TestUnit::ready_on(engine));
    let bare = Bare::beside(module);
    compare(&mut on_token, &bare);
    drop(bare);

    let mut in_software = Bench::on(TestUnit::ready());
    let mut criterion = Criterion::default().configure_from_args();
    for what in WHAT {
        let mut group = criterion.benchmark_group(what.name());
        group.bench_function("unit in software", |b| b.iter(|| in_software.run(what)));
        group.bench_function("unit on SoftHSM", |b| b.iter(|| on_token.run(what)));
        group.finish();
    }
    criterion.final_summary();
}

/// The measured commands.
#[derive(Clone, Copy)]
enum What {
    GenerateKey,
    WrapKey,
    Encrypt,
    Decrypt,
    Sign,
}

const WHAT: [What; 5] = [What::GenerateKey, What::WrapKey, What::Encrypt, What::Decrypt, What::Sign];

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::GenerateKey => "GenerateKey, AES-256",
            Self::WrapKey => "WrapKey, AES-KW of 32 bytes",
            Self::Encrypt => "Encrypt 4 KiB",
            Self::Decrypt => "Decrypt 4 KiB",
            Self::Sign => "Sign 32 bytes, HMAC",
        }
    }
}

/// A unit, and blobs of its keys.
struct Bench<E: Engine> {
    unit: TestUnit<E>,
    data: Vec<u8>,
    kek: Vec<u8>,
    leaving: Vec<u8>,
    mac: Vec<u8>,
    iv: [u8; 12],
    ciphertext: Vec<u8>,
}

impl<E: Engine> Bench<E> {
    fn on(mut unit: TestUnit<E>) -> Self {
        let mut make = |spec| match unit.run(Command::GenerateKey { spec }) {
            Response::Blob(blob) => blob.to_vec(),
            other => panic!("{other:?}"),
        };
        let [data, kek, leaving, mac] = [DATA_SPEC, KEK_SPEC, LEAVING_SPEC, MAC_SPEC].map(&mut make);
        let (iv, ciphertext) = match unit.run(Command::Encrypt { key: &data, aad: &[], plaintext: &PAGE }) {
            Response::Ciphertext { iv, ciphertext } => (iv, ciphertext.to_vec()),
            other => panic!("{other:?}"),
        };
        Self { unit, data, kek, leaving, mac, iv, ciphertext }
    }

    fn run(&mut self, what: What) -> usize {
        let Self { unit, data, kek, leaving, mac, iv, ciphertext } = self;
        let command = match what {
            What::GenerateKey => Command::GenerateKey { spec: DATA_SPEC },
            What::WrapKey => Command::WrapKey { by: WrapMechanism::AesKw, kek, key: leaving },
            What::Encrypt => Command::Encrypt { key: data, aad: &[], plaintext: black_box(&PAGE) },
            What::Decrypt => Command::Decrypt { key: data, iv: *iv, aad: &[], ciphertext },
            What::Sign => Command::Sign { by: MacMechanism::HmacSha256, key: mac, data: black_box(&LINE) },
        };
        match unit.run(command) {
            Response::Blob(bytes)
            | Response::Wrapped(bytes)
            | Response::Plaintext(bytes)
            | Response::Signature(bytes)
            | Response::Ciphertext { ciphertext: bytes, .. } => black_box(bytes).len(),
            other => panic!("{other:?}"),
        }
    }
}

/// The calls to the token that the engine makes for each command, with everything prepared that can be.
struct Bare {
    session: Session,
    wrap: ObjectHandle,
    mac: ObjectHandle,
    blob: Blob,
    fresh: Vec<Attribute>,
    leaving: Vec<Attribute>,
    encrypting: Vec<Attribute>,
    decrypting: Vec<Attribute>,
    wrapping: Vec<Attribute>,
    blocks: Vec<Attribute>,
    signing: Vec<Attribute>,
    ciphertext: Vec<u8>,
}

/// A blob of a key under the two keys of a master key, with the length of a unit's blob.
struct Blob {
    authenticated: Vec<u8>,
    wrapped: Vec<u8>,
    mac: Vec<u8>,
}

impl Bare {
    /// Opens a session in this process, which has loaded the module and is logged in.
    fn beside(module: &Path) -> Self {
        let softhsm = Pkcs11::new(module).unwrap();
        let slot = softhsm.get_slots_with_initialized_token().unwrap().first().copied().unwrap();
        let session = softhsm.open_rw_session(slot).unwrap();
        let (aes, secret) = (KeyType::AES, KeyType::GENERIC_SECRET);
        let (kw, kwp) = (MechanismType::AES_KEY_WRAP, MechanismType::AES_KEY_WRAP_PAD);
        let (gcm, cmac, sha256) = (MechanismType::AES_GCM, MechanismType::AES_CMAC, MechanismType::SHA256);
        let with_len = |mut attributes: Vec<Attribute>| {
            attributes.push(Attribute::ValueLen(32.into()));
            attributes
        };
        let make = |attributes| session.generate_key(&Mechanism::AesKeyGen, &with_len(attributes)).unwrap();
        let wrap =
            make(template(aes, &[Attribute::Wrap(true), Attribute::Unwrap(true)], false, &[kw, kwp, sha256]));
        let mac =
            make(template(aes, &[Attribute::Sign(true), Attribute::Verify(true)], false, &[cmac, sha256]));
        let fresh = with_len(template(aes, &[], true, &[sha256]));
        let key = session.generate_key(&Mechanism::AesKeyGen, &fresh).unwrap();
        let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, wrap, key).unwrap();
        let authenticated = [&[0; 80], wrapped.as_slice()].concat();
        let tag = session.sign(&Mechanism::AesCMac, mac, &authenticated).unwrap();
        session.destroy_object(key).unwrap();
        let mut bare = Self {
            session,
            wrap,
            mac,
            blob: Blob { authenticated, wrapped, mac: tag },
            fresh,
            leaving: template(aes, &[], true, &[sha256]),
            encrypting: template(aes, &[Attribute::Encrypt(true)], false, &[gcm, sha256]),
            decrypting: template(aes, &[Attribute::Decrypt(true)], false, &[gcm, sha256]),
            wrapping: template(aes, &[Attribute::Wrap(true)], false, &[kw, kwp, sha256]),
            blocks: template(aes, &[Attribute::Encrypt(true)], false, &[MechanismType::AES_ECB]),
            signing: template(secret, &[Attribute::Sign(true)], false, &[MechanismType::SHA256_HMAC, sha256]),
            ciphertext: Vec::new(),
        };
        bare.ciphertext = bare.encrypt([0; 12]);
        bare
    }

    fn run(&self, what: What) -> usize {
        let Self { session, blob, .. } = self;
        match what {
            What::GenerateKey => {
                let key = session.generate_key(&Mechanism::AesKeyGen, &self.fresh).unwrap();
                let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, self.wrap, key).unwrap();
                let mac = session.sign(&Mechanism::AesCMac, self.mac, &blob.authenticated).unwrap();
                session.destroy_object(key).unwrap();
                wrapped.len() + mac.len()
            }
            What::WrapKey => {
                self.check_mac();
                let (kek, blocks) = (self.unwrap(&self.wrapping), self.unwrap(&self.blocks));
                self.check_mac();
                let key = self.unwrap(&self.leaving);
                let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, kek, key).unwrap();
                for object in [kek, blocks, key] {
                    session.destroy_object(object).unwrap();
                }
                wrapped.len()
            }
            What::Encrypt => {
                let mut iv = [0; 12];
                session.generate_random_slice(&mut iv).unwrap();
                self.encrypt(iv).len()
            }
            What::Decrypt => {
                self.check_mac();
                let key = self.unwrap(&self.decrypting);
                let mut iv = [0; 12];
                let gcm = GcmParams::new(&mut iv, &[], 128.into()).unwrap();
                let plaintext = session.decrypt(&Mechanism::AesGcm(gcm), key, &self.ciphertext).unwrap();
                session.destroy_object(key).unwrap();
                plaintext.len()
            }
            What::Sign => {
                self.check_mac();
                let key = self.unwrap(&self.signing);
                let mac = session.sign(&Mechanism::Sha256Hmac, key, &LINE).unwrap();
                session.destroy_object(key).unwrap();
                mac.len()
            }
        }
    }

    fn check_mac(&self) {
        let Blob { authenticated, mac, .. } = &self.blob;
        self.session.verify(&Mechanism::AesCMac, self.mac, authenticated, mac).unwrap();
    }

    fn unwrap(&self, attributes: &[Attribute]) -> ObjectHandle {
        self.session.unwrap_key(&Mechanism::AesKeyWrap, self.wrap, &self.blob.wrapped, attributes).unwrap()
    }

    fn encrypt(&self, mut iv: [u8; 12]) -> Vec<u8> {
        self.check_mac();
        let key = self.unwrap(&self.encrypting);
        let gcm = GcmParams::new(&mut iv, &[], 128.into()).unwrap();
        let ciphertext = self.session.encrypt(&Mechanism::AesGcm(gcm), key, black_box(&PAGE)).unwrap();
        self.session.destroy_object(key).unwrap();
        ciphertext
    }
}

/// Template of a session object as the engine creates it, with every use set explicitly.
fn template(
    key_type: KeyType,
    uses: &[Attribute],
    extractable: bool,
    allowed: &[MechanismType],
) -> Vec<Attribute> {
    let mut attributes = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
    ];
    for unused in [
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ] {
        let used = uses.iter().find(|used| used.attribute_type() == unused.attribute_type());
        attributes.push(used.cloned().unwrap_or(unused));
    }
    attributes.push(Attribute::AllowedMechanisms(allowed.to_vec()));
    attributes
}

fn compare<E: Engine>(unit: &mut Bench<E>, bare: &Bare) {
    println!("\n{:32} {:>9} {:>9} {:>6}", "medians of turns", "unit", "bare", "ratio");
    for what in WHAT {
        let (mut of_unit, mut of_bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..TURNS {
            // The order alternates.
            let (a, b) = if turn % 2 == 0 {
                let a = time(|| unit.run(what));
                (a, time(|| bare.run(what)))
            } else {
                let b = time(|| bare.run(what));
                (time(|| unit.run(what)), b)
            };
            of_unit.push(a);
            of_bare.push(b);
            ratios.push(a / b);
        }
        let [a, b, ratio] = [of_unit, of_bare, ratios].map(median);
        println!("{:32} {a:6.1} µs {b:6.1} µs {ratio:6.3}", what.name());
    }
    println!();
}

/// Duration of a command in microseconds.
fn time(mut run: impl FnMut() -> usize) -> f64 {
    let started = Instant::now();
    for _ in 0..COMMANDS {
        black_box(run());
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(COMMANDS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
