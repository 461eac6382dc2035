//! A unit whose device secret, entropy, master key and key values are all secret.
//!
//! The key of its one administrator is not secret: these cases do not check how signatures are made, or how key parts are
//! sealed and opened. Parts are sealed for an importer key that is secret, and are therefore secret.
//!
//! Generating an importer key, opening parts and sealing an export are part of the set-up and have no cases. RustCrypto's
//! P-521 reports verdicts on public values there: whether a candidate is in range, whether its point is infinity, the form in
//! which the point is written. In a build with overflow checks it also reports branches to panics that are never taken;
//! release builds have no such checks in those crates.
//!
//! The ceremony that loads a master key takes most of the time. Cases that only use keys do not change their unit, so that
//! they share one. A unit that was restarted from its storage would not do: all that it reads, including the states of the
//! registers, comes out of decryption and counts as secret.

use crate::engine_soft::{SecretEntropy, spec};
use crate::harness::{public_bytes, secret, secret_bytes, set_up};
use ::engine_soft::{CtrDrbg, DeviceSecret, SoftEngine};
use ::unit_core::{Clock, Env, Module, Slot, Storage, StorageFailed, Unit, UnitIdentity};
use engine::{Algorithm, KeySpec};
use rand_core::SeedableRng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use tke_crypto::{
    AdministratorName, CERTIFICATE_BUFFER_LEN, PublicKey, SCALAR_LEN, SEALED_PART_MAX_LEN, Signature,
    SigningKey, seal_key_part, write_administrator_certificate,
};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, Attributes, ImporterKey,
    InstanceId, KeyPartInput, Permissions, SignatureAlgorithm, SignerInfo,
};
use unit_api::{
    Command, Condition, Envelope, MAX_FRAME_LEN, Response, Target, UnitError, UnitId, UnitStatus, UseFamily,
    VerificationPattern,
};
use unit_testkit::FixedAttestation;

/// Bytes of a blob before the wrapped key: WKID, attributes, lengths. The host reads them, so they are public.
const BLOB_HEADER_LEN: usize = 80;
const MAC_LEN: usize = 16;

/// The position of a change in a blob, given its length.
type Place = fn(usize) -> usize;

/// No change; a change in each half of the wrapped key; a change in each half of the MAC.
pub(crate) const BLOB_TAMPERINGS: [(&str, Option<Place>); 5] = [
    ("good", None),
    ("first_half", Some(|_| BLOB_HEADER_LEN)),
    ("last_half", Some(|len| len - MAC_LEN - 1)),
    ("mac_first_half", Some(|len| len - MAC_LEN)),
    ("mac_last_half", Some(|len| len - 1)),
];

/// Two sound key parts: the master key of a fixture that is ready.
pub(crate) const PARTS: [[u8; 32]; 2] = [[0x11; 32], [0x2e; 32]];

/// Two other sound key parts.
const OTHER_PARTS: [[u8; 32]; 2] = [[0x11; 32], [0x2f; 32]];

/// The engine under the unit.
pub(crate) type UnitEngine = FixedAttestation<SoftEngine<SecretEntropy, 16>>;

pub(crate) fn engine() -> UnitEngine {
    // It makes its attestation key, whose cases are in `tke_crypto`.
    let engine =
        set_up(|| SoftEngine::new(&DeviceSecret::new(secret([3; 32])), SecretEntropy::default()).unwrap());
    FixedAttestation::new(engine, &fixed_key().0)
}

/// Two slots in memory. Their content is sealed and therefore public.
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

/// The module. Its engine's signatures are all the same, so that they do not depend on what a unit shows.
struct DeviceKey(PublicKey);

impl Module for DeviceKey {
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

/// A unit for the cases.
pub(crate) struct Fixture(Box<Unit<World>>);

impl Fixture {
    /// A new unit.
    pub(crate) fn new() -> Self {
        let identity = UnitIdentity { unit: UnitId([7; 16]), domain_index: 0, instance: InstanceId([8; 16]) };
        let module = DeviceKey(fixed_key().0.public());
        let unit = Unit::start(engine(), Memory::default(), module, NoClock, identity);
        let mut fixture = Self(Box::new(unit));
        assert_eq!(fixture.status().condition, Condition::Operational);
        fixture
    }

