//! The script of a ceremony, made for its plan and printed before it.

use super::{Role, Text};
use crate::part::{MAX_PARTS, MIN_PARTS};
use std::fmt::Write;

const MAX_ADMINISTRATORS: u8 = 8;

/// How the master key comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Keys and parts are made on smart cards and never leave them in the clear.
    SmartCards,
    /// Keys and parts are in password-protected files.
    KeyPartFiles,
    /// A recovery unit draws the master key and passes it on to the other units.
    RecoveryUnits,
}

/// What a ceremony is to bring about, and with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptPlan {
    /// What the ceremony is for.
    pub title: Text,
    /// The instance whose units it is about.
    pub instance: Text,
    /// How the master key comes about.
    pub method: Method,
    /// Owners of signature keys, 1 to 8.
    pub administrators: u8,
    /// Owners of key parts, 2 or 3; 0 with recovery units.
    pub custodians: u8,
    /// Witnesses.
    pub witnesses: u8,
    /// Signatures that most commands need.
    pub signature_threshold: u8,
    /// Signatures that removing an administrator needs.
    pub revocation_threshold: u8,
    /// Backups of every key and part: copied cards, or copies of files.
    pub backups: u8,
    /// Locations of all units of the instance, failover units included.
    pub units: Vec<Text>,
}

/// Why there is no script for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanInvalid {
    /// A unit has 1 to 8 administrators.
    #[error("a unit has 1 to {MAX_ADMINISTRATORS} administrators")]
    Administrators,
    /// A threshold is 1 to the number of administrators.
    #[error("a threshold is at least 1, and at most the number of administrators")]
    Threshold,
    /// A master key has two or three parts, one custodian each, and none where a recovery unit draws it.
    #[error(
        "a master key has {MIN_PARTS} or {MAX_PARTS} custodians, and none where a recovery unit draws it"
    )]
    Custodians,
    /// There is no unit.
    #[error("a ceremony is about at least one unit")]
    NoUnit,
}

/// A step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptStep {
    /// Counts from 1.
    pub number: u32,
    /// Who carries it out.
    pub who: Role,
    /// What is done.
    pub what: String,
}

