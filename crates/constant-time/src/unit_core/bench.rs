//! A unit in which everything is secret that can be: device secret, entropy, master key, key values.
//!
//! One administrator rules it, whose key is not secret here: how signatures are made, and how key parts are sealed and
//! opened, is not what these cases are about. Parts come in sealed for an importer key that is secret, and so are secret.
//!
//! Making an importer key, opening parts and sealing an export are set up, and no case of their own: what RustCrypto's
//! P-521 reports there are verdicts on what is public – whether a candidate is in range, whether its point is infinity,
//! the form in which that point is written – and, in a build with overflow checks, a million branches to panics that are
//! never taken. Release builds have no such checks in those crates.
//!
//! Nearly all the time of a case used to go into the ceremony that gives its unit a master key. What uses keys leaves a
//! unit as it was, so such cases lend each other one unit. A unit that was started from its storage would not do: all
//! that it reads there, whether a register is full included, comes out of decryption and counts as secret.

use crate::engine_soft::{SecretEntropy, spec};
use crate::harness::{public_bytes, secret, secret_bytes, set_up};
use ::engine_soft::{CtrDrbg, DeviceSecret, SoftEngine};
use ::unit_core::{Clock, Env, Identity, Module, Slot, Storage, StorageFailed, Unit};
use engine::Algorithm;
use rand_core::SeedableRng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use tke_crypto::{
    AdministratorName, CERTIFICATE_BUFFER_LEN, PublicKey, SCALAR_LEN, SEALED_PART_MAX_LEN,
    Signature, SigningKey, Ski, seal_key_part, write_administrator_certificate,
};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, Attributes, ImporterKey,
    InstanceId, Permissions, SignatureAlgorithm, SignerInfo,
};
use unit_api::{
    Command, Condition, Envelope, MAX_FRAME_LEN, Response, Target, UnitError, UnitId, UnitStatus,
    VerificationPattern,
};

/// Bytes of a blob before the wrapped key: WKID, attributes, lengths. The host reads them, so they are public.
const BLOB_HEADER_LEN: usize = 80;
const MAC_LEN: usize = 16;

/// Where a blob is tampered with, given its length.
type Place = fn(usize) -> usize;

/// Nowhere, in either half of the wrapped key, in either half of the MAC.
pub(crate) const BLOB_TAMPERINGS: [(&str, Option<Place>); 5] = [
    ("good", None),
    ("first_half", Some(|_| BLOB_HEADER_LEN)),
    ("last_half", Some(|len| len - MAC_LEN - 1)),
    ("mac_first_half", Some(|len| len - MAC_LEN)),
    ("mac_last_half", Some(|len| len - 1)),
];

/// Two key parts, fit to be combined; the master key of a bench that is ready.
pub(crate) const PARTS: [[u8; 32]; 2] = [[0x11; 32], [0x2e; 32]];

/// Two others.
const OTHER_PARTS: [[u8; 32]; 2] = [[0x11; 32], [0x2f; 32]];

/// The engine under the unit.
pub(crate) type UnitEngine = SoftEngine<SecretEntropy, 16>;

pub(crate) fn engine() -> UnitEngine {
    SoftEngine::new(&DeviceSecret::new(secret([3; 32])), SecretEntropy::default()).unwrap()
}

/// Two slots in memory. What a unit writes is sealed, and public: storage is not trusted with a secret.
#[derive(Default)]
struct Memory([Vec<u8>; 2]);

impl Storage for Memory {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let held = &self.0[slot as usize];
        content[..held.len()].copy_from_slice(held);
        Ok(held.len())
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        self.0[slot as usize] = public_bytes(content);
        Ok(())
    }
}

struct World;

impl Env for World {
    type Engine = UnitEngine;
    type Storage = Memory;
    type Module = DeviceKey;
    type Clock = NoClock;
}

/// The administrator's key, which is the module's as well, with a signature that it has made.
fn fixed_key() -> &'static (SigningKey, Signature) {
    static KEY: OnceLock<(SigningKey, Signature)> = OnceLock::new();
    KEY.get_or_init(|| {
        let mut scalar = [7; SCALAR_LEN];
        scalar[0] = 0;
        let key = SigningKey::from_scalar(&scalar).unwrap();
        let signature = key.sign(b"any message");
        (key, signature)
    })
}

/// A module whose signatures are all the same: what it would sign depends on what a unit shows.
struct DeviceKey(PublicKey);

impl Module for DeviceKey {
    fn sign(&self, _: &[u8]) -> Signature {
        fixed_key().1.clone()
    }

    fn ski(&self) -> Ski {
        self.0.ski()
    }

