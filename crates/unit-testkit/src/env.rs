//! The surroundings of a test unit.

use crate::administrator::fixed_key;
use engine::Engine;
use engine_soft::{DeviceSecret, SoftEngine};
use getrandom::SysRng;
use std::marker::PhantomData;
use std::sync::OnceLock;
use tke_crypto::{
    CERTIFICATE_BUFFER_LEN, ModuleDescription, ModuleSubject, PublicKey, RootName, SigningKey, Validity,
    issue_module_certificate,
};
use unit_api::UnitId;
use unit_api::admin::InstanceId;
use unit_core::{Clock, Env, Module, Slot, Storage, StorageFailed, Unit, UnitIdentity};

/// The surroundings of a test unit: any engine, storage in memory, a module of a fixed root, no clock.
pub struct TestEnv<E = SoftEngine<SysRng>>(PhantomData<E>);

impl<E: Engine> Env for TestEnv<E> {
    type Engine = E;
    type Storage = Memory;
    type Module = TestModule;
    type Clock = NoClock;
}

/// Slots in memory.
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

/// A module whose root's key is in this source file.
pub struct TestModule {
    certificate: Vec<u8>,
}

fn root() -> &'static (SigningKey, PublicKey) {
    static ROOT: OnceLock<(SigningKey, PublicKey)> = OnceLock::new();
    ROOT.get_or_init(|| {
        let key = fixed_key(0x71);
        let public = key.public();
        (key, public)
    })
}

impl Module for TestModule {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn root(&self) -> &PublicKey {
        &root().1
    }
}

/// A clock that always shows 0.
pub struct NoClock;

impl Clock for NoClock {
    fn now_ms(&mut self) -> u64 {
        0
    }
}

/// A software engine with the operating system's entropy.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn soft_engine() -> SoftEngine<SysRng> {
    SoftEngine::new(&DeviceSecret::new([1; 32]), SysRng).expect("a software engine starts")
}

pub(crate) fn start<E: Engine>(number: u8, engine: E) -> Unit<TestEnv<E>> {
    let unit = UnitId([b'B', b'E', b'N', b'C', b'H', b'0', b'0', b'0', 0, 0, 0, 0, 0, 0, 0, number]);
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let name = RootName::try_from("Bench Root").expect("a short name");
    let attestation = engine.attestation_key();
    let module = ModuleSubject {
        module_id: &unit.0,
        key: &PublicKey::from_point(&attestation.point).expect("an engine has a valid attestation key"),
        description: ModuleDescription { engine_class: attestation.class.number(), firmware: [0; 32] },
        validity: Validity { not_before: 0, not_after: u64::MAX },
    };
    let certificate = issue_module_certificate(&root().0, &name, &module, &mut out)
        .expect("there is room for a certificate")
        .to_vec();
    let identity = UnitIdentity { unit, domain_index: 0, instance: InstanceId([0x1d; 16]) };
    Unit::start(engine, Memory::default(), TestModule { certificate }, NoClock, identity)
}
