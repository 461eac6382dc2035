//! Random runs of commands by several clients agree with a model that is told as simply as can be.
//!
//! No signature is made: a client hands in how many have signed, which is all that a decision is told.

use super::{Decision, DecisionError, decide};
use crate::administration::parsed_command::ParsedCommand;
use crate::administration::target::check_counter;
use crate::administrators::Administrator;
use crate::domain::Domain;
use crate::master_key::MasterKey;
use crate::registers::RegisterCommand;
use std::collections::BTreeSet;
use std::vec::Vec;
use unit_api::UnitError;
use unit_api::admin::{AdminCommand, Attributes, ControlPoint, Permissions};

/// xorshift64*: the same seed, the same run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn byte(&mut self, bound: u64) -> u8 {
        u8::try_from(self.below(bound)).unwrap()
    }
}

/// A command as the model knows it: administrators and keys by number.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Add(u8),
    Remove(u8),
    Replace(u8, u8),
    Thresholds {
        sign: u32,
        revoke: u32,
        flip: u32,
    },
    Importer,
    Random,
    /// From custodians' parts, or with 0 parts what a unit has exported.
    Import {
        parts: usize,
        key: u8,
    },
    Commit(u8),
    Activate(u8),
    ClearNew,
    ClearCurrent,
    Switch(bool),
    Zeroize,
}

/// What a client hands in.
#[derive(Clone, Copy, Debug)]
struct Handed {
    life: u32,
    counter: u128,
    wish: Wish,
    signatures: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Rightly(UnitError),
    Unauthorised(UnitError),
}

/// The unit by the model.
struct Model {
    life: u32,
    counter: u128,
    administrators: BTreeSet<u8>,
    sign: u32,
    revoke: u32,
    permissions: u32,
    current: Option<u8>,
    new: Option<(u8, bool)>,
    btc: bool,
}

impl Model {
    fn new(life: u32, counter: u128) -> Self {
        Self {
            life,
            counter,
            administrators: BTreeSet::new(),
            sign: 0,
            revoke: 0,
            permissions: Permissions::first().0,
            current: None,
            new: None,
            btc: false,
        }
    }

    fn has(&self, bit: Permissions) -> bool {
        self.permissions & bit.0 != 0
    }

    fn take(&mut self, handed: &Handed) -> Outcome {
        if handed.life != self.life {
            return Outcome::Unauthorised(UnitError::DomainInstanceMismatch);
        }
        if handed.counter != self.counter + 1 {
            return Outcome::Unauthorised(UnitError::TransactionCounter);
        }
        let imprint = self.sign == 0;
        let about_rule = matches!(
            handed.wish,
            Wish::Add(_) | Wish::Remove(_) | Wish::Replace(..) | Wish::Thresholds { .. } | Wish::Zeroize
        );
        if imprint && !about_rule {
            self.counter += 1;
            return Outcome::Rightly(UnitError::ImprintMode);
        }
        let (st, rt) = (self.sign as usize, self.revoke as usize);
        let raised = self.has(Permissions::QUORUM_DESTRUCTIVE);
        let one_or = |one: bool| if one { 1 } else { st };
        let needed = match handed.wish {
            _ if imprint => 0,
            Wish::Remove(_) => rt,
            Wish::Replace(..) => st.max(rt),
            Wish::Importer | Wish::Random | Wish::Import { .. } | Wish::ClearNew => 1,
            Wish::Activate(_) | Wish::ClearCurrent => one_or(!raised),
            Wish::Zeroize => one_or(!raised && self.has(Permissions::ZERO_1SIGN)),
            Wish::Switch(_) => one_or(self.has(Permissions::CP_1SIGN)),
            _ => st,
        };
        let too_few = Outcome::Unauthorised(UnitError::NotEnoughSignatures);
        if handed.signatures < needed {
            return too_few;
        }
        let leaving = match handed.wish {
            Wish::Thresholds { sign, .. } if imprint => sign as usize,
            Wish::Thresholds { revoke, .. } if revoke < self.revoke => rt,
            _ => 0,
        };
        let counter = self.counter + 1;
        let refused = self.refusal(handed.wish);
        if refused.is_none() && handed.signatures < leaving {
            return too_few;
        }
        match refused {
            Some(error) => {
                self.counter = counter;
                Outcome::Rightly(error)
            }
            None => {
                self.carry_out(handed.wish);
                self.counter = counter;
                Outcome::Done
            }
        }
    }

