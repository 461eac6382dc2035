//! A record as a document: Markdown to be printed and signed, JSON to be kept and searched.

use super::{CommandEntry, Entry, Happening, PartEntry, Role, Text, VerifiedRecord};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

#[derive(Serialize)]
struct Document<'a> {
    format: &'static str,
    /// Whether the ceremony was brought to its end.
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

    /// The whole record as a document for people: who was there, what became of each step, every command, and room for
    /// the witnesses' signatures.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut document = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut document);
        document
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Some(Entry { what: Happening::Opened { title, instance, steps }, .. }) = self.entries.first()
        else {
            return writeln!(out, "# Empty record");
        };
        writeln!(out, "# {}\n\nInstance: {}  ", text(title), text(instance))?;
        if let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) {
            writeln!(out, "From {} to {}, {} entries  ", first.at, last.at, self.entries.len())?;
        }
        writeln!(out, "Last hash: `{}`\n", self.head)?;
        if !self.is_closed() {
            writeln!(
                out,
                "**The ceremony was not brought to its end, or entries at its end are missing.**\n"
            )?;
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
        for Entry { at, what, .. } in &self.entries {
            if let Happening::Present(person) = what {
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
        for Entry { what, .. } in &self.entries {
            if let Happening::Part(PartEntry { label, custodian, carrier, id, pattern }) = what {
                let pattern =
                    pattern.map_or_else(|| "not shown".to_owned(), |pattern| format!("`{pattern}`"));
                let (label, custodian, carrier) = (text(label), text(custodian), text(carrier));
                writeln!(out, "| {label} | {custodian} | {carrier} | `{id}` | {pattern} |")?;
            }
        }
        for Entry { at, what, .. } in &self.entries {
            if let Happening::MasterKey { pattern } = what {
                writeln!(out, "\nPattern of the master key, worked out from the parts at {at}: `{pattern}`")?;
            }
        }
        Ok(())
    }

    fn write_commands(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n## Commands\n")?;
        writeln!(
            out,
            "| time | unit | command | counter | signed by | about | outcome |\n|---|---|---|---|---|---|---|"
        )?;
        for Entry { at, what, .. } in &self.entries {
            let Happening::Command(command) = what else { continue };
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

    fn write_steps(&self, out: &mut String, steps: &[Text]) -> fmt::Result {
        let mut became: BTreeMap<u32, String> = BTreeMap::new();
        for Entry { at, what, .. } in &self.entries {
            match what {
                Happening::StepDone { step, by } => became.insert(*step, format!("☑ | {} | {at}", text(by))),
                Happening::StepSkipped { step, reason } => {
                    became.insert(*step, format!("left out | {} | {at}", text(reason)))
                }
                _ => None,
            };
        }
        writeln!(out, "\n## Steps\n\n| no. | step | done | by, or why not | time |\n|---|---|---|---|---|")?;
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
        for Entry { at, what, .. } in &self.entries {
            match what {
                Happening::Deviation { what, allowed_by } => {
                    writeln!(out, "- {at}: **deviation**, allowed by {}: {}", text(allowed_by), text(what))?;
                }
                Happening::Note { text: note } => writeln!(out, "- {at}: {}", text(note))?,
                Happening::Reopened { dropped_bytes: 0 } => {
                    writeln!(out, "- {at}: the record was opened again")?
                }
                Happening::Reopened { dropped_bytes } => {
                    writeln!(
                        out,
                        "- {at}: the record was opened again; {dropped_bytes} bytes of an unfinished entry were dropped"
                    )?;
                }
                Happening::Closed { outcome } => writeln!(out, "- {at}: **closed**: {}", text(outcome))?,
                _ => {}
            }
        }
        if self.is_torn() {
            writeln!(out, "- The last entry was never finished: the machine failed while it was written.")?;
        }
        Ok(())
    }

    fn write_signatures(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n## Signatures\n")?;
        for Entry { at, previous, what, .. } in &self.entries {
            if let Happening::Signed { name, .. } = what {
                writeln!(out, "- {at}: {} signed everything up to hash `{previous}`; verified", text(name))?;
            }
        }
        writeln!(out, "\nWe saw what is written here. The last hash is `{}`.\n", self.head)?;
        writeln!(out, "| role | name | date | signature |\n|---|---|---|---|")?;
        for Entry { what, .. } in &self.entries {
            if let Happening::Present(person) = what
                && matches!(person.role, Role::Witness | Role::Operator)
            {
                writeln!(out, "| {} | {} | | |", person.role, text(&person.name))?;
            }
        }
        Ok(())
    }
}

fn text(text: &Text) -> String {
    cell(text.as_str())
}

/// Text that stays text in a table of Markdown, whatever is in it.
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