impl ScriptPlan {
    /// The steps, in order.
    ///
    /// # Errors
    /// [`PlanInvalid`].
    pub fn steps(&self) -> Result<Vec<ScriptStep>, PlanInvalid> {
        self.check()?;
        let mut steps = Vec::new();
        let mut step = |who: Role, what: String| {
            let number = u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1);
            steps.push(ScriptStep { number, who, what });
        };
        self.before(&mut step);
        match self.method {
            Method::SmartCards => self.with_cards(&mut step),
            Method::KeyPartFiles => self.with_files(&mut step),
            Method::RecoveryUnits => self.with_recovery_units(&mut step),
        }
        self.after(&mut step);
        Ok(steps)
    }

    /// The steps as a record takes them ([`super::CeremonyRecord::create`]).
    ///
    /// # Errors
    /// [`PlanInvalid`].
    pub fn step_texts(&self) -> Result<Vec<Text>, PlanInvalid> {
        let text = |step: &ScriptStep| Text::of_program(&format!("{}: {}", step.who, step.what));
        Ok(self.steps()?.iter().map(text).collect())
    }

    /// Cards that the ceremony needs: a CA card, one card per administrator and per custodian, and as many backups.
    #[must_use]
    pub fn cards_needed(&self) -> u32 {
        let cards = [1, self.administrators, self.custodians].map(u32::from).iter().sum::<u32>();
        match self.method {
            Method::SmartCards => cards.saturating_mul(u32::from(self.backups).saturating_add(1)),
            Method::KeyPartFiles | Method::RecoveryUnits => 0,
        }
    }

    /// The script, to be printed: who is there, what to bring, every step with room for time and initials, and room for
    /// what went otherwise.
    ///
    /// # Errors
    /// [`PlanInvalid`].
    pub fn to_markdown(&self) -> Result<String, PlanInvalid> {
        let steps = self.steps()?;
        let mut script = String::new();
        self.write(&mut script, &steps).map_or_else(|_| Ok(String::new()), |()| Ok(script))
    }

    fn check(&self) -> Result<(), PlanInvalid> {
        let threshold = 1..=self.administrators;
        let parts = MIN_PARTS..=MAX_PARTS;
        let custodians_fit = match self.method {
            Method::RecoveryUnits => self.custodians == 0,
            Method::SmartCards | Method::KeyPartFiles => parts.contains(&usize::from(self.custodians)),
        };
        if !(1..=MAX_ADMINISTRATORS).contains(&self.administrators) {
            Err(PlanInvalid::Administrators)
        } else if !threshold.contains(&self.signature_threshold)
            || !threshold.contains(&self.revocation_threshold)
        {
            Err(PlanInvalid::Threshold)
        } else if !custodians_fit {
            Err(PlanInvalid::Custodians)
        } else if self.units.is_empty() {
            Err(PlanInvalid::NoUnit)
        } else {
            Ok(())
        }
    }

    fn before(&self, step: &mut impl FnMut(Role, String)) {
        step(Role::Operator, "Check who is there, and write names and roles into the record.".to_owned());
        step(
            Role::Witness,
            "Check that no person owns both a signature key and a key part, or two of either.".to_owned(),
        );
        step(
            Role::Operator,
            format!("List the units and select all {} of them, failover units included.", self.units.len()),
        );
        step(
            Role::Operator,
            "Check that every unit is in imprint mode and has no administrator that nobody here knows."
                .to_owned(),
        );
    }

    fn with_cards(&self, step: &mut impl FnMut(Role, String)) {
        step(
            Role::Custodian,
            "Two owners make the CA card, each with a PIN of six digits. Write down the zone's identifier."
                .to_owned(),
        );
        if self.backups > 0 {
            step(Role::Custodian, format!("Make {} backup CA card(s).", self.backups));
        }
        step(
            Role::Operator,
            format!(
                "Enrol {} EP11 cards in the zone.",
                self.cards_needed().saturating_sub(1 + u32::from(self.backups))
            ),
        );
        for number in 1..=self.administrators {
            step(
                Role::Administrator,
                format!("Administrator {number} generates a signature key on an own card."),
            );
        }
        for number in 1..=self.custodians {
            step(
                Role::Custodian,
                format!(
                    "Custodian {number} generates a key part on an own card and writes down its pattern."
                ),
            );
        }
        step(
            Role::Custodian,
            "Have a card work out the master key's pattern from all parts; keep the signed part list."
                .to_owned(),
        );
        self.back_up(step, "Copy every card within the zone");
        self.administrators_and_thresholds(step);
        self.load_commit_activate(step);
    }

    fn with_files(&self, step: &mut impl FnMut(Role, String)) {
        for number in 1..=self.administrators {
            step(
                Role::Administrator,
                format!("Administrator {number} makes a signature key file under an own password."),
            );
        }
        for number in 1..=self.custodians {
            step(
                Role::Custodian,
                format!(
                    "Custodian {number} makes a key part file under an own password and writes down its pattern."
                ),
            );
        }
        self.back_up(step, "Copy every file to a medium of its owner");
        self.administrators_and_thresholds(step);
        self.load_commit_activate(step);
    }

    fn with_recovery_units(&self, step: &mut impl FnMut(Role, String)) {
        for number in 1..=self.administrators {
            step(Role::Administrator, format!("Administrator {number} makes or brings a signature key."));
        }
        self.back_up(step, "Copy every signature key");
        self.administrators_and_thresholds(step);
        step(Role::Administrator, "Generate a random master key in one recovery unit.".to_owned());
        step(Role::Operator, "Write down the master key's pattern as the recovery unit shows it.".to_owned());
        for unit in &self.units {
            step(
                Role::Administrator,
                format!(
                    "Unless {unit} is that unit: transfer the master key to it, commit with {} signatures, activate.",
                    self.signature_threshold
                ),
            );
        }
    }

    fn back_up(&self, step: &mut impl FnMut(Role, String), how: &str) {
        if self.backups > 0 {
            step(Role::Custodian, format!("{how}, {} time(s), before anything is used.", self.backups));
        }
    }

    fn administrators_and_thresholds(&self, step: &mut impl FnMut(Role, String)) {
        for unit in &self.units {
            step(Role::Administrator, format!("Add {} administrators to {unit}.", self.administrators));
            step(
                Role::Administrator,
                format!(
                    "Set the thresholds of {unit} to {} (signature) and {} (revocation); it leaves imprint mode.",
                    self.signature_threshold, self.revocation_threshold
                ),
            );
        }
    }

    fn load_commit_activate(&self, step: &mut impl FnMut(Role, String)) {
        for unit in &self.units {
            step(
                Role::Custodian,
                format!("Load {} key parts into {unit}; one administrator signs.", self.custodians),
            );
            step(
                Role::Witness,
                format!(
                    "Compare the pattern in the new register of {unit} with the one worked out from the parts."
                ),
            );
            step(
                Role::Administrator,
                format!("Commit in {unit} with {} signatures.", self.signature_threshold),
            );
        }
        for unit in &self.units {
            step(Role::Administrator, format!("Activate in {unit}."));
        }
    }

    fn after(&self, step: &mut impl FnMut(Role, String)) {
        step(
            Role::Witness,
            "Compare all units: same administrators, thresholds, control points and patterns.".to_owned(),
        );
        step(Role::Custodian, "Take cards and files away, each owner apart, and lock them up.".to_owned());
        step(Role::Operator, "Close the record, have administrators sign it, print it.".to_owned());
        step(Role::Witness, "Sign the printed record, with its last hash.".to_owned());
    }

    fn write(&self, out: &mut String, steps: &[ScriptStep]) -> std::fmt::Result {
        use super::render::cell;
        writeln!(out, "# {}\n", cell(self.title.as_str()))?;
        writeln!(
            out,
            "Instance: {}  \nDate: ____________________  \nPlace: ____________________\n",
            cell(self.instance.as_str())
        )?;
        writeln!(out, "## Units\n")?;
        for (place, unit) in self.units.iter().enumerate() {
            writeln!(out, "{}. {}", place.saturating_add(1), cell(unit.as_str()))?;
        }
        writeln!(
            out,
            "\nThresholds: {} signatures, {} to remove an administrator.\n",
            self.signature_threshold, self.revocation_threshold
        )?;
        writeln!(out, "## People\n\n| role | name | identity checked by | signature |\n|---|---|---|---|")?;
        let roles = [
            (Role::Operator, 1),
            (Role::Administrator, self.administrators),
            (Role::Custodian, self.custodians),
            (Role::Witness, self.witnesses),
        ];
        for (role, number) in roles {
            for n in 1..=number {
                writeln!(out, "| {role} {n} | | | |")?;
            }
        }
        writeln!(out, "\n## To bring\n")?;
        match self.method {
            Method::SmartCards => writeln!(out, "- {} smart cards and two readers", self.cards_needed())?,
            Method::KeyPartFiles => {
                writeln!(out, "- a workstation without a network but to the units, a medium per owner")?
            }
            Method::RecoveryUnits => writeln!(out, "- the signature keys of all administrators")?,
        }
        writeln!(out, "- envelopes that show when they were opened, and this script in print\n")?;
        writeln!(out, "PINs, passwords and key parts are never said aloud and never written here.\n")?;
        writeln!(out, "## Steps\n\n| | no. | who | what | time | initials |\n|---|---|---|---|---|---|")?;
        for ScriptStep { number, who, what } in steps {
            writeln!(out, "| ☐ | {number} | {who} | {} | | |", cell(what))?;
        }
        writeln!(
            out,
            "\n## Done otherwise than planned\n\n| step | what and why | allowed by |\n|---|---|---|"
        )?;
        for _ in 0..4 {
            writeln!(out, "| | | |")?;
        }
        writeln!(
            out,
            "\nLast hash of the record: ________________________________________________________________"
        )
    }
}