    fn refusal(&self, wish: Wish) -> Option<UnitError> {
        let imprint = self.sign == 0;
        let known = |n: u8| self.administrators.contains(&n);
        let count = self.administrators.len() as u32;
        match wish {
            Wish::Add(n) if known(n) => Some(UnitError::AdministratorInstalled),
            Wish::Add(_) if count == 8 => Some(UnitError::AdministratorsFull),
            Wish::Remove(n) if !known(n) => Some(UnitError::AdministratorNotInstalled),
            Wish::Remove(_) if imprint => None,
            Wish::Remove(_) if count == 1 => Some(UnitError::RemovalOfLast),
            Wish::Remove(_) if count == 2 && !self.has(Permissions::ONE_SIGN) => {
                Some(UnitError::RemovalOfSecondLast)
            }
            Wish::Remove(_) if count <= self.sign.max(self.revoke) => Some(UnitError::RemovalBreaksThreshold),
            Wish::Replace(old, _) if !known(old) => Some(UnitError::AdministratorNotInstalled),
            Wish::Replace(_, new) if known(new) => Some(UnitError::AdministratorInstalled),
            Wish::Thresholds { sign, revoke, flip } => self.thresholds_refusal(sign, revoke, flip),
            Wish::Random if !self.has(Permissions::WK_RANDOM) => Some(UnitError::GenerateForbidden),
            Wish::Import { .. } if !self.has(Permissions::WK_IMPORT) => Some(UnitError::ImportForbidden),
            Wish::Import { parts: 1, .. } if !self.has(Permissions::WK_1PART) => {
                Some(UnitError::SinglePartForbidden)
            }
            Wish::Random | Wish::Import { .. } if self.new.is_some() => Some(UnitError::NewNotEmpty),
            Wish::Import { key, .. } if self.current == Some(key) => Some(UnitError::SameAsCurrent),
            Wish::Commit(key) => match self.new {
                None => Some(UnitError::NewMissing),
                Some((held, _)) if held != key => Some(UnitError::PatternMismatch),
                Some(_) => None,
            },
            Wish::Activate(key) => match self.new {
                None if self.current == Some(key) => None,
                None => Some(UnitError::NewMissing),
                Some((_, false)) => Some(UnitError::NewNotCommitted),
                Some((held, true)) if held != key => Some(UnitError::PatternMismatch),
                Some(_) => None,
            },
            _ => None,
        }
    }

    fn thresholds_refusal(&self, sign: u32, revoke: u32, flip: u32) -> Option<UnitError> {
        let imprint = self.sign == 0;
        let count = self.administrators.len() as u32;
        let next = self.permissions ^ flip;
        let had = |bit: Permissions| self.permissions & bit.0 != 0;
        if !(imprint && sign == 0 && revoke == 0) {
            if sign == 0 {
                return Some(UnitError::SignatureThresholdZero);
            }
            if revoke == 0 {
                let zero = UnitError::RevocationThresholdZero;
                return Some(if imprint { UnitError::RevocationThresholdMissing } else { zero });
            }
        }
        if sign > count {
            return Some(UnitError::SignatureThresholdTooHigh);
        }
        if revoke > count {
            return Some(UnitError::RevocationThresholdTooHigh);
        }
        if next & !self.permissions & 0xffff_0000 != 0 {
            return Some(UnitError::ChangeControlReset);
        }
        let protected = |bit: &&(&str, Permissions, Option<Permissions>)| {
            flip & bit.1.0 != 0 && bit.2.is_some_and(|control| !had(control))
        };
        if Permissions::TABLE.iter().find(protected).is_some() {
            return Some(UnitError::PermissionProtected);
        }
        let frozen = |was: u32, is: u32, control| was != is && !had(control);
        if frozen(self.sign, sign, Permissions::CHG_SIGN_THR)
            || frozen(self.revoke, revoke, Permissions::CHG_REVOKE_THR)
        {
            return Some(UnitError::ThresholdProtected);
        }
        if next & Permissions::ONE_SIGN.0 != 0 {
            return None;
        }
        if (self.sign, sign) == (1, 1) || (self.revoke, revoke) == (1, 1) {
            return Some(UnitError::OneSignNeeded);
        }
        match (sign, revoke) {
            (1, _) => Some(UnitError::SignatureThresholdOne),
            (_, 1) => Some(UnitError::RevocationThresholdOne),
            _ => None,
        }
    }

