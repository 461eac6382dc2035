//! A unit with a master key, for benchmarks.

use engine::{KeySpec, KeyUses};
use engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use unit_api::{Command, Envelope, MAX_FRAME_LEN, Response, UnitId};
use unit_core::{Env, Identity, Slot, Storage, StorageFailed, Unit};

/// The operating system's generator.
pub type OsEntropy = fn(&mut [u8]) -> Result<(), EntropyFailed>;

/// Slots in memory: benchmarks measure commands, not disks.
#[derive(Default)]
pub struct Memory([Vec<u8>; 2]);

impl Storage for Memory {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let [a, b] = &self.0;
        let kept = if slot == Slot::A { a } else { b };
        content.get_mut(..kept.len()).ok_or(StorageFailed)?.copy_from_slice(kept);
        Ok(kept.len())
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        let [a, b] = &mut self.0;
        *(if slot == Slot::A { a } else { b }) = content.to_vec();
        Ok(())
    }
}

/// The world of a unit in a benchmark.
pub struct BenchEnv;

impl Env for BenchEnv {
    type Engine = SoftEngine<OsEntropy>;
    type Storage = Memory;
}

/// An engine of the operating system's randomness.
#[must_use]
pub fn soft_engine() -> SoftEngine<OsEntropy> {
    let entropy: OsEntropy = |seed| getrandom::fill(seed).map_err(|_| EntropyFailed);
    SoftEngine::new(&DeviceSecret::new([1; 32]), entropy).expect("a software engine starts")
}

/// A unit in process, and a buffer for its answers.
pub struct BenchUnit {
    unit: Box<Unit<BenchEnv>>,
    out: Vec<u8>,
}

impl BenchUnit {
    /// A unit whose Current master key is valid.
    #[must_use]
    pub fn ready() -> Self {
        let unit = Unit::start(
            soft_engine(),
            Memory::default(),
            Identity { unit: UnitId([2; 16]), domain_index: 0 },
        );
        let mut ready = Self { unit: Box::new(unit), out: vec![0; MAX_FRAME_LEN] };
        ready.run(Command::GenerateMasterKey);
        ready
    }

    /// Carries out a command that succeeds.
    pub fn run(&mut self, command: Command<'_>) -> Response<'_> {
        self.unit.execute(&Envelope::plain(command), &mut self.out).expect("the unit carries out the command")
    }

    /// A fresh AES-256 key for encryption and decryption, as a blob.
    #[must_use]
    pub fn data_key(&mut self) -> Vec<u8> {
        let spec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));
        match self.run(Command::GenerateKey { spec }) {
            Response::Blob(blob) => blob.to_vec(),
            other => unreachable!("{other:?}"),
        }
    }
}
