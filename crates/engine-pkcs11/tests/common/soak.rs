//! Two threads at one token, each with an engine, doing all that engines do; and what is counted meanwhile.

use cryptoki::context::Pkcs11;
use engine::{CipherMechanism, Engine, EngineError, KeyPart, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use engine_pkcs11::{Pkcs11Engine, Token, UnitKeys};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// What is there at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// Objects that a session sees: those of the process, and those stored.
    pub(crate) objects: usize,
    /// Memory of the process in RAM, in bytes.
    pub(crate) resident: u64,
}

/// Rounds of both threads so far.
pub(crate) struct Soak {
    pub(crate) rounds: AtomicU64,
    stop: AtomicBool,
    /// A round holds it for reading, whoever counts for writing: a session that is open while the engines begin anew
    /// with the module has a number that may be somebody else's afterwards.
    counting: RwLock<()>,
}

impl Soak {
    pub(crate) const fn new() -> Self {
        Self { rounds: AtomicU64::new(0), stop: AtomicBool::new(false), counting: RwLock::new(()) }
    }

    /// Works until it is stopped, and then leaves nothing but what is stored for the device.
    pub(crate) fn work(&self, token: &Arc<Token>, name: &str) {
        let mut engine = {
            let _no_count = self.counting.read().unwrap();
            Pkcs11Engine::open(token, name, UnitKeys::New).unwrap()
        };
        while !self.stop.load(Ordering::Relaxed) {
            let _no_count = self.counting.read().unwrap();
            round(&mut engine);
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stops the work when whoever counts is done, or fails.
    pub(crate) const fn stop_on_drop(&self) -> StopOnDrop<'_> {
        StopOnDrop(self)
    }

    /// Counts between two rounds, through a session of its own.
    pub(crate) fn count(&self, module: &Path, label: &str) -> Count {
        let _no_round = self.counting.write().unwrap();
        count(module, label)
    }
}

/// The end of the work.
pub(crate) struct StopOnDrop<'a>(&'a Soak);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// A master key, its derived keys, stored and recalled; a key under it, wrapped, unwrapped, used; refusals of all kinds.
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
    // The same library: loaded twice, it is there once.
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
