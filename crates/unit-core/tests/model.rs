//! Random runs of signed commands, forged and repeated ones, failing writes and restarts agree with a naive model.
//!
//! Authorisation has a model of its own beside the decision; this one is of the whole unit.

use crate::common::administrators::{
    Ask, administer, attributes, import_sealed, importer_of, pattern_of, seal, secure, send, with_domain,
};
use crate::common::disk::Fault;
use crate::common::{self, Answer, Fixture, OTHER_PARTS, PARTS, THIRD_PARTS, TestEnv, execute, lasting};
use engine::{KeySpec, KeyUses, MacMechanism};
use proptest::prelude::*;
use unit_api::admin::{AdminCommand, Permissions};
use unit_api::{Command, UnitError, VerificationPattern};
use unit_core::Unit;

/// Which pattern a commit or activate names.
#[derive(Clone, Copy, Debug)]
enum Named {
    Current,
    New,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Load(usize),
    Generate,
    Commit(Named),
    Activate(Named),
    ClearNew,
    ClearCurrent,
    Zeroize,
    Forged,
    Unsigned,
    Again,
    MakeBlob { sign: bool },
    UseBlob(usize),
    Reencipher(usize),
    FailNextWrite { unconfirmed: bool },
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let named = || prop_oneof![1 => Just(Named::Current), 6 => Just(Named::New), 1 => Just(Named::Unknown)];
    let op = prop_oneof![
        4 => (0..3_usize).prop_map(Op::Load),
        1 => Just(Op::Generate),
        5 => named().prop_map(Op::Commit),
        5 => named().prop_map(Op::Activate),
        1 => Just(Op::ClearNew),
        1 => Just(Op::ClearCurrent),
        1 => Just(Op::Zeroize),
        1 => Just(Op::Forged),
        1 => Just(Op::Unsigned),
        1 => Just(Op::Again),
        4 => any::<bool>().prop_map(|sign| Op::MakeBlob { sign }),
        6 => any::<usize>().prop_map(Op::UseBlob),
        4 => any::<usize>().prop_map(Op::Reencipher),
        1 => any::<bool>().prop_map(|unconfirmed| Op::FailNextWrite { unconfirmed }),
        2 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..30)
}

type Pattern = [u8; 32];

struct ModelBlob {
    bytes: Vec<u8>,
    under: Pattern,
    sign: bool,
}

/// A naive model of a unit.
#[derive(Default)]
struct Model {
    current: Option<Pattern>,
    new: Option<(bool, Pattern)>,
    counter: u128,
    lives: u32,
    /// Number of audit records: one for every command to this domain instance with enough signatures, executed or refused;
    /// one for the first without enough after it, one for all further ones once there is another record; and the first one.
    records: u64,
    /// Commands without enough signatures since the last one with.
    refused: u64,
    blobs: Vec<ModelBlob>,
}

impl Model {
    /// Counts and records a command with valid signatures, even if it failed.
    fn count(&mut self) {
        self.counter += 1;
        self.records += 1 + u64::from(self.refused > 1);
        self.refused = 0;
    }

    /// A command without enough signatures.
    fn refuse(&mut self) {
        self.records += u64::from(self.refused == 0);
        self.refused += 1;
    }

    /// Checks the answer to a load and adopts its pattern, which the model cannot compute.
    fn load(
        &mut self,
        answer: &Result<VerificationPattern, UnitError>,
        same_as_current: bool,
        straight: bool,
    ) {
        self.count();
        if self.new.is_some() {
            assert_eq!(answer.as_ref().err(), Some(&UnitError::NewNotEmpty));
        } else if same_as_current {
            assert_eq!(answer.as_ref().err(), Some(&UnitError::SameAsCurrent));
        } else {
            let Ok(pattern) = answer else { panic!("{answer:?}") };
            match (straight, self.current) {
                (true, None) => self.current = Some(*pattern.as_bytes()),
                _ => self.new = Some((false, *pattern.as_bytes())),
            }
        }
    }

    fn commit(&mut self, pattern: Pattern) -> Result<(), UnitError> {
        match &mut self.new {
            None => Err(UnitError::NewMissing),
            Some((_, held)) if *held != pattern => Err(UnitError::PatternMismatch),
            Some((committed, _)) => {
                *committed = true;
                Ok(())
            }
        }
    }

