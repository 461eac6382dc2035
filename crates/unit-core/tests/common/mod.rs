//! A unit on a fixture: an observed engine and a disk in memory, both with injected faults.

pub(crate) mod administrators;
pub(crate) mod disk;
pub(crate) mod module;
pub(crate) mod observed;

use administrators::{administer, attributes, import_parts, quorum, secure};
use disk::Disk;
use engine::{Algorithm, KeySpec, KeyUses};
use module::{TestClock, TestModule};
use observed::{Device, Observed};
use unit_api::admin::{AdminCommand, InstanceId, Permissions};
use unit_api::{Command, Condition, Envelope, NewRegister, Refusal, Response, UnitError, UnitId, UnitStatus};
use unit_api::{MAX_FRAME_LEN, VerificationPattern};
use unit_core::{Env, Unit, UnitIdentity};

/// The environment of a unit on the fixture.
pub(crate) struct TestEnv;

impl Env for TestEnv {
    type Engine = Observed;
    type Storage = Disk;
    type Module = TestModule;
    type Clock = TestClock;
}

/// Everything of a unit that survives a loss of power.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) device: Device,
    pub(crate) disk: Disk,
    pub(crate) identity: UnitIdentity,
    /// Whether the module makes valid signatures.
    pub(crate) genuine: bool,
}

impl Fixture {
    /// A fixture with device number `seed`; the same seed gives the same random bits.
    pub(crate) fn new(seed: u8) -> Self {
        let unit = UnitId(*b"BENCH001\0\0\0\0\0\0\0\x01");
        let identity = UnitIdentity { unit, domain_index: 3, instance: InstanceId([0x1d; 16]) };
        Self { device: Device::new(seed), disk: Disk::default(), identity, genuine: true }
    }

    /// Like [`Self::new`], without valid signatures of the module, which are slow.
    pub(crate) fn quick(seed: u8) -> Self {
        Self { genuine: false, ..Self::new(seed) }
    }

    /// Two quick fixtures: one whose engine returns the same reference for a key each time, one that always returns a new one.
    pub(crate) fn of_both_kinds() -> [Self; 2] {
        let (software, token) = (Self::quick(1), Self::quick(1));
        [software, Self { device: token.device.with_numbered_references(), ..token }]
    }

    /// An independent fixture in the same state.
    pub(crate) fn copy(&self) -> Self {
        Self { device: self.device.copy(), disk: self.disk.copy(), ..self.clone() }
    }

    /// Powers the unit up.
    pub(crate) fn start(&self) -> Unit<TestEnv> {
        let module = TestModule::new(self.identity.unit, self.genuine);
        let engine = self.device.power_on(&self.disk, self.genuine);
        Unit::start(engine, self.disk.clone(), module, TestClock(0), self.identity)
    }

    /// A secured unit without a master key, with one administrator and all permissions.
    pub(crate) fn in_service(&self) -> Unit<TestEnv> {
        let mut unit = self.start();
        secure(&mut unit, 1, attributes(1, 1, Permissions::recovery().with(Permissions::WK_1PART)));
        unit
    }

    /// A unit in service with the master key of `PARTS` in its current register.
    pub(crate) fn ready(&self) -> Unit<TestEnv> {
        let mut unit = self.in_service();
        bring_into_service(&mut unit, &PARTS);
        unit
    }

    /// A unit with the master key of `PARTS` in its current register and that of `OTHER_PARTS`, committed, in its new one.
    pub(crate) fn rotating(&self) -> Unit<TestEnv> {
        let mut unit = self.ready();
        let pattern = load(&mut unit, &OTHER_PARTS);
        commit(&mut unit, pattern);
        unit
    }
}

/// Loads, commits and activates the master key of these parts.
pub(crate) fn bring_into_service(unit: &mut Unit<TestEnv>, parts: &[u8]) -> VerificationPattern {
    let pattern = load(unit, parts);
    commit(unit, pattern);
    activate(unit, pattern);
    pattern
}

pub(crate) const PARTS: [u8; 64] = parts([1, 2]);
pub(crate) const OTHER_PARTS: [u8; 64] = parts([4, 8]);
pub(crate) const THIRD_PARTS: [u8; 64] = parts([16, 32]);

const fn parts(fill: [u8; 2]) -> [u8; 64] {
    let mut parts = [fill[0]; 64];
    let mut i = 32;
    while i < 64 {
        parts[i] = fill[1];
        i += 1;
    }
    parts
}

static ZEROS: [u8; MAX_FRAME_LEN] = [0; MAX_FRAME_LEN];

/// A response with owned bytes.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    Ciphertext { iv: [u8; 12], ciphertext: Vec<u8> },
    Administered(Vec<u8>),
    Status(UnitStatus),
    Done,
}

pub(crate) fn execute(unit: &mut Unit<TestEnv>, command: Command<'_>) -> Result<Answer, Refusal> {
    execute_envelope(unit, &Envelope::plain(command))
}