    /// A secured unit without a master key.
    pub(crate) fn in_service() -> Self {
        set_up(|| {
            let mut fixture = Self::new();
            let mut certificate = [0; CERTIFICATE_BUFFER_LEN];
            let name = AdministratorName::try_from("Administrator").unwrap();
            let certificate =
                write_administrator_certificate(&fixed_key().0, &name, &mut certificate).unwrap();
            fixture.send(AdminCommand::AddAdministrator, certificate, false).unwrap();
            let attributes = Attributes {
                signature_threshold: 1,
                revocation_threshold: 1,
                permissions: Permissions::recovery(),
                mode: 1,
            };
            fixture.send(AdminCommand::SetAttributes, &attributes.to_bytes(), true).unwrap();
            fixture
        })
    }

    /// A unit with a secret master key in Current, for cases that do not change it.
    pub(crate) fn ready() -> Shared {
        Shared::take(Stage::Ready)
    }

    /// The same with another master key.
    pub(crate) fn ready_with_other() -> Shared {
        Shared::take(Stage::ReadyWithOther)
    }

    /// A unit with a master key in Current, and another, committed, in New; for cases that do not change it.
    pub(crate) fn rotating() -> Shared {
        Shared::take(Stage::Rotating)
    }

    /// A unit with a master key in Current and another in New, for cases that change it; and the pattern of New.
    pub(crate) fn loaded() -> (Self, VerificationPattern) {
        set_up(|| {
            let mut fixture = Self::activated(PARTS);
            let pattern = fixture.load(OTHER_PARTS);
            (fixture, pattern)
        })
    }

    /// The same, with New committed.
    pub(crate) fn committed() -> (Self, VerificationPattern) {
        set_up(|| {
            let (mut fixture, pattern) = Self::loaded();
            fixture.administer(AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
            (fixture, pattern)
        })
    }

    fn activated(parts: [[u8; 32]; 2]) -> Self {
        let mut fixture = Self::in_service();
        let pattern = fixture.load(parts);
        fixture.administer(AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
        fixture.administer(AdminCommand::ActivateNew, pattern.as_bytes()).unwrap();
        fixture
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
            let mut part = [0; SEALED_PART_MAX_LEN + 32];
            let part = KeyPartInput::Part { parts: 2, sealed }.encode(&mut part).unwrap();
            input.extend(self.request(AdminCommand::ImportKeyParts, part, true));
        }
        pattern(&self.send(AdminCommand::ImportKeyParts, &input, false).unwrap())
    }

    /// Carries out a command. Its result is secret as far as it depends on secrets; a refusal is public.
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

    /// The blob of an imported key with a secret value.
    pub(crate) fn import(&mut self, family: UseFamily, algorithm: Algorithm, key_len: usize) -> Vec<u8> {
        let spec = KeySpec { uses: family.uses(), ..spec(algorithm, u16::try_from(key_len).unwrap()) };
        self.run(Command::ImportKey { spec, value: &secret_bytes(&vec![5; key_len]) }).unwrap()
    }
}

/// The state of a shared unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Ready,
    ReadyWithOther,
    Rotating,
}

thread_local! {
    /// Shared units that no case uses at present.
    static UNUSED: RefCell<BTreeMap<Stage, Fixture>> = const { RefCell::new(BTreeMap::new()) };
}

/// A shared fixture, returned for the next case on drop.
pub(crate) struct Shared {
    stage: Stage,
    /// Present until it is returned.
    fixture: Option<Fixture>,
}

impl Shared {
    fn take(stage: Stage) -> Self {
        let unused = UNUSED.with_borrow_mut(|unused| unused.remove(&stage));
        let fixture = unused.unwrap_or_else(|| {
            set_up(|| match stage {
                Stage::Ready => Fixture::activated(PARTS),
                Stage::ReadyWithOther => Fixture::activated(OTHER_PARTS),
                Stage::Rotating => Fixture::committed().0,
            })
        });
        Self { stage, fixture: Some(fixture) }
    }
}

impl Deref for Shared {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        self.fixture.as_ref().unwrap()
    }
}

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Fixture {
        self.fixture.as_mut().unwrap()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(fixture) = self.fixture.take() {
            UNUSED.with_borrow_mut(|unused| unused.insert(self.stage, fixture));
        }
    }
}

/// A pattern that the unit showed, which is public from then on.
fn pattern(shown: &[u8]) -> VerificationPattern {
    VerificationPattern::from_bytes(public_bytes(shown).try_into().unwrap())
}

/// A blob from a caller: header public, wrapped key and MAC secret, changed at a position or not.
pub(crate) fn handed_in(blob: &[u8], at: Option<Place>) -> Vec<u8> {
    let mut blob = public_bytes(blob);
    if let Some(at) = at {
        let at = at(blob.len());
        blob[at] ^= 1;
    }
    let (header, rest) = blob.split_at(BLOB_HEADER_LEN);
    [header, &secret_bytes(rest)].concat()
}
