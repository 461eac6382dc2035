//! A record as a document: Markdown for print and signature, JSON for archives.

use super::{CommandEntry, Entry, EntryKind, PartEntry, ParticipantRole, RecordText, VerifiedRecord};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    /// Whether the ceremony has ended.
    closed: bool,
    head: String,
    entries: &'a [Entry],
}

impl VerifiedRecord {
    /// The whole record as one JSON document.
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = Document {
            format: "hsm-sim ceremony record 1",
            closed: self.is_closed(),
            head: self.head.to_string(),
            entries: &self.entries,
        };
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    /// The whole record as a document for people: participants, steps, commands, and space for signatures of witnesses.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut document = String::new();
        // Formatting to a string does not fail.
        let _ = self.write(&mut document);
        document
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Some(Entry { kind: EntryKind::Opened { title, instance, steps }, .. }) = self.entries.first()
        else {
            return writeln!(out, "# Empty record");
        };
        writeln!(out, "# {}\n\nInstance: {}  ", text(title), text(instance))?;
        if let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) {
            writeln!(out, "From {} to {}, {} entries  ", first.at, last.at, self.entries.len())?;
        }
        writeln!(out, "Last hash: `{}`\n", self.head)?;
        if !self.is_closed() {
            writeln!(out, "**The ceremony has not ended, or entries at the end are missing.**\n")?;
        }
        self.write_people(out)?;
        self.write_parts(out)?;
        self.write_commands(out)?;
        self.write_steps(out, steps)?;
        self.write_remarks(out)?;
        self.write_signatures(out)
    }

    fn write_people(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## People\n\n| role | name | signature key | since |\n|---|---|---|---|")?;
        for Entry { at, kind, .. } in &self.entries {
            if let EntryKind::Present(person) = kind {
                let ski = person.ski.map_or_else(String::new, |ski| format!("`{ski}`"));
                writeln!(out, "| {} | {} | {ski} | {at} |", person.role, text(&person.name))?;
            }
        }
        Ok(())
    }

    fn write_parts(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "\n## Key parts\n\n| part | custodian | kept on | identifier | pattern |\n|---|---|---|---|---|"
        )?;
        for Entry { kind, .. } in &self.entries {
            if let EntryKind::Part(PartEntry { label, custodian, carrier, id, pattern }) = kind {
                let pattern =
                    pattern.map_or_else(|| "not shown".to_owned(), |pattern| format!("`{pattern}`"));
                let (label, custodian, carrier) = (text(label), text(custodian), text(carrier));
                writeln!(out, "| {label} | {custodian} | {carrier} | `{id}` | {pattern} |")?;
            }
        }
        for Entry { at, kind, .. } in &self.entries {
            if let EntryKind::MasterKey { pattern } = kind {
                writeln!(out, "\nPattern of the master key, calculated from the parts at {at}: `{pattern}`")?;
            }
        }
        Ok(())
    }

    fn write_commands(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n## Commands\n")?;
        writeln!(
            out,
            "| time | unit | command | counter | signed by | concerns | result |\n|---|---|---|---|---|---|---|"
        )?;
        for Entry { at, kind, .. } in &self.entries {
            let EntryKind::Command(command) = kind else { continue };
            let CommandEntry {
                unit,
                location,
                command,
                transaction_counter,
                signers,
                pattern,
                parts,
                refused,
                ..
            } = command;
            let signers: Vec<_> =
                signers.iter().map(|(name, ski)| format!("{} `{}`", text(name), text(ski))).collect();
            let mut about: Vec<_> =
                parts.iter().map(|(label, id)| format!("part {} `{id}`", text(label))).collect();
            about.extend(pattern.map(|pattern| format!("pattern `{pattern}`")));
            let outcome =
                refused.as_ref().map_or_else(|| "done".to_owned(), |why| format!("refused: {}", text(why)));
            writeln!(
                out,
                "| {at} | {unit} {} | {} | {} | {} | {} | {outcome} |",
                text(location),
                text(command),
                cell(transaction_counter),
                signers.join("<br>"),
                about.join("<br>"),
            )?;
        }
        Ok(())
    }

    fn write_steps(&self, out: &mut String, steps: &[RecordText]) -> fmt::Result {
        let mut became: BTreeMap<u32, String> = BTreeMap::new();
        for Entry { at, kind, .. } in &self.entries {
            match kind {
                EntryKind::StepDone { step, by } => became.insert(*step, format!("☑ | {} | {at}", text(by))),
                EntryKind::StepSkipped { step, reason } => {
                    became.insert(*step, format!("skipped | {} | {at}", text(reason)))
                }
                _ => None,
            };
        }
        writeln!(out, "\n## Steps\n\n| no. | step | done | by, or reason | time |\n|---|---|---|---|---|")?;
        for (number, step) in (1..).zip(steps) {
            let became = became.remove(&number).unwrap_or_else(|| "☐ | |".to_owned());
            writeln!(out, "| {number} | {} | {became} |", text(step))?;
        }
        for (number, became) in became {
            writeln!(out, "| {number} | not in the script | {became} |")?;
        }
        Ok(())
    }

    fn write_remarks(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n## Remarks\n")?;
        for Entry { at, kind, .. } in &self.entries {
            match kind {
                EntryKind::Deviation { what, allowed_by } => {
                    writeln!(out, "- {at}: **deviation**, allowed by {}: {}", text(allowed_by), text(what))?;
                }
                EntryKind::Note { text: note } => writeln!(out, "- {at}: {}", text(note))?,
                EntryKind::Reopened { dropped_bytes: 0 } => writeln!(out, "- {at}: the record was reopened")?,
                EntryKind::Reopened { dropped_bytes } => {
                    writeln!(
                        out,
                        "- {at}: the record was reopened; {dropped_bytes} bytes of an incomplete entry were dropped"
                    )?;
                }
                EntryKind::Alarm { unit, what } => {
                    writeln!(out, "- {at}: **ALARM**, crypto unit {unit}: {}", text(what))?;
                }
                EntryKind::Closed { outcome } => writeln!(out, "- {at}: **closed**: {}", text(outcome))?,
                _ => {}
            }
        }
        if self.is_torn() {
            writeln!(out, "- The last entry is incomplete: the machine failed while it was written.")?;
        }
        Ok(())
    }

    fn write_signatures(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n## Signatures\n")?;
        for Entry { at, previous, kind, .. } in &self.entries {
            if let EntryKind::Signed { name, .. } = kind {
                writeln!(out, "- {at}: {} signed all entries up to hash `{previous}`; verified", text(name))?;
            }
        }
        writeln!(out, "\nWe witnessed the ceremony as recorded here. The last hash is `{}`.\n", self.head)?;
        writeln!(out, "| role | name | date | signature |\n|---|---|---|---|")?;
        for Entry { kind, .. } in &self.entries {
            if let EntryKind::Present(person) = kind
                && matches!(person.role, ParticipantRole::Witness | ParticipantRole::Operator)
            {
                writeln!(out, "| {} | {} | | |", person.role, text(&person.name))?;
            }
        }
        Ok(())
    }
}

fn text(text: &RecordText) -> String {
    cell(text.as_str())
}

/// Escapes text for a table of Markdown.
pub(super) fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\`*_|<>[]#&~!".contains(character) {
            cell.push('\\');
        }
        cell.push(if character.is_control() { ' ' } else { character });
    }
    cell
}