    fn certificate(&self) -> &[u8] {
        &[]
    }

    fn root(&self) -> &PublicKey {
        &self.0
    }
}

struct NoClock;

impl Clock for NoClock {
    fn now_ms(&mut self) -> u64 {
        0
    }
}

/// A unit and its caller.
pub(crate) struct Bench(Box<Unit<World>>);

impl Bench {
    /// A unit on its first day.
    pub(crate) fn new() -> Self {
        let identity = Identity { unit: UnitId([7; 16]), domain_index: 0, instance: InstanceId([8; 16]) };
        let module = DeviceKey(fixed_key().0.public());
        let unit = Unit::start(engine(), Memory::default(), module, NoClock, identity);
        let mut bench = Self(Box::new(unit));
        assert_eq!(bench.status().condition, Condition::Operational);
        bench
    }

    /// A secured unit without a master key.
    pub(crate) fn in_service() -> Self {
        set_up(|| {
            let mut bench = Self::new();
            let mut certificate = [0; CERTIFICATE_BUFFER_LEN];
            let name = AdministratorName::try_from("Administrator").unwrap();
            let certificate =
                write_administrator_certificate(&fixed_key().0, &name, &mut certificate).unwrap();
            bench.send(AdminCommand::AddAdministrator, certificate, false).unwrap();
            let attributes = Attributes {
                signature_threshold: 1,
                revocation_threshold: 1,
                permissions: Permissions::recovery(),
                mode: 1,
            };
            bench.send(AdminCommand::SetAttributes, &attributes.to_bytes(), true).unwrap();
            bench
        })
    }

    /// A unit with a secret master key in Current, for what leaves it as it is.
    pub(crate) fn ready() -> Lent {
        Lent::out(Stage::Ready)
    }

    /// The same with another master key.
    pub(crate) fn ready_with_other() -> Lent {
        Lent::out(Stage::ReadyWithOther)
    }

    /// A unit with a master key in Current, and another, committed, in New; for what leaves it as it is.
    pub(crate) fn rotating() -> Lent {
        Lent::out(Stage::Rotating)
    }

    /// A unit with a master key in Current, and another in New, to be changed; the pattern of that in New.
    pub(crate) fn loaded() -> (Self, VerificationPattern) {
        set_up(|| {
            let mut bench = Self::activated(PARTS);
            let pattern = bench.load(OTHER_PARTS);
            (bench, pattern)
        })
    }

