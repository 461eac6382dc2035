//! The module of the fixture: its device key and certificate, the manufacturer's root, a clock.

use std::sync::OnceLock;
use tke_crypto::{
    CERTIFICATE_BUFFER_LEN, PublicKey, RootName, SCALAR_LEN, Signature, SigningKey, Ski,
    issue_module_certificate,
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

fn device_key() -> &'static (SigningKey, Signature) {
    static KEY: OnceLock<(SigningKey, Signature)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = fixed_key(0x72);
        let signature = key.sign(b"any other message");
        (key, signature)
    })
}

/// A module. All modules of the fixture share one device key and have their own certificates.
pub(crate) struct TestModule {
    certificate: Vec<u8>,
    root: PublicKey,
    /// Whether it makes valid signatures, which take longer than the rest of a command.
    genuine: bool,
}

impl TestModule {
    pub(crate) fn new(unit: UnitId, genuine: bool) -> Self {
        let root_key = root();
        let certificate = if genuine { certificate(unit, root_key) } else { Vec::new() };
        Self { certificate, root: root_key.public(), genuine }
    }
}

/// A module certificate for the fixture's device key, issued by `root`.
pub(crate) fn certificate(unit: UnitId, root: &SigningKey) -> Vec<u8> {
    let name = RootName::try_from("Fixture Root").unwrap();
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    issue_module_certificate(root, &name, &unit.0, &device_key().0.public(), &mut out).unwrap().to_vec()
}

pub(crate) fn device_public() -> PublicKey {
    device_key().0.public()
}

impl Module for TestModule {
    fn sign(&self, message: &[u8]) -> Signature {
        let (key, other) = device_key();
        if self.genuine { key.sign(message) } else { other.clone() }
    }

    fn ski(&self) -> Ski {
        device_key().0.public().ski()
    }

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
