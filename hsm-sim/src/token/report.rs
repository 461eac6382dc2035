//! What was found out, for people and for programs.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use engine_pkcs11::{ListedToken, ProbeRow, Verdict};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A line under the header and nowhere else: the rows are many and short.
const ONE_RULE: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// The findings about one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Path of the module.
    pub module: PathBuf,
    /// What the module says of itself.
    pub library: String,
    /// The token.
    pub token: ReportedToken,
    /// Everything that a unit needs, in order.
    pub findings: Vec<Finding>,
    /// Whether a unit can use the token.
    pub usable: bool,
}

/// A token by its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "PKCS #11's words")]
pub struct ReportedToken {
    pub label: String,
    pub serial: String,
    pub manufacturer: String,
    pub model: String,
    pub hardware_version: String,
    pub firmware_version: String,
    pub slot: u64,
}

/// How a token did at one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// By its standard's name.
    pub mechanism: String,
    /// By PKCS #11's.
    pub pkcs11: String,
    /// What a unit needs it for.
    pub needed_for: String,
    /// Whether the token lists it.
    pub offered: bool,
    /// `right`, `falls back`, `missing` or `wrong`.
    pub verdict: String,
    /// What a unit does instead, where it falls back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// What the token said, where it refused what it lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

impl Report {
    pub(super) fn new(module: PathBuf, library: String, token: ListedToken, rows: &[ProbeRow]) -> Self {
        let (hardware_version, firmware_version) = token.versions;
        Self {
            module,
            library,
            token: ReportedToken {
                label: token.label,
                serial: token.serial,
                manufacturer: token.manufacturer,
                model: token.model,
                hardware_version,
                firmware_version,
                slot: token.slot_id,
            },
            findings: rows.iter().map(Finding::of).collect(),
            // A token that could not be tried at all is none to use.
            usable: !rows.is_empty() && rows.iter().all(|row| row.verdict.is_enough()),
        }
    }

    /// The whole for people: the token, a table, the verdict.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(ONE_RULE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["a unit needs", "PKCS #11", "for", "offered", "verdict"]);
        for finding in &self.findings {
            table.add_row([
                finding.mechanism.clone(),
                finding.pkcs11.clone(),
                finding.needed_for.clone(),
                if finding.offered { "yes" } else { "no" }.to_owned(),
                finding.in_words(),
            ]);
        }
        let ReportedToken { label, serial, manufacturer, model, hardware_version, slot, .. } = &self.token;
        format!(
            "token `{label}`, serial `{serial}`, {model} {hardware_version} by {manufacturer}, slot {slot}\n\
             module {}: {}\n{table}\n{}",
            self.module.display(),
            self.library,
            self.verdict()
        )
    }

    /// The verdict on the whole, in a line.
    #[must_use]
    pub fn verdict(&self) -> String {
        if self.usable {
            let instead = self.findings.iter().filter(|finding| finding.instead.is_some()).count();
            return match instead {
                0 => "a unit can use this token, which does everything itself".to_owned(),
                1 => "a unit can use this token; 1 thing is done in another way".to_owned(),
                _ => format!("a unit can use this token; {instead} things are done in another way"),
            };
        }
        let named = |verdict: &str| -> Vec<&str> {
            let which = self.findings.iter().filter(|finding| finding.verdict == verdict);
            which.map(|finding| finding.mechanism.as_str()).collect()
        };
        let mut why = Vec::new();
        for (verdict, words) in [("missing", "it lacks"), ("wrong", "it answers wrongly for")] {
            let which = named(verdict);
            if !which.is_empty() {
                why.push(format!("{words} {}", which.join("; ")));
            }
        }
        if why.is_empty() {
            why.push("it went away before anything could be tried".to_owned());
        }
        format!("no unit can use this token: {}", why.join(", and "))
    }
}

impl Finding {
    fn of(row: &ProbeRow) -> Self {
        let (verdict, instead) = match &row.verdict {
            Verdict::Right => ("right", None),
            Verdict::FallsBack(instead) => ("falls back", Some((*instead).to_owned())),
            Verdict::Missing => ("missing", None),
            Verdict::Wrong => ("wrong", None),
        };
        Self {
            mechanism: row.mechanism.to_owned(),
            pkcs11: row.pkcs11.to_owned(),
            needed_for: row.needed_for.to_owned(),
            offered: row.offered,
            verdict: verdict.to_owned(),
            instead,
            said: row.said.clone(),
        }
    }

    fn in_words(&self) -> String {
        let mut words = match (&self.instead, self.verdict.as_str()) {
            (Some(instead), verdict) => format!("{verdict}: {instead}"),
            (None, "wrong") => "WRONG".to_owned(),
            (None, "missing") => "MISSING".to_owned(),
            (None, verdict) => verdict.to_owned(),
        };
        if let Some(said) = &self.said {
            words.push_str(&format!(" (the token said {said})"));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use engine_pkcs11::{ListedToken, ProbeRow, Verdict};

    fn report(verdicts: &[(&'static str, Verdict)]) -> Report {
        let token = ListedToken {
            slot_id: 7,
            slot_description: "slot".to_owned(),
            label: "core".to_owned(),
            manufacturer: "Acme".to_owned(),
            model: "Vault".to_owned(),
            versions: ("2.6".to_owned(), "1.0".to_owned()),
            serial: "0a0b".to_owned(),
            is_initialized: true,
            has_user_pin: true,
        };
        let rows: Vec<ProbeRow> = verdicts
            .iter()
            .map(|(mechanism, verdict)| ProbeRow {
                mechanism,
                pkcs11: "CKM_X",
                needed_for: "something",
                offered: true,
                verdict: verdict.clone(),
                said: matches!(verdict, Verdict::Missing).then(|| "Sign: GeneralError".to_owned()),
            })
            .collect();
        Report::new("/m.so".into(), "library".to_owned(), token, &rows)
    }

    #[test]
    fn the_verdict_names_what_is_missing_and_what_is_wrong() {
        for (verdicts, usable, words) in [
            (&[("a", Verdict::Right)] as &[_], true, "which does everything itself"),
            (&[("a", Verdict::Right), ("b", Verdict::FallsBack("by hand"))], true, "1 thing is done"),
            (&[("a", Verdict::Right), ("b", Verdict::Missing)], false, "it lacks b"),
            (&[("a", Verdict::Wrong)], false, "it answers wrongly for a"),
            (
                &[("a", Verdict::Wrong), ("b", Verdict::Missing), ("c", Verdict::Missing)],
                false,
                "it lacks b; c, and it answers wrongly for a",
            ),
            (&[], false, "it went away"),
        ] {
            let report = report(verdicts);
            assert_eq!(report.usable, usable);
            let said = report.table();
            assert!(said.lines().last().unwrap().contains(words), "{said}");
        }
    }

    #[test]
    fn the_table_says_what_is_done_instead_and_what_the_token_said() {
        let said = report(&[("a", Verdict::FallsBack("by hand")), ("b", Verdict::Missing)]).table();
        for words in
            ["falls back: by hand", "MISSING (the token said Sign: GeneralError)", "token `core`", "`0a0b`"]
        {
            assert!(said.contains(words), "{said}");
        }
    }
}
