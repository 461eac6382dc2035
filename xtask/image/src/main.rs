//! A crypto unit in an image with its own panic handler and without an allocator.
//!
//! If a dependency of the unit needed `std`, there would be two panic handlers; if one needed a heap, the allocator would be
//! missing: in both cases the image does not link. The program installs an administrator, loads a master key with commands
//! that it signs itself, uses a key, and exits with status 0.

#![no_std]
#![no_main]

mod customer;

use core::ffi::{c_char, c_int};
use engine::{KeySpec, KeyUses};
use engine_soft::{DeviceSecret, SoftEngine};
use rand_core::utils::next_word_via_fill;
use rand_core::{Infallible, TryCryptoRng, TryRng};
use tke_crypto::PublicKey;
use unit_api::admin::InstanceId;
use unit_api::{Command, Envelope, MAX_FRAME_LEN, Response, UnitId};
use unit_core::{Clock, Env, UnitIdentity, MAX_SLOT_LEN, Module, Slot, Storage, StorageFailed, Unit};

unsafe extern "C" {
    safe fn abort() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    abort()
}

/// Two slots in memory; the image has no other storage.
struct Memory([([u8; MAX_SLOT_LEN], usize); 2]);

impl Storage for Memory {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let (kept, len) = &self.0[slot as usize];
        let kept = kept.get(..*len).ok_or(StorageFailed)?;
        content.get_mut(..kept.len()).ok_or(StorageFailed)?.copy_from_slice(kept);
        Ok(kept.len())
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        let (kept, len) = &mut self.0[slot as usize];
        kept.get_mut(..content.len()).ok_or(StorageFailed)?.copy_from_slice(content);
        *len = content.len();
        Ok(())
    }
}

/// Stands for the noise source of a device: a counter, which is not secure.
struct Counter(u8);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, seed: &mut [u8]) -> Result<(), Infallible> {
        for byte in seed {
            self.0 = self.0.wrapping_mul(167).wrapping_add(13);
            *byte = self.0;
        }
        self.0 = self.0.wrapping_add(1);
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

struct Device;

impl Env for Device {
    type Engine = SoftEngine<Counter>;
    type Storage = Memory;
    type Module = NoModule;
    type Clock = NoClock;
}

/// The module. Its certificate is never requested here.
struct NoModule(PublicKey);

impl Module for NoModule {
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

#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    c_int::from(use_a_key().is_none())
}

fn use_a_key() -> Option<()> {
    let engine = SoftEngine::new(&DeviceSecret::new([7; 32]), Counter(1)).ok()?;
    let storage = Memory([([0; MAX_SLOT_LEN], 0); 2]);
    let root = customer::fixed_key(2)?.public();
    let identity = UnitIdentity { unit: UnitId([1; 16]), domain_index: 0, instance: InstanceId([2; 16]) };
    let mut unit: Unit<Device> = Unit::start(engine, storage, NoModule(root), NoClock, identity);
    let mut out = [0; MAX_FRAME_LEN];
    customer::load_a_master_key(&mut unit, &mut out)?;

    let spec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));
    let Response::Blob(made) = run(&mut unit, Command::GenerateKey { spec }, &mut out)? else { return None };
    let mut blob = [0; unit_api::MAX_BLOB_LEN];
    let blob = blob.get_mut(..made.len())?;
    blob.copy_from_slice(made);

    let encrypt = Command::Encrypt { key: blob, aad: b"aad", plaintext: b"plaintext" };
    let Response::Ciphertext { iv, ciphertext } = run(&mut unit, encrypt, &mut out)? else { return None };
    let mut kept = [0; 64];
    let kept = kept.get_mut(..ciphertext.len())?;
    kept.copy_from_slice(ciphertext);

    let decrypt = Command::Decrypt { key: blob, iv, aad: b"aad", ciphertext: kept };
    match run(&mut unit, decrypt, &mut out)? {
        Response::Plaintext(b"plaintext") => Some(()),
        _ => None,
    }
}

fn run<'o>(unit: &mut Unit<Device>, command: Command<'_>, out: &'o mut [u8]) -> Option<Response<'o>> {
    unit.execute(&Envelope::plain(command), out).ok()
}
