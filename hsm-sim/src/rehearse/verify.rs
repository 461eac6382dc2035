//! Checks of a report that was written earlier.

use super::assemble::agrees;
use super::chain::Chain;
use super::history::History;
use super::model::Report;
use super::seal::{self, SealKey};
use super::{FILES, HISTORY, REPORT, render};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use wire::text::{encode_hex, error_chain};

/// Result of the check of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Whether nothing is wrong.
    pub is_genuine: bool,
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Verdict of the report.
    pub verdict: String,
    /// Public key that signed it, in hexadecimal.
    pub public_key: String,
    /// What the signature does not show, for a person who relies on it.
    pub remark: String,
}

/// Why a report cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file of it cannot be read.
    #[error("{} cannot be read", .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// OS error, or why the content is no report.
        source: io::Error,
    },
}

/// Checks a report: the signature, the hashes of timeline and history, that the numbers and checks are those of the history,
/// and that the pages are those of the report. With `key`, also that this key signed it.
///
/// # Errors
/// [`VerifyError`] if a file cannot be read. What was changed is part of the result.
pub fn verify(folder: &Path, key: Option<&str>) -> Result<Verification, VerifyError> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|source| VerifyError::File { path, source })
    };
    let invalid =
        |source: serde_json::Error| VerifyError::File { path: folder.join(REPORT), source: source.into() };
    let value: Value = serde_json::from_slice(&read(REPORT)?).map_err(invalid)?;
    let mut wrong = Vec::new();
    if let Err(error) = seal::verify(&value) {
        wrong.push(error.to_string());
    }
    let report: Report = serde_json::from_value(value).map_err(invalid)?;
    wrong.extend(other_key(&report, key));
    wrong.extend(timeline(&report));
    let history = read(HISTORY)?;
    if encode_hex(&Sha256::digest(&history)) == report.evidence.history_sha256 {
        match History::from_lines(&history) {
            Ok(history) => wrong.extend(agrees(&report, &history)),
            Err(error) => wrong.push(error_chain(&error)),
        }
    } else {
        wrong.push(format!("{HISTORY} is not the file that was signed: it was changed"));
    }
    for page in render::pages(&report) {
        if read(page.name)? != page.content.as_bytes() {
            let by = &report.identity.program;
            wrong.push(format!(
                "{} is not what this program makes of {REPORT}: it was changed, or made by another program ({by})",
                page.name
            ));
        }
    }
    let remark = if key.is_some() {
        "the key that you named signed the report"
    } else if report.evidence.is_key_kept {
        "the report says by itself which key signed it: name the one that you expect with --key"
    } else {
        "the key was made for this report: it shows that the parts belong together, not who made them"
    };
    Ok(Verification {
        is_genuine: wrong.is_empty(),
        wrong,
        verdict: report.verdict.to_string(),
        public_key: report.evidence.public_key,
        remark: remark.to_owned(),
    })
}

fn other_key(report: &Report, key: Option<&str>) -> Option<String> {
    let key = key?;
    let expected = match Path::new(key).is_file().then(|| SealKey::open(Path::new(key))) {
        Some(Ok(key)) => key.public(),
        Some(Err(error)) => return Some(error_chain(&error)),
        None => key.to_ascii_lowercase(),
    };
    let found = &report.evidence.public_key;
    (expected != *found).then(|| format!("another key signed the report: {found}"))
}

fn timeline(report: &Report) -> Option<String> {
    let plan = report.plan.canonical().ok()?;
    let identity = &report.identity;
    if encode_hex(&Sha256::digest(&plan)) != identity.plan_sha256 {
        return Some("the plan is not the one whose hash the report has".to_owned());
    }
    match Chain::begin(&identity.report_id, &plan).verify(&report.timeline) {
        Err(error) => Some(error.to_string()),
        Ok(head) if head != report.evidence.chain_head => Some(
            "the timeline does not end with the hash that the report has: entries are missing".to_owned(),
        ),
        Ok(_) => None,
    }
}

impl Verification {
    /// The result as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = match self.is_genuine {
            true => format!("genuine: {} ({})", self.verdict, FILES.join(", ")),
            false => "NOT GENUINE".to_owned(),
        };
        for wrong in &self.wrong {
            text += &format!("\n  {wrong}");
        }
        text + &format!("\npublic key {}\n{}", self.public_key, self.remark)
    }
}
