//! The module of the fixture: its attestation key and certificate, the manufacturer's root, a clock.

use engine::{ATTESTATION_SIGNATURE_LEN, AttestationKey, EngineClass};
use std::sync::OnceLock;
use tke_crypto::{
    CERTIFICATE_BUFFER_LEN, ModuleDescription, ModuleSubject, PublicKey, RootName, SCALAR_LEN, SigningKey,
    Validity, issue_module_certificate,
};
use unit_api::UnitId;
use unit_core::{Clock, Module};

/// The key whose scalar has these bytes, except that the first is 0.
pub(crate) fn fixed_key(byte: u8) -> SigningKey {
    let mut scalar = [byte; SCALAR_LEN];
    scalar[0] = 0;
    SigningKey::from_scalar(&scalar).unwrap()
}

pub(crate) fn root() -> &'static SigningKey {
    static ROOT: OnceLock<SigningKey> = OnceLock::new();
    ROOT.get_or_init(|| fixed_key(0x71))
}

/// The attestation key of every engine of the fixture.
pub(crate) struct DeviceKey {
    key: SigningKey,
    pub(crate) public: AttestationKey,
    other: [u8; ATTESTATION_SIGNATURE_LEN],
}

impl DeviceKey {
    /// Signs, which takes longer than the rest of a command; without `genuine`, gives a signature of another message.
    pub(crate) fn sign(&self, genuine: bool, message: &[u8], raw: &mut [u8; ATTESTATION_SIGNATURE_LEN]) {
        if genuine { self.key.sign_raw(message, raw) } else { *raw = self.other }
    }
}

pub(crate) fn device_key() -> &'static DeviceKey {
    static KEY: OnceLock<DeviceKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = fixed_key(0x72);
        let mut other = [0; ATTESTATION_SIGNATURE_LEN];
        key.sign_raw(b"any other message", &mut other);
        let public = AttestationKey { point: key.public().to_point(), class: EngineClass::Software };
        DeviceKey { key, public, other }
    })
}

/// A module. All modules of the fixture share one attestation key and have their own certificates.
pub(crate) struct TestModule {
    certificate: Vec<u8>,
    root: PublicKey,
}

impl TestModule {
    pub(crate) fn new(unit: UnitId, genuine: bool) -> Self {
        let root_key = root();
        let certificate = if genuine { certificate(unit, root_key) } else { Vec::new() };
        Self { certificate, root: root_key.public() }
    }
}

/// A module certificate for the fixture's attestation key, issued by `root`.
pub(crate) fn certificate(unit: UnitId, root: &SigningKey) -> Vec<u8> {
    let name = RootName::try_from("Fixture Root").unwrap();
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let module = ModuleSubject {
        module_id: &unit.0,
        key: &device_public(),
        description: ModuleDescription { engine_class: 1, firmware: [0xf1; 32] },
        validity: Validity { not_before: 0, not_after: u64::MAX },
    };
    issue_module_certificate(root, &name, &module, &mut out).unwrap().to_vec()
}

pub(crate) fn device_public() -> PublicKey {
    device_key().key.public()
}

impl Module for TestModule {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn root(&self) -> &PublicKey {
        &self.root
    }
}

/// A clock that advances by a second on each read.
pub(crate) struct TestClock(pub(crate) u64);

impl Clock for TestClock {
    fn now_ms(&mut self) -> u64 {
        self.0 += 1000;
        self.0
    }
}
