//! The script of a ceremony, generated from a plan and printed before it.

use super::{ParticipantRole, RecordText};
use crate::part::{MAX_PARTS, MIN_PARTS};
use std::fmt::Write;

const MAX_ADMINISTRATORS: u8 = 8;

/// How the master key is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMethod {
    /// Keys and parts are generated on smart cards and leave them only encrypted.
    SmartCards,
    /// Keys and parts are in password-protected files.
    KeyPartFiles,
    /// A recovery unit generates the master key and transfers it to the other units.
    RecoveryUnits,
}

/// The plan of a ceremony.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptPlan {
    /// Purpose of the ceremony.
    pub title: RecordText,
    /// Service instance of the units.
    pub instance: RecordText,
    /// How the master key is generated.
    pub method: KeyMethod,
    /// Number of owners of signature keys, 1 to 8.
    pub administrators: u8,
    /// Number of owners of key parts, 2 or 3; 0 with recovery units.
    pub custodians: u8,
    /// Number of witnesses.
    pub witnesses: u8,
    /// Number of signatures that most commands need.
    pub signature_threshold: u8,
    /// Number of signatures that the removal of an administrator needs.
    pub revocation_threshold: u8,
    /// Number of copies of every card or file.
    pub backups: u8,
    /// Locations of all units of the instance, failover units included.
    pub units: Vec<RecordText>,
}

/// Reason why a plan is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptPlanInvalid {
    /// A unit has 1 to 8 administrators.
    #[error("a unit has 1 to {MAX_ADMINISTRATORS} administrators")]
    Administrators,
    /// A threshold is 1 to the number of administrators.
    #[error("a threshold is at least 1, and at most the number of administrators")]
    Threshold,
    /// A master key has two or three parts with one custodian each, and none if a recovery unit generates it.
    #[error(
        "a master key has {MIN_PARTS} or {MAX_PARTS} custodians, and none if a recovery unit generates it"
    )]
    Custodians,
    /// There is no unit.
    #[error("a ceremony needs at least one unit")]
    NoUnit,
}

/// A step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptStep {
    /// Number of the step, from 1.
    pub number: u32,
    /// Role that does the step.
    pub who: ParticipantRole,
    /// Description of the step.
    pub what: String,
}