    fn carry_out(&mut self, wish: Wish) {
        match wish {
            Wish::Add(n) => drop(self.administrators.insert(n)),
            Wish::Remove(n) => drop(self.administrators.remove(&n)),
            Wish::Replace(old, new) => {
                self.administrators.remove(&old);
                self.administrators.insert(new);
            }
            Wish::Thresholds { sign, revoke, flip } => {
                (self.sign, self.revoke) = (sign, revoke);
                self.permissions ^= flip;
            }
            Wish::Importer => {}
            Wish::Random if self.current.is_none() => self.current = Some(random_key(self.counter)),
            Wish::Random => self.new = Some((random_key(self.counter), false)),
            Wish::Import { key, .. } => self.new = Some((key, false)),
            Wish::Commit(key) => self.new = Some((key, true)),
            Wish::Activate(key) => (self.current, self.new) = (Some(key), None),
            Wish::ClearNew => self.new = None,
            Wish::ClearCurrent => self.current = None,
            Wish::Switch(on) => self.btc = on,
            Wish::Zeroize => *self = Self::new(self.life + 1, self.counter),
        }
    }
}

/// A random key: another one for every counter of a run. Loading is by other numbers.
fn random_key(counter: u128) -> u8 {
    60 + u8::try_from(counter % 40).unwrap()
}

/// The pure part of a unit: target, counter, decision, and what the engine would make of it.
struct Pure {
    domain: Domain,
    counter: u128,
}

impl Pure {
    fn take(&mut self, handed: &Handed) -> Outcome {
        if handed.life != self.domain.instance {
            return Outcome::Unauthorised(UnitError::DomainInstanceMismatch);
        }
        let counter = match check_counter(self.counter, handed.counter) {
            Ok(counter) => counter,
            Err(error) => return Outcome::Unauthorised(error),
        };
        let (command, order) = order_of(&self.domain, handed.wish);
        let made = match handed.wish {
            Wish::Import { key, .. } => MasterKey::for_test(key),
            _ => MasterKey::for_test(random_key(self.counter)),
        };
        let next = decide(&self.domain, command, Ok(order), handed.signatures).and_then(|next| {
            let with = |command| self.domain.with_registers(&command).map_err(DecisionError::Refused);
            match next {
                Decision::Domain(domain) => Ok(domain),
                Decision::RandomMasterKey => with(RegisterCommand::Generate(made)),
                Decision::KeyParts => with(RegisterCommand::Load(made)),
                Decision::ImporterKey | Decision::Export(_) => Ok(self.domain.clone()),
            }
        });
        match next {
            Ok(domain) => {
                (self.domain, self.counter) = (domain, counter);
                Outcome::Done
            }
            Err(DecisionError::Refused(error)) => {
                self.counter = counter;
                Outcome::Rightly(error)
            }
            Err(DecisionError::Unauthorised(error)) => Outcome::Unauthorised(error),
        }
    }
}