/// Executes a command, and checks that a refusal leaves the output buffer zero.
pub(crate) fn execute_envelope(unit: &mut Unit<TestEnv>, envelope: &Envelope<'_>) -> Result<Answer, Refusal> {
    let mut out = vec![0xee; MAX_FRAME_LEN];
    let answer = match unit.execute(envelope, &mut out) {
        Ok(response) => Ok(match response {
            Response::Status(status) => Answer::Status(status),
            Response::Random(b)
            | Response::Blob(b)
            | Response::Wrapped(b)
            | Response::Plaintext(b)
            | Response::Signature(b) => Answer::Bytes(b.to_vec()),
            Response::Ciphertext { iv, ciphertext } => {
                Answer::Ciphertext { iv, ciphertext: ciphertext.to_vec() }
            }
            Response::Administered(response) => Answer::Administered(response.to_vec()),
            Response::Done => Answer::Done,
            other => panic!("an answer that this fixture does not know: {other:?}"),
        }),
        Err(refusal) => Err(refusal),
    };
    if answer.is_err() {
        assert!(out == ZEROS, "a refused command left something in its output");
    }
    answer
}

pub(crate) fn bytes(unit: &mut Unit<TestEnv>, command: Command<'_>) -> Vec<u8> {
    match execute(unit, command) {
        Ok(Answer::Bytes(bytes)) => bytes,
        other => panic!("{command:?}: {other:?}"),
    }
}

pub(crate) fn done(unit: &mut Unit<TestEnv>, command: Command<'_>) {
    let answer = execute(unit, command);
    assert!(matches!(answer, Ok(Answer::Done)), "{command:?}: {answer:?}");
}

/// A command signed by a quorum of the unit's administrators.
pub(crate) fn run(
    unit: &mut Unit<TestEnv>,
    command: AdminCommand,
    input: &[u8],
) -> Result<Vec<u8>, UnitError> {
    let signers = quorum(unit);
    administer(unit, command, input, &signers)
}

pub(crate) fn try_load(unit: &mut Unit<TestEnv>, parts: &[u8]) -> Result<VerificationPattern, UnitError> {
    let signers = quorum(unit);
    import_parts(unit, parts, &signers)
}

pub(crate) fn load(unit: &mut Unit<TestEnv>, parts: &[u8]) -> VerificationPattern {
    try_load(unit, parts).unwrap()
}

pub(crate) fn commit(unit: &mut Unit<TestEnv>, pattern: VerificationPattern) {
    run(unit, AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
}

pub(crate) fn activate(unit: &mut Unit<TestEnv>, pattern: VerificationPattern) {
    run(unit, AdminCommand::ActivateNew, pattern.as_bytes()).unwrap();
}

pub(crate) fn zeroize(unit: &mut Unit<TestEnv>) {
    run(unit, AdminCommand::Zeroize, b"").unwrap();
}

pub(crate) fn status(unit: &mut Unit<TestEnv>) -> UnitStatus {
    match execute(unit, Command::Status) {
        Ok(Answer::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refusal(unit: &mut Unit<TestEnv>, command: Command<'_>) -> UnitError {
    match execute(unit, command) {
        Err(refusal) => refusal.unit_error().unwrap_or_else(|| panic!("{refusal}")),
        Ok(_) => panic!("{command:?} was carried out"),
    }
}

/// The fields of a status that a restart must not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lasting {
    pub(crate) domain_instance: u32,
    pub(crate) transaction_counter: u128,
    pub(crate) current: Option<[u8; 32]>,
    pub(crate) new: Option<(bool, [u8; 32])>,
    pub(crate) administrators: u8,
    pub(crate) thresholds: [u8; 2],
}

pub(crate) fn lasting(unit: &mut Unit<TestEnv>) -> Lasting {
    let status = status(unit);
    assert_eq!(status.condition, Condition::Operational);
    Lasting {
        domain_instance: status.domain_instance,
        transaction_counter: status.transaction_counter,
        current: status.current.map(|pattern| *pattern.as_bytes()),
        new: match status.new {
            NewRegister::Empty => None,
            NewRegister::FullUncommitted(pattern) => Some((false, *pattern.as_bytes())),
            NewRegister::FullCommitted(pattern) => Some((true, *pattern.as_bytes())),
        },
        administrators: status.administrators,
        thresholds: [status.signature_threshold, status.revocation_threshold],
    }
}

impl Lasting {
    /// Number of master keys held.
    pub(crate) fn master_keys(&self) -> usize {
        usize::from(self.current.is_some()) + usize::from(self.new.is_some())
    }
}

/// Data keys, MAC keys, and keys that wrap.
pub(crate) const CIPHER: KeyUses = KeyUses::ENCRYPT.with(KeyUses::DECRYPT);
pub(crate) const MAC: KeyUses = KeyUses::SIGN.with(KeyUses::VERIFY);
pub(crate) const WRAPPING: KeyUses = KeyUses::WRAP.with(KeyUses::UNWRAP);

pub(crate) const fn spec(algorithm: Algorithm, key_len: u16, uses: KeyUses, extractable: bool) -> KeySpec {
    KeySpec { algorithm, key_len, uses, extractable }
}

pub(crate) fn generate(unit: &mut Unit<TestEnv>, uses: KeyUses, extractable: bool) -> Vec<u8> {
    bytes(unit, Command::GenerateKey { spec: spec(Algorithm::Aes, 32, uses, extractable) })
}

pub(crate) fn import(unit: &mut Unit<TestEnv>, algorithm: Algorithm, value: &[u8], uses: KeyUses) -> Vec<u8> {
    let key_len = u16::try_from(value.len()).unwrap();
    bytes(unit, Command::ImportKey { spec: spec(algorithm, key_len, uses, true), value })
}