    fn activate(&mut self, pattern: Pattern) -> Result<(), UnitError> {
        match self.new {
            None if self.current == Some(pattern) => Ok(()),
            None => Err(UnitError::NewMissing),
            Some((false, _)) => Err(UnitError::NewNotCommitted),
            Some((true, held)) if held != pattern => Err(UnitError::PatternMismatch),
            Some((true, held)) => {
                self.current = Some(held);
                self.new = None;
                Ok(())
            }
        }
    }

    fn use_of(&self, blob: &ModelBlob) -> Result<(), UnitError> {
        match self.current {
            None => Err(UnitError::WkNotInitialized),
            Some(current) if current != blob.under => Err(UnitError::WkidMismatch),
            Some(_) if !blob.sign => Err(UnitError::KeyFunctionNotPermitted),
            Some(_) => Ok(()),
        }
    }

    fn reencipher_of(&self, blob: &ModelBlob) -> Result<Pattern, UnitError> {
        match (self.current, self.new) {
            (None, _) => Err(UnitError::CurrentMissing),
            (Some(_), None) => Err(UnitError::NewMissing),
            (Some(_), Some((false, _))) => Err(UnitError::NewNotCommitted),
            (Some(current), _) if current != blob.under => Err(UnitError::WkidMismatch),
            (Some(_), Some((true, new))) => Ok(new),
        }
    }

    fn agrees_with(&self, unit: &mut Unit<TestEnv>) {
        let found = lasting(unit);
        assert_eq!(found.current, self.current);
        assert_eq!(found.new, self.new);
        assert_eq!(found.transaction_counter, self.counter);
        assert_eq!(found.domain_instance, self.lives + 1);
        assert_eq!(with_domain(unit, |info| info.audit_records), self.records);
    }
}

fn run(unit: &mut Unit<TestEnv>, command: Command<'_>) -> Result<Answer, UnitError> {
    execute(unit, command).map_err(|refusal| refusal.unit_error().unwrap())
}

/// Sends a signed command and stores it, to be replayed.
fn signed(
    unit: &mut Unit<TestEnv>,
    last: &mut Vec<u8>,
    command: AdminCommand,
    input: &[u8],
) -> Result<Vec<u8>, UnitError> {
    *last = Ask::of(unit, command, input).signed_by(&[0]);
    send(unit, last)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn model_of_registers_blobs_and_restarts(ops in ops()) {
        let [fixture, numbered] = Fixture::of_both_kinds();
        let fixture = if ops.len() % 2 == 0 { fixture } else { numbered };
        let mut unit = fixture.start();
        let mut model = Model { records: 1, ..Model::default() };
        in_service(&mut unit, &mut model);
        let patterns = *PATTERNS.get_or_init(|| {
            [PARTS, OTHER_PARTS, THIRD_PARTS]
                .map(|parts| *common::load(&mut Fixture::quick(9).in_service(), &parts).as_bytes())
        });
        let mut last = Vec::new();
        for op in ops {
            step(&fixture, &mut unit, &mut model, &patterns, &mut last, op);
            model.agrees_with(&mut unit);
            let held = usize::from(model.current.is_some()) + usize::from(model.new.is_some());
            prop_assert_eq!(fixture.device.persisted(), held);
            prop_assert_eq!(fixture.device.live(), 3 * held);
        }
    }
}

/// The patterns of the three sets of parts, from another fixture.
static PATTERNS: std::sync::OnceLock<[Pattern; 3]> = std::sync::OnceLock::new();

fn in_service(unit: &mut Unit<TestEnv>, model: &mut Model) {
    secure(unit, 1, attributes(1, 1, Permissions::recovery()));
    model.count();
    model.count();
}