fn order_of(domain: &Domain, wish: Wish) -> (AdminCommand, ParsedCommand) {
    let ski = |n: u8| Administrator::for_test(n).entry.ski;
    let pattern = |key: u8| MasterKey::for_test(key).pattern;
    let btc = ControlPoint::Btc.alone();
    match wish {
        Wish::Add(n) => {
            (AdminCommand::AddAdministrator, ParsedCommand::AddAdministrator(Administrator::for_test(n)))
        }
        Wish::Remove(n) => (AdminCommand::RemoveAdministrator, ParsedCommand::RemoveAdministrator(ski(n))),
        Wish::Replace(old, new) => {
            let new = Administrator::for_test(new);
            (AdminCommand::ReplaceAdministrator, ParsedCommand::ReplaceAdministrator { old: ski(old), new })
        }
        Wish::Thresholds { sign, revoke, flip } => {
            let attributes = Attributes {
                signature_threshold: sign,
                revocation_threshold: revoke,
                permissions: Permissions(domain.attributes.permissions.0 ^ flip),
                mode: u32::from(sign != 0),
            };
            (AdminCommand::SetAttributes, ParsedCommand::SetAttributes(attributes))
        }
        Wish::Importer => (AdminCommand::GenerateImporterKey, ParsedCommand::GenerateImporterKey),
        Wish::Random => (AdminCommand::GenerateMasterKey, ParsedCommand::GenerateMasterKey),
        Wish::Import { parts: 0, .. } => (AdminCommand::ImportKeyParts, ParsedCommand::ImportExport),
        Wish::Import { parts, .. } => (AdminCommand::ImportKeyParts, ParsedCommand::ImportKeyParts { parts }),
        Wish::Commit(key) => (AdminCommand::CommitNew, ParsedCommand::CommitNew(pattern(key))),
        Wish::Activate(key) => (AdminCommand::ActivateNew, ParsedCommand::ActivateNew(pattern(key))),
        Wish::ClearNew => (AdminCommand::ClearNew, ParsedCommand::ClearNew),
        Wish::ClearCurrent => (AdminCommand::ClearCurrent, ParsedCommand::ClearCurrent),
        Wish::Switch(true) => (AdminCommand::AddControlPoints, ParsedCommand::AddControlPoints(btc)),
        Wish::Switch(false) => (AdminCommand::DeleteControlPoints, ParsedCommand::DeleteControlPoints(btc)),
        Wish::Zeroize => (AdminCommand::Zeroize, ParsedCommand::Zeroize),
    }
}

/// What a client would do next, more often sensible than not.
fn wish(chance: &mut Chance, model: &Model) -> Wish {
    let who = |chance: &mut Chance| 1 + chance.byte(10);
    let which = |chance: &mut Chance| match (chance.below(4), model.new, model.current) {
        (0 | 1, Some((key, _)), _) => key,
        (2, _, Some(key)) => key,
        _ => 50 + chance.byte(3),
    };
    let sensible = if model.sign == 0 && chance.below(10) != 0 { 7 } else { 24 };
    match chance.below(sensible) {
        0 | 1 => Wish::Add(who(chance)),
        2 => Wish::Remove(who(chance)),
        3 => Wish::Replace(who(chance), who(chance)),
        4..=6 => {
            let bound = model.administrators.len() as u64 + 2;
            let table = Permissions::TABLE;
            let flip = match chance.below(3) {
                0 => table[chance.below(table.len() as u64) as usize].1.0,
                1 => table[chance.below(10) as usize].1.0,
                _ => 0,
            };
            Wish::Thresholds { sign: chance.below(bound) as u32, revoke: chance.below(bound) as u32, flip }
        }
        7 => Wish::Importer,
        8 | 9 => Wish::Random,
        10..=13 => Wish::Import { parts: chance.below(4) as usize, key: 50 + chance.byte(3) },
        14..=16 => Wish::Commit(which(chance)),
        17..=19 => Wish::Activate(which(chance)),
        20 => Wish::ClearNew,
        21 => Wish::ClearCurrent,
        22 => Wish::Switch(chance.below(2) == 0),
        _ => Wish::Zeroize,
    }
}

