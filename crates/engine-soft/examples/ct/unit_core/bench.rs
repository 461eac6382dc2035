//! A unit in which everything is secret that can be: device secret, entropy, master key, key values.

use crate::engine_soft::{entropy, spec};
use crate::harness::{public_bytes, secret, secret_bytes};
use ::engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use ::unit_core::{Env, Identity, Slot, Storage, StorageFailed, Unit};
use engine::Algorithm;
use unit_api::{Command, Condition, Envelope, Response, UnitError, UnitId, VerificationPattern};

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
pub(crate) const OTHER_PARTS: [[u8; 32]; 2] = [[0x11; 32], [0x2f; 32]];

/// The engine under the unit.
pub(crate) type UnitEngine = SoftEngine<Box<dyn FnMut(&mut [u8]) -> Result<(), EntropyFailed>>, 16>;

pub(crate) fn engine() -> UnitEngine {
    SoftEngine::new(&DeviceSecret::new(secret([3; 32])), Box::new(entropy()) as _).unwrap()
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
}

/// A unit and its caller.
pub(crate) struct Bench(Box<Unit<World>>);

impl Bench {
    /// A unit on its first day.
    pub(crate) fn new() -> Self {
        let identity = Identity { unit: UnitId([7; 16]), domain_index: 0 };
        let mut unit = Box::new(Unit::start(engine(), Memory::default(), identity));
        let status = unit.execute(&Envelope::plain(Command::Status), &mut []);
        let Ok(Response::Status(status)) = status else { unreachable!("a unit always has a status") };
        assert_eq!(status.condition, Condition::Operational);
        Self(unit)
    }

    /// A unit with a secret master key in Current.
    pub(crate) fn ready() -> Self {
        Self::ready_with(PARTS)
    }

    /// The same with another master key.
    pub(crate) fn ready_with<const N: usize>(parts: [[u8; 32]; N]) -> Self {
        let mut bench = Self::new();
        let pattern = bench.load_and_commit(parts);
        bench.run(Command::Activate { pattern }).unwrap();
        bench
    }

    /// A unit with a master key in Current, and another, committed, in New.
    pub(crate) fn rotating() -> Self {
        let mut bench = Self::ready();
        bench.load_and_commit(OTHER_PARTS);
        bench
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
                Response::Loaded(pattern) => pattern.as_bytes().to_vec(),
                _ => Vec::new(),
            }),
            Err(refusal) => Err(refusal.unit_error().unwrap()),
        }
    }

    /// The unit itself, for frames.
    pub(crate) fn handle_request(&mut self, body: &[u8], reply: &mut [u8]) -> usize {
        self.0.handle_request(body, 0, reply)
    }

    /// Loads New from secret parts and gives the pattern, not yet made public.
    pub(crate) fn load<const N: usize>(&mut self, parts: [[u8; 32]; N]) -> Result<Vec<u8>, UnitError> {
        self.run(Command::LoadKeyParts { parts: secret(parts).as_flattened() })
    }

    fn load_and_commit<const N: usize>(&mut self, parts: [[u8; 32]; N]) -> VerificationPattern {
        let pattern = pattern(&self.load(parts).unwrap());
        self.run(Command::Commit { pattern }).unwrap();
        pattern
    }

    /// The blob of a key with a secret value, as the unit made it.
    pub(crate) fn import(&mut self, algorithm: Algorithm, key_len: usize) -> Vec<u8> {
        let spec = spec(algorithm, u16::try_from(key_len).unwrap());
        self.run(Command::ImportKey { spec, value: &secret_bytes(&vec![5; key_len]) }).unwrap()
    }
}

/// A pattern that the unit showed. It is public: the unit shows it to whoever asks for its status.
pub(crate) fn pattern(shown: &[u8]) -> VerificationPattern {
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