    /// The same, with New committed.
    pub(crate) fn committed() -> (Self, VerificationPattern) {
        set_up(|| {
            let (mut bench, pattern) = Self::loaded();
            bench.administer(AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
            (bench, pattern)
        })
    }

    fn activated(parts: [[u8; 32]; 2]) -> Self {
        let mut bench = Self::in_service();
        let pattern = bench.load(parts);
        bench.administer(AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
        bench.administer(AdminCommand::ActivateNew, pattern.as_bytes()).unwrap();
        bench
    }

    fn status(&mut self) -> UnitStatus {
        match self.0.execute(&Envelope::plain(Command::Status), &mut []) {
            Ok(Response::Status(status)) => status,
            _ => unreachable!("a unit always has a status"),
        }
    }

    /// A command of the administrator.
    pub(crate) fn administer(&mut self, command: AdminCommand, input: &[u8]) -> Result<Vec<u8>, UnitError> {
        self.send(command, input, true)
    }

    fn send(&mut self, command: AdminCommand, input: &[u8], signed: bool) -> Result<Vec<u8>, UnitError> {
        let request = &self.request(command, input, signed);
        let mut out = vec![0; MAX_FRAME_LEN];
        let answer = self.0.execute(&Envelope::plain(Command::Administer { request }), &mut out);
        let Ok(Response::Administered(response)) = answer else { unreachable!("it is always answered") };
        let block = AdminResponse::decode(response).unwrap().block;
        let result = AdminResponseBlock::decode(block).unwrap().result();
        result.map(<[u8]>::to_vec).map_err(|refusal| refusal.unit_error().unwrap())
    }

    fn request(&mut self, command: AdminCommand, input: &[u8], signed: bool) -> Vec<u8> {
        let UnitStatus { unit, domain_index, domain_instance, transaction_counter, .. } = self.status();
        let block = AdminBlock {
            command: command.id(),
            target: Target { unit, domain_index, domain_instance },
            transaction_counter: transaction_counter + 1,
            input,
        };
        let mut buffer = vec![0; input.len() + 64];
        let block = block.encode(&mut buffer).unwrap();
        let signature = if signed { fixed_key().0.sign(block).to_vec() } else { Vec::new() };
        let (ski, algorithm) = (fixed_key().0.public().ski().0, SignatureAlgorithm::EcdsaP521Sha512);
        let mut signer = [0; 256];
        let signer = SignerInfo { ski, algorithm, signature: &signature }.encode(&mut signer).unwrap();
        let signatures = if signed { signer } else { &[] };
        let request = AdminRequest { domain_index, block, signatures };
        request.encode(&mut vec![0; block.len() + 512]).unwrap().to_vec()
    }

    /// Loads New from secret parts and gives the pattern, which is public from then on.
    fn load(&mut self, parts: [[u8; 32]; 2]) -> VerificationPattern {
        let shown = self.administer(AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]).unwrap();
        let shown = public_bytes(&shown);
        let importer = PublicKey::from_point(ImporterKey::decode(&shown).unwrap().point).unwrap();
        let mut input = Vec::new();
        for part in parts {
            let mut rng = CtrDrbg::seed_from_u64(part[0].into());
            let mut sealed = [0; SEALED_PART_MAX_LEN];
            let sealed = seal_key_part(&importer, &part, &mut rng, &mut sealed).unwrap();
            input.extend(self.request(AdminCommand::ImportKeyParts, sealed, true));
        }
        pattern(&self.send(AdminCommand::ImportKeyParts, &input, false).unwrap())
    }

    /// Carries out a command. What it gives is secret as far as it depends on secrets; whether it was refused, and
    /// why, is public.
    pub(crate) fn run(&mut self, command: Command<'_>) -> Result<Vec<u8>, UnitError> {
        let mut out = [0; 256];
        match self.0.execute(&Envelope::plain(command), &mut out) {
            Ok(response) => Ok(match response {
                Response::Blob(bytes)
                | Response::Wrapped(bytes)
                | Response::Plaintext(bytes)
                | Response::Signature(bytes) => bytes.to_vec(),
                Response::Ciphertext { iv, ciphertext } => [&iv[..], ciphertext].concat(),
                _ => Vec::new(),
            }),
            Err(refusal) => Err(refusal.unit_error().unwrap()),
        }
    }

    /// The unit itself, for frames.
    pub(crate) fn handle_request(&mut self, body: &[u8], reply: &mut [u8]) -> usize {
        self.0.handle_request(body, 0, reply)
    }

    /// The blob of a key with a secret value, as the unit made it.
    pub(crate) fn import(&mut self, algorithm: Algorithm, key_len: usize) -> Vec<u8> {
        let spec = spec(algorithm, u16::try_from(key_len).unwrap());
        self.run(Command::ImportKey { spec, value: &secret_bytes(&vec![5; key_len]) }).unwrap()
    }
}

/// What a unit that is lent has been through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Ready,
    ReadyWithOther,
    Rotating,
}

thread_local! {
    /// Units that no case has.
    static AT_HOME: RefCell<BTreeMap<Stage, Bench>> = const { RefCell::new(BTreeMap::new()) };
}

/// A bench that comes back for the next case.
pub(crate) struct Lent {
    stage: Stage,
    /// There until it goes back.
    bench: Option<Bench>,
}

impl Lent {
    fn out(stage: Stage) -> Self {
        let at_home = AT_HOME.with_borrow_mut(|at_home| at_home.remove(&stage));
        let bench = at_home.unwrap_or_else(|| {
            set_up(|| match stage {
                Stage::Ready => Bench::activated(PARTS),
                Stage::ReadyWithOther => Bench::activated(OTHER_PARTS),
                Stage::Rotating => Bench::committed().0,
            })
        });
        Self { stage, bench: Some(bench) }
    }
}

impl Deref for Lent {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        self.bench.as_ref().unwrap()
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(bench) = self.bench.take() {
            AT_HOME.with_borrow_mut(|at_home| at_home.insert(self.stage, bench));
        }
    }
}

/// A pattern that the unit showed. It is public: the unit shows it to whoever asks for its status.
fn pattern(shown: &[u8]) -> VerificationPattern {
    VerificationPattern::from_bytes(public_bytes(shown).try_into().unwrap())
}

/// A blob as a caller hands it in: header public, wrapped key and MAC secret, tampered with or not.
pub(crate) fn handed_in(blob: &[u8], at: Option<Place>) -> Vec<u8> {
    let mut blob = public_bytes(blob);
    if let Some(at) = at {
        let at = at(blob.len());
        blob[at] ^= 1;
    }
    let (header, rest) = blob.split_at(BLOB_HEADER_LEN);
    [header, &secret_bytes(rest)].concat()
}
