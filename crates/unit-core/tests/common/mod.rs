//! A unit on a bench: its engine watched, its disk in reach, both able to fail on command.

#![allow(dead_code, reason = "each test file uses its own part of the bench")]

pub(crate) mod disk;
pub(crate) mod observed;

use disk::Disk;
use engine::{Algorithm, KeySpec, KeyUses};
use observed::{Device, Observed};
use unit_api::{Command, Condition, Envelope, NewRegister, Refusal, Response, UnitError, UnitId, UnitStatus};
use unit_api::{MAX_FRAME_LEN, VerificationPattern};
use unit_core::{Env, Identity, Unit};

/// The environment on the bench.
pub(crate) struct BenchEnv;

impl Env for BenchEnv {
    type Engine = Observed;
    type Storage = Disk;
}

/// Everything that outlives the power of one unit.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) device: Device,
    pub(crate) disk: Disk,
    pub(crate) identity: Identity,
}

impl Bench {
    /// A bench whose device is number `seed`; the same seed gives the same random bits.
    pub(crate) fn new(seed: u8) -> Self {
        let identity = Identity { unit: UnitId(*b"BENCH001\0\0\0\0\0\0\0\x01"), domain_index: 3 };
        Self { device: Device::new(seed), disk: Disk::default(), identity }
    }

    /// Two benches: one whose engine gives a key the same reference each time, one that never does.
    pub(crate) fn of_both_kinds() -> [Self; 2] {
        let (software, token) = (Self::new(1), Self::new(1));
        [software, Self { device: token.device.with_numbered_references(), ..token }]
    }

    /// Powers the unit up.
    pub(crate) fn start(&self) -> Unit<BenchEnv> {
        Unit::start(self.device.power_on(), self.disk.clone(), self.identity)
    }

    /// A unit whose Current is the master key of `PARTS`.
    pub(crate) fn ready(&self) -> Unit<BenchEnv> {
        let mut unit = self.start();
        let pattern = load(&mut unit, &PARTS);
        done(&mut unit, Command::Commit { pattern });
        done(&mut unit, Command::Activate { pattern });
        unit
    }

    /// A unit whose Current is that of `PARTS` and whose New, committed, is that of `OTHER_PARTS`.
    pub(crate) fn rotating(&self) -> Unit<BenchEnv> {
        let mut unit = self.ready();
        let pattern = load(&mut unit, &OTHER_PARTS);
        done(&mut unit, Command::Commit { pattern });
        unit
    }
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

/// A response with its bytes, free of the buffer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    Ciphertext { iv: [u8; 12], ciphertext: Vec<u8> },
    Loaded(VerificationPattern),
    Status(UnitStatus),
    Done,
}

pub(crate) fn execute(unit: &mut Unit<BenchEnv>, command: Command<'_>) -> Result<Answer, Refusal> {
    execute_envelope(unit, &Envelope::plain(command))
}

/// Executes, and checks what holds of every answer: a refusal leaves the output zero.
pub(crate) fn execute_envelope(
    unit: &mut Unit<BenchEnv>,
    envelope: &Envelope<'_>,
) -> Result<Answer, Refusal> {
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
            Response::Loaded(pattern) => Answer::Loaded(pattern),
            Response::Done => Answer::Done,
            other => panic!("an answer that this bench does not know: {other:?}"),
        }),
        Err(refusal) => Err(refusal),
    };
    if answer.is_err() {
        assert!(out == ZEROS, "a refused command left something in its output");
    }
    answer
}

pub(crate) fn bytes(unit: &mut Unit<BenchEnv>, command: Command<'_>) -> Vec<u8> {
    match execute(unit, command) {
        Ok(Answer::Bytes(bytes)) => bytes,
        other => panic!("{command:?}: {other:?}"),
    }
}

pub(crate) fn done(unit: &mut Unit<BenchEnv>, command: Command<'_>) {
    let answer = execute(unit, command);
    assert!(matches!(answer, Ok(Answer::Done)), "{command:?}: {answer:?}");
}

pub(crate) fn load(unit: &mut Unit<BenchEnv>, parts: &[u8]) -> VerificationPattern {
    match execute(unit, Command::LoadKeyParts { parts }) {
        Ok(Answer::Loaded(pattern)) => pattern,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn status(unit: &mut Unit<BenchEnv>) -> UnitStatus {
    match execute(unit, Command::Status) {
        Ok(Answer::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refusal(unit: &mut Unit<BenchEnv>, command: Command<'_>) -> UnitError {
    match execute(unit, command) {
        Err(refusal) => refusal.unit_error().unwrap_or_else(|| panic!("{refusal}")),
        Ok(_) => panic!("{command:?} was carried out"),
    }
}

/// What of a status a restart must not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lasting {
    pub(crate) domain_instance: u32,
    pub(crate) transaction_counter: u128,
    pub(crate) current: Option<[u8; 32]>,
    pub(crate) new: Option<(bool, [u8; 32])>,
}

pub(crate) fn lasting(unit: &mut Unit<BenchEnv>) -> Lasting {
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
    }
}

impl Lasting {
    /// Master keys held.
    pub(crate) fn master_keys(&self) -> usize {
        usize::from(self.current.is_some()) + usize::from(self.new.is_some())
    }
}

pub(crate) const fn spec(algorithm: Algorithm, key_len: u16, uses: KeyUses, extractable: bool) -> KeySpec {
    KeySpec { algorithm, key_len, uses, extractable }
}

pub(crate) fn generate(unit: &mut Unit<BenchEnv>, uses: KeyUses, extractable: bool) -> Vec<u8> {
    bytes(unit, Command::GenerateKey { spec: spec(Algorithm::Aes, 32, uses, extractable) })
}

pub(crate) fn import(
    unit: &mut Unit<BenchEnv>,
    algorithm: Algorithm,
    value: &[u8],
    uses: KeyUses,
) -> Vec<u8> {
    let key_len = u16::try_from(value.len()).unwrap();
    bytes(unit, Command::ImportKey { spec: spec(algorithm, key_len, uses, true), value })
}
