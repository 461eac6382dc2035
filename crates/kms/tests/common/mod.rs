//! The fixture: a store in memory, a unit with real AES-GCM, a clock that tests move.
#![expect(clippy::panic, reason = "a test fails by panicking")]

pub(crate) mod backup;
#[expect(dead_code, reason = "not every fault is needed here")]
#[path = "../../../keystore/tests/support/mod.rs"]
pub(crate) mod disk;
pub(crate) mod fleet;
pub(crate) mod mirror;
pub(crate) mod raw;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aes_gcm::aead::{Aead, AeadInOut, KeyInit, Payload as Message};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, Nonce, aes::Aes192};
use engine::{KeySpec, KeyUses};
use getrandom::SysRng;
use jiff::Timestamp;
use keystore::{MemoryStore, StoreIdentity, WallClock};
use kms::{
    Call, Clock, HighWaterMarks, InstanceHeader, InstanceId, KeyKind, KeyRef, Kms, KmsOptions, NewKey, OpId,
    Payload, Timers, UnitReply, Units, UnitsError, VolatileMarks,
};
use sha2::{Digest, Sha256};
use unit_api::{Command, MAX_FRAME_LEN, Refusal, Reply, Response, UnitError, Variants, VerificationPattern};
use uuid::Uuid;
use zeroize::Zeroizing;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ALICE: &str = "IBMid-alice";

/// A simplified unit with the commands' semantics. A blob is 32 zero bytes, the WKID, and the key with its uses, sealed
/// under the master key.
pub(crate) struct FakeUnit {
    registers: Mutex<Registers>,
    fault: Mutex<Option<UnitsError>>,
    served: AtomicUsize,
    encrypted: AtomicUsize,
}

impl FakeUnit {
    pub(crate) fn new(master: [u8; 32]) -> Self {
        let registers = Registers { current: Some(master), new: None };
        Self {
            registers: Mutex::new(registers),
            fault: Mutex::default(),
            served: AtomicUsize::new(0),
            encrypted: AtomicUsize::new(0),
        }
    }

    /// Verification pattern of Current.
    pub(crate) fn pattern(&self) -> VerificationPattern {
        pattern(self.registers.lock().unwrap().current.unwrap())
    }

