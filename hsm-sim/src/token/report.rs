//! The report of a probe, as a table or JSON.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use engine_pkcs11::{ListedToken, ProbeRow, Verdict, pin_holder_rights};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A line below the header and below the last row.
const ONE_RULE: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// The results for one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Path of the module.
    pub module: PathBuf,
    /// Description, version and manufacturer of the module.
    pub library: String,
    /// The token, as its module describes it.
    pub token: ReportedToken,
    /// One finding for everything that a unit needs.
    pub findings: Vec<Finding>,
    /// Whether a unit can use the token.
    pub usable: bool,
    /// What a holder of the token's PIN can do without the unit.
    #[serde(default)]
    pub pin_holder_rights: Vec<String>,
}

/// Fields of the token's `CK_TOKEN_INFO`, and its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields have the names of PKCS #11")]
pub struct ReportedToken {
    pub label: String,
    pub serial: String,
    pub manufacturer: String,
    pub model: String,
    pub hardware_version: String,
    pub firmware_version: String,
    pub slot: u64,
}

/// The result of one probe case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the mechanism or property in its standard.
    pub mechanism: String,
    /// Its PKCS #11 mechanism, function or attributes.
    pub pkcs11: String,
    /// What a unit needs it for.
    pub needed_for: String,
    /// Whether the token lists the mechanism.
    pub offered: bool,
    /// `right`, `falls back`, `missing` or `wrong`.
    pub verdict: String,
    /// What a unit does instead, if the verdict is `falls back`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// The token's error, if it refused a mechanism that it lists.
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
            // No rows means that the token was lost before the first case.
            usable: !rows.is_empty() && rows.iter().all(|row| row.verdict.is_usable()),
            pin_holder_rights: pin_holder_rights(rows).into_iter().map(str::to_owned).collect(),
        }
    }

    /// The report as text: the token, the table, the verdict.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(ONE_RULE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["mechanism", "PKCS #11", "needed for", "offered", "result"]);
        for finding in &self.findings {
            table.add_row([
                finding.mechanism.clone(),
                finding.pkcs11.clone(),
                finding.needed_for.clone(),
                if finding.offered { "yes" } else { "no" }.to_owned(),
                finding.result_text(),
            ]);
        }
        let ReportedToken { label, serial, manufacturer, model, hardware_version, slot, .. } = &self.token;
        format!(
            "token `{label}`, serial `{serial}`, {model} {hardware_version} by {manufacturer}, slot {slot}\n\
             module {}: {}\n{table}\nwho has the token's PIN can:\n- {}\n{}",
            self.module.display(),
            self.library,
            self.pin_holder_rights.join("\n- "),
            self.verdict()
        )
    }

    /// One line: whether a unit can use the token, and why not.
    #[must_use]
    pub fn verdict(&self) -> String {
        if self.usable {
            let fallbacks = self.findings.iter().filter(|finding| finding.instead.is_some()).count();
            return match fallbacks {
                0 => "a unit can use this token; it supports everything itself".to_owned(),
                1 => "a unit can use this token, with 1 fallback".to_owned(),
                _ => format!("a unit can use this token, with {fallbacks} fallbacks"),
            };
        }
        let mut reasons = Vec::new();
        for (verdict, text) in [("missing", "it lacks"), ("wrong", "it returns wrong results for")] {
            let findings = self.findings.iter().filter(|finding| finding.verdict == verdict);
            let names: Vec<&str> = findings.map(|finding| finding.mechanism.as_str()).collect();
            if !names.is_empty() {
                reasons.push(format!("{text} {}", names.join("; ")));
            }
        }
        if reasons.is_empty() {
            reasons.push("it was lost before it could be tested".to_owned());
        }
        format!("no unit can use this token: {}", reasons.join(", and "))
    }
}

impl Finding {
    fn of(row: &ProbeRow) -> Self {
        let (verdict, instead) = match &row.verdict {
            Verdict::Supported => ("right", None),
            Verdict::Fallback(fallback) => ("falls back", Some((*fallback).to_owned())),
            Verdict::Missing => ("missing", None),
            Verdict::WrongResult => ("wrong", None),
        };
        Self {
            mechanism: row.mechanism.to_owned(),
            pkcs11: row.pkcs11.to_owned(),
            needed_for: row.needed_for.to_owned(),
            offered: row.offered,
            verdict: verdict.to_owned(),
            instead,
            said: row.token_error.clone(),
        }
    }

    fn result_text(&self) -> String {
        let mut text = match (&self.instead, self.verdict.as_str()) {
            (Some(fallback), _) => format!("fallback: {fallback}"),
            (None, "wrong") => "WRONG RESULT".to_owned(),
            (None, "missing") => "MISSING".to_owned(),
            (None, _) => "supported".to_owned(),
        };
        if let Some(error) = &self.said {
            text.push_str(&format!(" ({error})"));
        }
        text
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
                token_error: matches!(verdict, Verdict::Missing).then(|| "Sign: GeneralError".to_owned()),
            })
            .collect();
        Report::new("/m.so".into(), "library".to_owned(), token, &rows)
    }

    #[test]
    fn the_verdict_names_missing_and_wrong_mechanisms() {
        for (verdicts, usable, text) in [
            (&[("a", Verdict::Supported)] as &[_], true, "it supports everything itself"),
            (&[("a", Verdict::Supported), ("b", Verdict::Fallback("in software"))], true, "with 1 fallback"),
            (&[("a", Verdict::Supported), ("b", Verdict::Missing)], false, "it lacks b"),
            (&[("a", Verdict::WrongResult)], false, "it returns wrong results for a"),
            (
                &[("a", Verdict::WrongResult), ("b", Verdict::Missing), ("c", Verdict::Missing)],
                false,
                "it lacks b; c, and it returns wrong results for a",
            ),
            (&[], false, "it was lost"),
        ] {
            let report = report(verdicts);
            assert_eq!(report.usable, usable);
            let table = report.table();
            assert!(table.lines().last().unwrap().contains(text), "{table}");
        }
    }

    #[test]
    fn the_table_has_fallbacks_and_token_errors() {
        let table = report(&[("a", Verdict::Fallback("in software")), ("b", Verdict::Missing)]).table();
        for text in [
            "fallback: in software",
            "MISSING (Sign: GeneralError)",
            "token `core`",
            "`0a0b`",
            "who has the token's PIN can:\n- destroy the unit's keys\n- sign as the unit's module\n",
        ] {
            assert!(table.contains(text), "{table}");
        }
    }
}