fn step(
    fixture: &Fixture,
    unit: &mut Unit<TestEnv>,
    model: &mut Model,
    patterns: &[Pattern; 3],
    last: &mut Vec<u8>,
    op: Op,
) {
    let name = |model: &Model, named| match named {
        Named::Current => model.current.unwrap_or([1; 32]),
        Named::New => model.new.map_or([2; 32], |(_, pattern)| pattern),
        Named::Unknown => [3; 32],
    };
    match op {
        Op::Load(which) => {
            let shown = signed(unit, last, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]).unwrap();
            model.count();
            let importer = importer_of(&shown);
            let parts = [PARTS, OTHER_PARTS, THIRD_PARTS][which];
            let sealed: Vec<_> = parts.as_chunks().0.iter().map(|part| seal(&importer, part)).collect();
            let answer = import_sealed(unit, &sealed, &[0]);
            model.load(&answer, model.current == Some(patterns[which]), false);
        }
        Op::Generate => {
            let answer = signed(unit, last, AdminCommand::GenerateMasterKey, b"");
            model.load(&answer.map(|output| pattern_of(&output)), false, true);
        }
        Op::Commit(named) => {
            let pattern = name(model, named);
            let expected = model.commit(pattern);
            assert_eq!(signed(unit, last, AdminCommand::CommitNew, &pattern).map(drop), expected);
            model.count();
        }
        Op::Activate(named) => {
            let pattern = name(model, named);
            let expected = model.activate(pattern);
            assert_eq!(signed(unit, last, AdminCommand::ActivateNew, &pattern).map(drop), expected);
            model.count();
        }
        Op::ClearNew => {
            signed(unit, last, AdminCommand::ClearNew, b"").unwrap();
            model.new = None;
            model.count();
        }
        Op::ClearCurrent => {
            signed(unit, last, AdminCommand::ClearCurrent, b"").unwrap();
            model.current = None;
            model.count();
        }
        Op::Zeroize => {
            signed(unit, last, AdminCommand::Zeroize, b"").unwrap();
            (model.current, model.new) = (None, None);
            model.count();
            model.lives += 1;
            in_service(unit, model);
        }
        Op::Forged => {
            let forged = administer(unit, AdminCommand::ClearCurrent, b"", &[0, 1]);
            assert_eq!(forged, Err(UnitError::SignerUnknown));
            model.refuse();
        }
        Op::Unsigned => {
            let unsigned = administer(unit, AdminCommand::ClearCurrent, b"", &[]);
            assert_eq!(unsigned, Err(UnitError::NotEnoughSignatures));
            model.refuse();
        }
        Op::Again => {
            if last.is_empty() {
                return;
            }
            let refused = send(unit, last).unwrap_err();
            match refused {
                UnitError::TransactionCounter => model.refuse(),
                // For an earlier domain instance: not recorded.
                other => assert_eq!(other, UnitError::DomainInstanceMismatch),
            }
        }
        Op::MakeBlob { sign } => {
            let uses = if sign { KeyUses::SIGN } else { KeyUses::VERIFY };
            let answer = run(unit, Command::GenerateKey { spec: KeySpec::aes(32, uses) });
            match (model.current, answer) {
                (None, answer) => assert_eq!(answer.err(), Some(UnitError::WkNotInitialized)),
                (Some(under), Ok(Answer::Bytes(bytes))) => model.blobs.push(ModelBlob { bytes, under, sign }),
                (Some(_), answer) => panic!("{answer:?}"),
            }
        }
        Op::UseBlob(which) => {
            let Some(blob) = nth(&model.blobs, which) else { return };
            let command = Command::Sign { by: MacMechanism::AesCmac, key: &blob.bytes, data: b"d" };
            assert_eq!(run(unit, command).map(|_| ()), model.use_of(blob));
        }
        Op::Reencipher(which) => {
            let Some(blob) = nth(&model.blobs, which) else { return };
            let answer = run(unit, Command::Reencipher { blob: &blob.bytes });
            let expected = model.reencipher_of(blob);
            assert_eq!(answer.as_ref().err(), expected.as_ref().err());
            if let (Ok(Answer::Bytes(bytes)), Ok(under)) = (answer, expected) {
                let sign = blob.sign;
                model.blobs.push(ModelBlob { bytes, under, sign });
            }
        }
        Op::FailNextWrite { unconfirmed } => {
            let fault = if unconfirmed { Fault::Unconfirmed } else { Fault::Refused };
            fixture.disk.plan(fixture.disk.writes(), fault);
            // The model must not adopt the command: an unconfirmed write was undone by its repair.
            let refused = administer(unit, AdminCommand::Zeroize, b"", &[0]);
            assert_eq!(refused, Err(UnitError::StorageFailed));
        }
        Op::Restart => {
            *unit = fixture.start();
            model.refused = 0;
        }
    }
}

fn nth(blobs: &[ModelBlob], which: usize) -> Option<&ModelBlob> {
    which.checked_rem(blobs.len()).and_then(|i| blobs.get(i))
}