    /// Makes every command fail with this error from now on.
    pub(crate) fn set_fault(&self, fault: Option<UnitsError>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Number of commands served so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Number of AES-GCM encryptions so far.
    pub(crate) fn encrypted(&self) -> usize {
        self.encrypted.load(Ordering::Relaxed)
    }

    fn current(&self) -> Result<[u8; 32], UnitError> {
        self.registers.lock().unwrap().current.ok_or(UnitError::WkNotInitialized)
    }

    fn seal(&self, spec: KeySpec, key: &[u8]) -> Result<Vec<u8>, UnitError> {
        assert_eq!(spec.len(), key.len());
        assert!(!spec.extractable);
        Ok(seal(self.current()?, &spec.uses.bits().to_be_bytes(), key))
    }

    fn open(&self, blob: &[u8], needed: KeyUses) -> Result<Vec<u8>, UnitError> {
        let (uses, key) = unseal(self.current()?, blob)?;
        let uses = KeyUses::from_bits(u32::from_be_bytes(uses)).unwrap();
        if uses.permits(needed) { Ok(key) } else { Err(UnitError::KeyFunctionNotPermitted) }
    }

    fn reencipher(&self, blob: &[u8]) -> Result<Vec<u8>, UnitError> {
        let current = self.current()?;
        let (new, committed) = self.registers.lock().unwrap().new.ok_or(UnitError::NewMissing)?;
        if !committed {
            return Err(UnitError::NewNotCommitted);
        }
        let (uses, key) = unseal(current, blob)?;
        Ok(seal(new, &uses, &key))
    }

    fn serve(&self, command: &Command<'_>) -> Result<UnitReply, UnitError> {
        let reply = match *command {
            Command::GenerateRandom { len } => body(Response::Random(&random(usize::from(len)))),
            Command::GenerateKey { spec } => body(Response::Blob(&self.seal(spec, &random(spec.len()))?)),
            Command::ImportKey { spec, value } => body(Response::Blob(&self.seal(spec, value)?)),
            Command::Reencipher { blob } => body(Response::Blob(&self.reencipher(blob)?)),
            Command::Encrypt { key, aad, plaintext } => {
                let key = self.open(key, KeyUses::ENCRYPT)?;
                self.encrypted.fetch_add(1, Ordering::Relaxed);
                let iv: [u8; 12] = random(12).try_into().unwrap();
                let mut ciphertext = plaintext.to_vec();
                with_cipher(&key, |cipher| cipher.seal_in_place(&iv, aad, &mut ciphertext));
                body(Response::Ciphertext { iv, ciphertext: &ciphertext })
            }
            Command::Decrypt { key, iv, aad, ciphertext } => {
                let key = self.open(key, KeyUses::DECRYPT)?;
                let mut plaintext = ciphertext.to_vec();
                let ok = with_cipher(&key, |cipher| cipher.open_in_place(&iv, aad, &mut plaintext));
                if !ok {
                    return Err(UnitError::EncryptedDataInvalid);
                }
                body(Response::Plaintext(&plaintext))
            }
            _ => return Err(UnitError::MechanismInvalid),
        };
        Ok(reply)
    }
}

impl Units for FakeUnit {
    async fn execute(&self, variants: &Variants<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        let command = &variants.first.command;
        assert!(!deadline.is_zero() && !command.is_administrative());
        // Other tasks run meanwhile, as while a real unit works.
        tokio::task::yield_now().await;
        if let Some(fault) = self.fault.lock().unwrap().clone() {
            return Err(fault);
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        // A refusal can arrive in both ways: inside a reply and as the host's own error.
        match self.serve(command) {
            Ok(reply) => Ok(reply),
            Err(error) if self.served().is_multiple_of(2) => Err(UnitsError::Refused(error.into())),
            Err(error) => Ok(reply(Err(error.into()))),
        }
    }
}

/// The master-key registers: Current, and New with whether it is committed.
pub(crate) struct Registers {
    pub(crate) current: Option<[u8; 32]>,
    pub(crate) new: Option<([u8; 32], bool)>,
}

pub(crate) fn pattern(master: [u8; 32]) -> VerificationPattern {
    VerificationPattern::from_digest(Sha256::new().chain_update([1]).chain_update(master).finalize().into())
}

fn seal(master: [u8; 32], uses: &[u8; 4], key: &[u8]) -> Vec<u8> {
    let iv: [u8; 12] = random(12).try_into().unwrap();
    let cipher = Aes256Gcm::new(&master.into());
    let sealed = cipher.encrypt(&Nonce::from(iv), Message { msg: key, aad: uses }).unwrap();
    [&[0; 32][..], &pattern(master).wkid(), uses, &iv, &sealed].concat()
}

fn unseal(master: [u8; 32], blob: &[u8]) -> Result<([u8; 4], Vec<u8>), UnitError> {
    let wkid = blob.get(32..48).ok_or(UnitError::BlobError)?;
    if wkid != pattern(master).wkid() {
        return Err(UnitError::WkidMismatch);
    }
    let (uses, rest) = blob.get(48..).and_then(<[u8]>::split_first_chunk::<4>).ok_or(UnitError::BlobError)?;
    let (iv, sealed) = rest.split_first_chunk::<12>().ok_or(UnitError::BlobError)?;
    let cipher = Aes256Gcm::new(&master.into());
    let key = cipher.decrypt(&Nonce::from(*iv), Message { msg: sealed, aad: uses });
    Ok((*uses, key.map_err(|_| UnitError::BlobError)?))
}

fn body(response: Response<'_>) -> UnitReply {
    reply(Ok(response))
}

fn reply(result: Result<Response<'_>, Refusal>) -> UnitReply {
    let mut frame = Zeroizing::new(vec![0; MAX_FRAME_LEN + 4]);
    let len = unit_api::encode_reply(&Reply { number: 1, result }, &mut frame).unwrap();
    UnitReply::from_body(Zeroizing::new(frame.get(4..len).unwrap().to_vec()))
}

trait Cipher {
    fn seal_in_place(&self, iv: &[u8; 12], aad: &[u8], data: &mut Vec<u8>) -> bool;
    fn open_in_place(&self, iv: &[u8; 12], aad: &[u8], data: &mut Vec<u8>) -> bool;
}

impl<C: AeadInOut<NonceSize = aes_gcm::aead::consts::U12>> Cipher for C {
    fn seal_in_place(&self, iv: &[u8; 12], aad: &[u8], data: &mut Vec<u8>) -> bool {
        self.encrypt_in_place(&(*iv).into(), aad, data).is_ok()
    }
    fn open_in_place(&self, iv: &[u8; 12], aad: &[u8], data: &mut Vec<u8>) -> bool {
        self.decrypt_in_place(&(*iv).into(), aad, data).is_ok()
    }
}

fn with_cipher<T>(key: &[u8], f: impl FnOnce(&dyn Cipher) -> T) -> T {
    match key.len() {
        16 => f(&Aes128Gcm::new_from_slice(key).unwrap()),
        24 => f(&AesGcm::<Aes192, aes_gcm::aead::consts::U12>::new_from_slice(key).unwrap()),
        32 => f(&Aes256Gcm::new_from_slice(key).unwrap()),
        other => panic!("no AES key has {other} bytes"),
    }
}

pub(crate) fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A clock that only tests move. Starts at 2026-01-01T00:00:00Z.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

pub(crate) type Service = Kms<Arc<MemoryStore>, Arc<FakeUnit>>;

pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) unit: Arc<FakeUnit>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) kms: Arc<Service>,
    pub(crate) instance: InstanceId,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_timers(Timers::STANDARD).await
    }

    pub(crate) async fn with_timers(timers: Timers) -> Self {
        let store = Arc::new(MemoryStore::new(StoreIdentity([1; 16]), WallClock::system()));
        let unit = Arc::new(FakeUnit::new([0x4d; 32]));
        let clock = Arc::new(TestClock(AtomicI64::new(1_767_225_600)));
        let kms = open(&store, &unit, &clock, timers).await;
        let world = Self { store, unit, clock, kms, instance: InstanceId(Uuid::from_u128(0x1)) };
        world.begin(world.instance).await;
        world
    }

    /// Makes an instance.
    pub(crate) async fn begin(&self, instance: InstanceId) -> InstanceHeader {
        let pattern = self.unit.pattern();
        InstanceHeader::create(&self.store, &self.unit, &mut SysRng, instance, pattern, PATIENCE)
            .await
            .unwrap()
    }

    /// Another service over the same store and units, as after a restart.
    pub(crate) async fn reopened(&self) -> Arc<Service> {
        open(&self.store, &self.unit, &self.clock, Timers::STANDARD).await
    }

    /// As [`Self::reopened`], with other options.
    pub(crate) async fn reopened_as(&self, options: KmsOptions) -> Arc<Service> {
        let options = options.with_clock(self.clock.clone());
        Arc::new(Kms::open(self.store.clone(), self.unit.clone(), options, PATIENCE).await.unwrap())
    }

    /// As [`Self::reopened`], with high-water marks that outlive a service.
    pub(crate) async fn reopened_with(&self, marks: &Arc<VolatileMarks>) -> Arc<Service> {
        let options = KmsOptions::default().with_clock(self.clock.clone());
        let options = options.with_marks(Arc::clone(marks) as Arc<dyn HighWaterMarks>);
        Arc::new(Kms::open(self.store.clone(), self.unit.clone(), options, PATIENCE).await.unwrap())
    }

    pub(crate) fn call(&self) -> Call<'static> {
        Call { instance: self.instance, caller: ALICE, deadline: PATIENCE, changed_at: None }
    }

    /// An active root key.
    pub(crate) async fn root(&self, payload: Option<&[u8]>) -> KeyRef {
        self.create(new_key(KeyKind::Root, payload)).await
    }

    pub(crate) async fn create(&self, new: NewKey) -> KeyRef {
        self.kms.create_key(&self.call(), op(), new).await.unwrap().id.into()
    }

    /// The instance secret, which only this simplified unit reveals.
    pub(crate) async fn secret(&self) -> Zeroizing<Vec<u8>> {
        self.unit.instance_secret(&self.kms.header(&self.call()).await.unwrap()).await
    }

    /// Every value in the store.
    pub(crate) async fn stored_values(&self) -> Vec<Vec<u8>> {
        use keystore::{Deadline, Freshness, Key, Keystore};
        let page = self
            .store
            .scan(Key::with_prefix(b""), 1000, None, Freshness::Linearizable, Deadline(PATIENCE))
            .await
            .unwrap();
        assert!(page.next.is_none());
        page.entries.iter().flat_map(|e| [e.key.0.to_vec(), e.value.to_vec()]).collect()
    }
}