fn agree(pure: &Pure, model: &Model) {
    let Domain { instance, attributes, administrators, control_points, registers } = &pure.domain;
    assert_eq!((*instance, pure.counter), (model.life, model.counter));
    let thresholds = (attributes.signature_threshold, attributes.revocation_threshold);
    assert_eq!(thresholds, (model.sign, model.revoke));
    assert_eq!((attributes.permissions.0, attributes.imprint()), (model.permissions, model.sign == 0));
    let installed: BTreeSet<u8> = administrators.iter().map(|who| who.entry.ski[0]).collect();
    assert_eq!(installed, model.administrators);
    let number = |key: &MasterKey| key.pattern.as_bytes()[0];
    assert_eq!(registers.current().map(number), model.current);
    assert_eq!(registers.new_key().map(number), model.new.map(|(key, _)| key));
    assert_eq!(control_points.is_on(ControlPoint::Btc), model.btc);
}

const SEQUENCES: u64 = 100_000;

#[test]
fn model_of_administration_by_several_clients() {
    let mut done = BTreeSet::new();
    for seed in 1..=SEQUENCES {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut pure = Pure { domain: Domain::new(1), counter: 0 };
        let mut model = Model::new(1, 0);
        // Each client reads life and counter now and then, and hands in its command later; some hand it in twice.
        let mut waiting: Vec<Handed> = Vec::new();
        for _ in 0..30 {
            if waiting.is_empty() || chance.below(4) == 0 {
                let signatures = chance.below(model.administrators.len() as u64 + 1) as usize;
                let enough = model.administrators.len();
                let signatures = if chance.below(3) == 0 { signatures } else { enough };
                let wish = wish(&mut chance, &model);
                let counter = pure.counter + 1 + u128::from(chance.below(8) == 0);
                waiting.push(Handed { life: pure.domain.instance, counter, wish, signatures });
            }
            let at = chance.below(waiting.len() as u64) as usize;
            let handed = waiting[at];
            if chance.below(10) != 0 {
                waiting.swap_remove(at);
            }
            let before = model.counter;
            let (found, expected) = (pure.take(&handed), model.take(&handed));
            assert_eq!(found, expected, "seed {seed}: {handed:?}");
            agree(&pure, &model);
            let moved = !matches!(found, Outcome::Unauthorised(_));
            assert_eq!(pure.counter, before + u128::from(moved), "seed {seed}: {handed:?}");
            if let Outcome::Rightly(error) | Outcome::Unauthorised(error) = found {
                done.insert(error.code());
            }
        }
    }
    let all = [
        UnitError::ImprintMode,
        UnitError::NotEnoughSignatures,
        UnitError::DomainInstanceMismatch,
        UnitError::TransactionCounter,
        UnitError::AdministratorInstalled,
        UnitError::AdministratorsFull,
        UnitError::AdministratorNotInstalled,
        UnitError::RemovalBreaksThreshold,
        UnitError::RemovalOfSecondLast,
        UnitError::RemovalOfLast,
        UnitError::SignatureThresholdZero,
        UnitError::RevocationThresholdMissing,
        UnitError::RevocationThresholdZero,
        UnitError::SignatureThresholdTooHigh,
        UnitError::RevocationThresholdTooHigh,
        UnitError::ChangeControlReset,
        UnitError::PermissionProtected,
        UnitError::ThresholdProtected,
        UnitError::OneSignNeeded,
        UnitError::SignatureThresholdOne,
        UnitError::RevocationThresholdOne,
        UnitError::GenerateForbidden,
        UnitError::ImportForbidden,
        UnitError::SinglePartForbidden,
        UnitError::NewNotEmpty,
        UnitError::SameAsCurrent,
        UnitError::NewMissing,
        UnitError::PatternMismatch,
        UnitError::NewNotCommitted,
    ];
    for error in all {
        assert!(done.contains(&error.code()), "{error:?} was never met");
    }
    assert_eq!(done.len(), all.len());
}