impl ScriptPlan {
    /// The steps, in order.
    ///
    /// # Errors
    /// [`ScriptPlanInvalid`].
    pub fn steps(&self) -> Result<Vec<ScriptStep>, ScriptPlanInvalid> {
        self.check()?;
        let mut steps = Vec::new();
        let mut step = |who: ParticipantRole, what: String| {
            let number = u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1);
            steps.push(ScriptStep { number, who, what });
        };
        self.before(&mut step);
        match self.method {
            KeyMethod::SmartCards => self.with_cards(&mut step),
            KeyMethod::KeyPartFiles => self.with_files(&mut step),
            KeyMethod::RecoveryUnits => self.with_recovery_units(&mut step),
        }
        self.after(&mut step);
        Ok(steps)
    }

    /// The steps as text for [`super::CeremonyRecord::create`].
    ///
    /// # Errors
    /// [`ScriptPlanInvalid`].
    pub fn step_texts(&self) -> Result<Vec<RecordText>, ScriptPlanInvalid> {
        let text = |step: &ScriptStep| RecordText::of_program(&format!("{}: {}", step.who, step.what));
        Ok(self.steps()?.iter().map(text).collect())
    }

    /// Number of cards: a CA card, one card per administrator and custodian, and the copies of all.
    #[must_use]
    pub fn cards_needed(&self) -> u32 {
        let cards = [1, self.administrators, self.custodians].map(u32::from).iter().sum::<u32>();
        match self.method {
            KeyMethod::SmartCards => cards.saturating_mul(u32::from(self.backups).saturating_add(1)),
            KeyMethod::KeyPartFiles | KeyMethod::RecoveryUnits => 0,
        }
    }

    /// The script for print: participants, equipment, every step with space for time and initials, and space for deviations.
    ///
    /// # Errors
    /// [`ScriptPlanInvalid`].
    pub fn to_markdown(&self) -> Result<String, ScriptPlanInvalid> {
        let steps = self.steps()?;
        let mut script = String::new();
        self.write(&mut script, &steps).map_or_else(|_| Ok(String::new()), |()| Ok(script))
    }

    fn check(&self) -> Result<(), ScriptPlanInvalid> {
        let threshold = 1..=self.administrators;
        let parts = MIN_PARTS..=MAX_PARTS;
        let custodians_fit = match self.method {
            KeyMethod::RecoveryUnits => self.custodians == 0,
            KeyMethod::SmartCards | KeyMethod::KeyPartFiles => parts.contains(&usize::from(self.custodians)),
        };
        if !(1..=MAX_ADMINISTRATORS).contains(&self.administrators) {
            Err(ScriptPlanInvalid::Administrators)
        } else if !threshold.contains(&self.signature_threshold)
            || !threshold.contains(&self.revocation_threshold)
        {
            Err(ScriptPlanInvalid::Threshold)
        } else if !custodians_fit {
            Err(ScriptPlanInvalid::Custodians)
        } else if self.units.is_empty() {
            Err(ScriptPlanInvalid::NoUnit)
        } else {
            Ok(())
        }
    }

    fn before(&self, step: &mut impl FnMut(ParticipantRole, String)) {
        step(
            ParticipantRole::Operator,
            "Check the identity of all participants, and enter names and roles in the record.".to_owned(),
        );
        step(
            ParticipantRole::Witness,
            "Check that no person owns both a signature key and a key part, or two of either.".to_owned(),
        );
        step(
            ParticipantRole::Operator,
            format!("List the units and select all {} of them, failover units included.", self.units.len()),
        );
        step(
            ParticipantRole::Operator,
            "Check that every unit is in imprint mode and has no unknown administrator.".to_owned(),
        );
    }

    fn with_cards(&self, step: &mut impl FnMut(ParticipantRole, String)) {
        step(
            ParticipantRole::Custodian,
            "Two owners make the CA card, each with a PIN of six digits. Note the identifier of the zone."
                .to_owned(),
        );
        if self.backups > 0 {
            step(ParticipantRole::Custodian, format!("Make {} backup CA card(s).", self.backups));
        }
        step(
            ParticipantRole::Operator,
            format!(
                "Enrol {} EP11 cards in the zone.",
                self.cards_needed().saturating_sub(1 + u32::from(self.backups))
            ),
        );
        for number in 1..=self.administrators {
            step(
                ParticipantRole::Administrator,
                format!("Administrator {number} generates a signature key on a separate card."),
            );
        }
        for number in 1..=self.custodians {
            step(
                ParticipantRole::Custodian,
                format!("Custodian {number} generates a key part on a separate card and notes its pattern."),
            );
        }
        step(
            ParticipantRole::Custodian,
            "Let a card calculate the pattern of the master key from all parts; keep the signed part list."
                .to_owned(),
        );
        self.back_up(step, "Copy every card within the zone");
        self.administrators_and_thresholds(step);
        self.load_commit_activate(step);
    }

    fn with_files(&self, step: &mut impl FnMut(ParticipantRole, String)) {
        for number in 1..=self.administrators {
            step(
                ParticipantRole::Administrator,
                format!("Administrator {number} makes a signature key file with a separate password."),
            );
        }
        for number in 1..=self.custodians {
            step(
                ParticipantRole::Custodian,
                format!(
                    "Custodian {number} makes a key part file with a separate password and notes its pattern."
                ),
            );
        }
        self.back_up(step, "Copy every file to a medium of its owner");
        self.administrators_and_thresholds(step);
        self.load_commit_activate(step);
    }

    fn with_recovery_units(&self, step: &mut impl FnMut(ParticipantRole, String)) {
        for number in 1..=self.administrators {
            step(
                ParticipantRole::Administrator,
                format!("Administrator {number} makes or brings a signature key."),
            );
        }
        self.back_up(step, "Copy every signature key");
        self.administrators_and_thresholds(step);
        step(ParticipantRole::Administrator, "Generate a random master key in one recovery unit.".to_owned());
        step(
            ParticipantRole::Operator,
            "Note the pattern of the master key that the recovery unit reports.".to_owned(),
        );
        for unit in &self.units {
            step(
                ParticipantRole::Administrator,
                format!(
                    "Unless {unit} is that unit: transfer the master key to it, commit with {} signatures, activate.",
                    self.signature_threshold
                ),
            );
        }
    }

    fn back_up(&self, step: &mut impl FnMut(ParticipantRole, String), how: &str) {
        if self.backups > 0 {
            step(
                ParticipantRole::Custodian,
                format!("{how}, {} time(s), before anything is used.", self.backups),
            );
        }
    }

    fn administrators_and_thresholds(&self, step: &mut impl FnMut(ParticipantRole, String)) {
        for unit in &self.units {
            step(
                ParticipantRole::Administrator,
                format!("Add {} administrators to {unit}.", self.administrators),
            );
            step(
                ParticipantRole::Administrator,
                format!(
                    "Set the thresholds of {unit} to {} (signature) and {} (revocation); it leaves imprint mode.",
                    self.signature_threshold, self.revocation_threshold
                ),
            );
        }
    }

    fn load_commit_activate(&self, step: &mut impl FnMut(ParticipantRole, String)) {
        for unit in &self.units {
            step(
                ParticipantRole::Custodian,
                format!("Load {} key parts into {unit}; one administrator signs.", self.custodians),
            );
            step(
                ParticipantRole::Witness,
                format!(
                    "Compare the pattern in the new register of {unit} with the one calculated from the parts."
                ),
            );
            step(
                ParticipantRole::Administrator,
                format!("Commit in {unit} with {} signatures.", self.signature_threshold),
            );
        }
        for unit in &self.units {
            step(ParticipantRole::Administrator, format!("Activate in {unit}."));
        }
    }

    fn after(&self, step: &mut impl FnMut(ParticipantRole, String)) {
        step(
            ParticipantRole::Witness,
            "Compare all units: same administrators, thresholds, control points and patterns.".to_owned(),
        );
        step(
            ParticipantRole::Custodian,
            "Each owner takes their cards or files and locks them away.".to_owned(),
        );
        step(ParticipantRole::Operator, "Close the record, let administrators sign it, print it.".to_owned());
        step(ParticipantRole::Witness, "Sign the printed record and its last hash.".to_owned());
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
            "\nThresholds: {} signatures, {} for the removal of an administrator.\n",
            self.signature_threshold, self.revocation_threshold
        )?;
        writeln!(out, "## People\n\n| role | name | identity checked by | signature |\n|---|---|---|---|")?;
        let roles = [
            (ParticipantRole::Operator, 1),
            (ParticipantRole::Administrator, self.administrators),
            (ParticipantRole::Custodian, self.custodians),
            (ParticipantRole::Witness, self.witnesses),
        ];
        for (role, number) in roles {
            for n in 1..=number {
                writeln!(out, "| {role} {n} | | | |")?;
            }
        }
        writeln!(out, "\n## To bring\n")?;
        match self.method {
            KeyMethod::SmartCards => writeln!(out, "- {} smart cards and two readers", self.cards_needed())?,
            KeyMethod::KeyPartFiles => writeln!(
                out,
                "- a workstation that is connected to the service only, and a storage medium per owner"
            )?,
            KeyMethod::RecoveryUnits => writeln!(out, "- the signature keys of all administrators")?,
        }
        writeln!(out, "- tamper-evident envelopes, and this script in print\n")?;
        writeln!(out, "Do not say PINs, passwords and key parts aloud, and do not write them here.\n")?;
        writeln!(out, "## Steps\n\n| | no. | role | step | time | initials |\n|---|---|---|---|---|---|")?;
        for ScriptStep { number, who, what } in steps {
            writeln!(out, "| ☐ | {number} | {who} | {} | | |", cell(what))?;
        }
        writeln!(out, "\n## Deviations\n\n| step | deviation and reason | allowed by |\n|---|---|---|")?;
        for _ in 0..4 {
            writeln!(out, "| | | |")?;
        }
        writeln!(
            out,
            "\nLast hash of the record: ________________________________________________________________"
        )
    }
}