async fn open(
    store: &Arc<MemoryStore>,
    unit: &Arc<FakeUnit>,
    clock: &Arc<TestClock>,
    timers: Timers,
) -> Arc<Service> {
    let options = KmsOptions::default().with_clock(clock.clone()).with_timers(timers);
    Arc::new(Kms::open(store.clone(), unit.clone(), options, PATIENCE).await.unwrap())
}

pub(crate) fn new_key(kind: KeyKind, payload: Option<&[u8]>) -> NewKey {
    NewKey {
        kind,
        name: "orders".into(),
        description: None,
        aliases: vec![],
        tags: vec![],
        expires_at: None,
        payload: payload.map(|bytes| Payload::new(bytes.to_vec())),
    }
}

/// An unused operation id.
pub(crate) fn op() -> OpId {
    OpId(random(16).try_into().unwrap())
}

impl FakeUnit {
    /// Opens an instance secret.
    pub(crate) async fn instance_secret(&self, header: &InstanceHeader) -> Zeroizing<Vec<u8>> {
        let reply = self.execute(&Variants::of(header.proof.open_secret()), PATIENCE).await.unwrap();
        let Response::Plaintext(secret) = reply.response().unwrap() else { panic!("no plaintext") };
        Zeroizing::new(secret.to_vec())
    }

    /// The key in a blob, which only this simplified unit reveals.
    pub(crate) fn exposed(&self, blob: &[u8], needed: KeyUses) -> Vec<u8> {
        self.open(blob, needed).unwrap()
    }
}
