//! A soak test: two threads, each with an engine on the same token, make every kind of call, while objects and memory are
//! counted.

use cryptoki::context::Pkcs11;
use engine::{CipherMechanism, Engine, EngineError, KeyPart, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use engine_pkcs11::{DeviceKeyMode, Pkcs11Engine, Token};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// Objects and memory at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// Objects visible to a session: session objects of the process, and stored objects.
    pub(crate) objects: usize,
    /// Resident memory of the process, in bytes.
    pub(crate) resident: u64,
}

/// State shared by the threads of a soak test.
pub(crate) struct Soak {
    /// Rounds of both threads so far.
    pub(crate) rounds: AtomicU64,
    stop: AtomicBool,
    /// Read-locked during a round, write-locked while counting: if the engines initialised the module again meanwhile, the
    /// handle of the counting session could denote another session.
    counting: RwLock<()>,
}

impl Soak {
    pub(crate) const fn new() -> Self {
        Self { rounds: AtomicU64::new(0), stop: AtomicBool::new(false), counting: RwLock::new(()) }
    }

    /// Runs rounds until stopped. Only the stored device key is left afterwards.
    pub(crate) fn work(&self, token: &Arc<Token>, name: &str) {
        let mut engine = {
            let _no_count = self.counting.read().unwrap();
            Pkcs11Engine::open(token, name, DeviceKeyMode::CreateIfMissing).unwrap()
        };
        while !self.stop.load(Ordering::Relaxed) {
            let _no_count = self.counting.read().unwrap();
            round(&mut engine);
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns a guard that stops the threads when it is dropped, also by a panic.
    pub(crate) const fn stop_on_drop(&self) -> StopOnDrop<'_> {
        StopOnDrop(self)
    }

    /// Counts between two rounds, in a session of its own.
    pub(crate) fn count(&self, module: &Path, label: &str) -> Count {
        let _no_round = self.counting.write().unwrap();
        count(module, label)
    }
}

/// Stops the threads of a soak test on drop.
pub(crate) struct StopOnDrop<'a>(&'a Soak);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Creates, stores and recalls a master key and a derived key; wraps, unwraps and uses keys; makes calls that are refused.
fn round(engine: &mut Pkcs11Engine) {
    let spec = |uses, extractable| KeySpec { extractable, ..KeySpec::aes(32, uses) };
    let master = engine.combine_key_parts(&[KeyPart::new([1; 32]), KeyPart::new([2; 32])], false).unwrap();
    let both = KeyUses::WRAP.with(KeyUses::UNWRAP);
    let wrapping = engine.derive_key(master, b"wrap", b"soak", &spec(both, false)).unwrap();
    let mut reference = [0; 96];
    let len = engine.persist_key(master, &mut reference).unwrap();
    let reference = &reference[..len];
    let recalled = engine.recall_key(reference).unwrap();
    let again = engine.derive_key(recalled, b"wrap", b"soak", &spec(both, false)).unwrap();

    let key = engine.generate_key(&spec(KeyUses::NONE, true)).unwrap();
    let mut wrapped = [0; 40];
    engine.wrap_key(WrapMechanism::AesKw, wrapping, key, &mut wrapped).unwrap();
    let opened =
        engine.unwrap_key(WrapMechanism::AesKw, again, &wrapped, &spec(KeyUses::ENCRYPT, false)).unwrap();
    let gcm = CipherMechanism::AesGcm { iv: &[3; 12], aad: b"aad" };
    let mut ciphertext = [0; 48];
    engine.encrypt(gcm, opened, &[4; 32], &mut ciphertext).unwrap();
    let short = KeySpec {
        algorithm: engine::Algorithm::GenericSecret,
        key_len: 20,
        uses: KeyUses::SIGN,
        extractable: true,
    };
    let secret = engine.import_key(&short, &[5; 20]).unwrap();
    engine.sign(MacMechanism::HmacSha256, secret, b"data", &mut [0; 32]).unwrap();
    let mut padded = [0; 32];
    engine.wrap_key(WrapMechanism::AesKwp, wrapping, secret, &mut padded).unwrap();
    let unwrapped = engine.unwrap_key(WrapMechanism::AesKwp, again, &padded, &short).unwrap();

    wrapped[7] ^= 1;
    let refused = engine.unwrap_key(WrapMechanism::AesKw, again, &wrapped, &spec(KeyUses::ENCRYPT, false));
    assert_eq!(refused, Err(EngineError::WrappedKeyInvalid));
    padded[9] ^= 1;
    let refused = engine.unwrap_key(WrapMechanism::AesKwp, again, &padded, &short);
    assert_eq!(refused, Err(EngineError::WrappedKeyInvalid));
    for key in [key, opened, secret, unwrapped, wrapping, again, master, recalled] {
        engine.destroy_key(key).unwrap();
    }
    engine.forget_key(reference).unwrap();
}

fn count(module: &Path, label: &str) -> Count {
    // dlopen(3) returns the library that is already loaded and initialised.
    let context = Pkcs11::new(module).unwrap();
    let slot = context
        .get_slots_with_initialized_token()
        .unwrap()
        .into_iter()
        .find(|slot| context.get_token_info(*slot).unwrap().label().trim() == label)
        .unwrap();
    let session = context.open_ro_session(slot).unwrap();
    let objects = session.find_objects(&[]).unwrap().len();
    Count { objects, resident: resident() }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}
