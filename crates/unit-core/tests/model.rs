//! Random runs of commands, failing writes and restarts agree with a naive model.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::disk::Fault;
use common::{Answer, Bench, BenchEnv, OTHER_PARTS, PARTS, THIRD_PARTS, execute, lasting};
use engine::{KeySpec, KeyUses, MacMechanism};
use proptest::prelude::*;
use unit_api::{Command, UnitError, VerificationPattern};
use unit_core::Unit;

/// Which pattern a commit or activate names.
#[derive(Clone, Copy, Debug)]
enum Named {
    Current,
    New,
    Nobody,
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
    MakeBlob { sign: bool },
    UseBlob(usize),
    Reencipher(usize),
    FailNextWrite { unconfirmed: bool },
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let named = || prop_oneof![1 => Just(Named::Current), 6 => Just(Named::New), 1 => Just(Named::Nobody)];
    let op = prop_oneof![
        4 => (0..3_usize).prop_map(Op::Load),
        1 => Just(Op::Generate),
        5 => named().prop_map(Op::Commit),
        5 => named().prop_map(Op::Activate),
        1 => Just(Op::ClearNew),
        1 => Just(Op::ClearCurrent),
        1 => Just(Op::Zeroize),
        4 => any::<bool>().prop_map(|sign| Op::MakeBlob { sign }),
        6 => any::<usize>().prop_map(Op::UseBlob),
        4 => any::<usize>().prop_map(Op::Reencipher),
        1 => any::<bool>().prop_map(|unconfirmed| Op::FailNextWrite { unconfirmed }),
        2 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..60)
}

type Pattern = [u8; 32];

struct ModelBlob {
    bytes: Vec<u8>,
    under: Pattern,
    sign: bool,
}

/// What a unit is, told as simply as can be.
#[derive(Default)]
struct Model {
    current: Option<Pattern>,
    new: Option<(bool, Pattern)>,
    counter: u128,
    lives: u32,
    blobs: Vec<ModelBlob>,
}

impl Model {
    /// Checks an answer to a load, and takes it over: which pattern came of it only the unit can say.
    fn load(&mut self, answer: &Result<Answer, UnitError>, same_as_current: bool, straight: bool) {
        if self.new.is_some() {
            assert_eq!(answer.as_ref().err(), Some(&UnitError::NewNotEmpty));
        } else if same_as_current {
            assert_eq!(answer.as_ref().err(), Some(&UnitError::SameAsCurrent));
        } else {
            let Ok(Answer::Loaded(pattern)) = answer else { panic!("{answer:?}") };
            self.counter += 1;
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

    fn agrees_with(&self, unit: &mut Unit<BenchEnv>) {
        let found = lasting(unit);
        assert_eq!(found.current, self.current);
        assert_eq!(found.new, self.new);
        assert_eq!(found.transaction_counter, self.counter);
        assert_eq!(found.domain_instance, self.lives + 1);
    }
}

fn run(unit: &mut Unit<BenchEnv>, command: Command<'_>) -> Result<Answer, UnitError> {
    execute(unit, command).map_err(|refusal| refusal.unit_error().unwrap())
}

fn unit_of(answer: Result<Answer, UnitError>) -> Result<(), UnitError> {
    answer.map(|answer| assert!(matches!(answer, Answer::Done), "{answer:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn model_of_registers_blobs_and_restarts(ops in ops()) {
        let [bench, numbered] = Bench::of_both_kinds();
        let bench = if ops.len() % 2 == 0 { bench } else { numbered };
        let mut unit = bench.start();
        let mut model = Model::default();
        // The patterns of the three sets of parts, learnt on another bench.
        let patterns = [PARTS, OTHER_PARTS, THIRD_PARTS]
            .map(|parts| *common::load(&mut Bench::new(9).start(), &parts).as_bytes());
        for op in ops {
            step(&bench, &mut unit, &mut model, &patterns, op);
            model.agrees_with(&mut unit);
            let held = usize::from(model.current.is_some()) + usize::from(model.new.is_some());
            prop_assert_eq!(bench.device.persisted(), held);
            prop_assert_eq!(bench.device.live(), 3 * held);
        }
    }
}

fn step(bench: &Bench, unit: &mut Unit<BenchEnv>, model: &mut Model, patterns: &[Pattern; 3], op: Op) {
    let name = |model: &Model, named| match named {
        Named::Current => model.current.unwrap_or([1; 32]),
        Named::New => model.new.map_or([2; 32], |(_, pattern)| pattern),
        Named::Nobody => [3; 32],
    };
    match op {
        Op::Load(which) => {
            let parts = &[PARTS, OTHER_PARTS, THIRD_PARTS][which];
            let answer = run(unit, Command::LoadKeyParts { parts });
            model.load(&answer, model.current == Some(patterns[which]), false);
        }
        Op::Generate => {
            let answer = run(unit, Command::GenerateMasterKey);
            model.load(&answer, false, true);
        }
        Op::Commit(named) => {
            let pattern = name(model, named);
            let command = Command::Commit { pattern: VerificationPattern::from_bytes(pattern) };
            let expected = model.commit(pattern);
            model.counter += u128::from(expected.is_ok());
            assert_eq!(unit_of(run(unit, command)), expected);
        }
        Op::Activate(named) => {
            let pattern = name(model, named);
            let command = Command::Activate { pattern: VerificationPattern::from_bytes(pattern) };
            let expected = model.activate(pattern);
            model.counter += u128::from(expected.is_ok());
            assert_eq!(unit_of(run(unit, command)), expected);
        }
        Op::ClearNew => {
            unit_of(run(unit, Command::ClearNew)).unwrap();
            model.new = None;
            model.counter += 1;
        }
        Op::ClearCurrent => {
            unit_of(run(unit, Command::ClearCurrent)).unwrap();
            model.current = None;
            model.counter += 1;
        }
        Op::Zeroize => {
            unit_of(run(unit, Command::Zeroize)).unwrap();
            (model.current, model.new) = (None, None);
            model.counter += 1;
            model.lives += 1;
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
            bench.disk.plan(bench.disk.writes(), fault);
            let refused = run(unit, Command::Zeroize);
            assert_eq!(refused.err(), Some(UnitError::StorageFailed));
        }
        Op::Restart => *unit = bench.start(),
    }
}

fn nth(blobs: &[ModelBlob], which: usize) -> Option<&ModelBlob> {
    which.checked_rem(blobs.len()).and_then(|i| blobs.get(i))
}
