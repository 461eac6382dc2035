//! Backups as text, at most 80 columns wide.

use super::backup_model::{BackupList, BackupReport, RestoredReport};
use node::backup::TestReport;
use std::fmt::Write as _;

/// A table of backups.
#[must_use]
pub fn backup_table(list: &BackupList) -> String {
    if list.backups.is_empty() {
        return "no backup was made yet".to_owned();
    }
    let mut text = format!("{:<40} {:>8} {:>9} {:<8} {}", "name", "keys", "KiB", "instance", "tested");
    for backup in &list.backups {
        let keys = backup.header.as_ref().map_or_else(|| "–".to_owned(), |header| header.keys.to_string());
        let instance = backup.header.as_ref().map_or("–", |header| short(&header.instance));
        let tested = match (&backup.tested, backup.problem.is_empty()) {
            (_, false) => "damaged",
            (Some(_), true) => "yes",
            (None, true) => "no",
        };
        let kib = backup.bytes.div_ceil(1024);
        // Writing to a string does not fail.
        let _ = write!(text, "\n{:<40} {keys:>8} {kib:>9} {instance:<8} {tested}", backup.name);
    }
    text
}

/// Everything about one backup.
#[must_use]
pub fn backup_text(backup: &BackupReport) -> String {
    let mut lines = vec![("name", backup.name.clone()), ("bytes", backup.bytes.to_string())];
    if !backup.problem.is_empty() {
        lines.push(("problem", backup.problem.clone()));
    }
    if let Some(header) = &backup.header {
        lines.extend([
            ("instance", header.instance.clone()),
            ("made in", header.region.clone()),
            ("made at", header.made_at.clone()),
            ("revision", header.revision.clone()),
            ("epoch", header.epoch.to_string()),
            ("keys", header.keys.to_string()),
            ("entries", header.entries.to_string()),
            ("sha256", header.sha256.clone()),
            ("master key", header.pattern.clone()),
        ]);
        lines.extend(header.next_pattern.clone().map(|next| ("or", next)));
    }
    let tested = backup.tested.as_ref().map_or_else(|| "not tested".to_owned(), test_line);
    lines.push(("tested", tested));
    let lines = lines.iter().map(|(name, value)| format!("{name:<11}{value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What a test has found.
#[must_use]
pub fn test_line(report: &TestReport) -> String {
    let TestReport { keys, versions, opened_by_units, .. } = report;
    format!("{keys} keys, {versions} versions open, {opened_by_units} of them by units")
}

/// What a restore has come to.
#[must_use]
pub fn restored_text(report: &RestoredReport) -> String {
    let line = |one: &super::backup_model::RestoredInstance| {
        let instance = short(&one.instance);
        match one.epoch {
            Some(epoch) => format!("{instance}: {} keys are served, epoch {epoch}", one.keys),
            None => format!("{instance}: locked, {} keys.\n  {}", one.keys, one.waiting_for),
        }
    };
    let lines: Vec<String> = report.restored.iter().map(line).collect();
    format!("restored into {}:\n{}", report.region, lines.join("\n"))
}

/// The first group of an instance's id.
fn short(instance: &str) -> &str {
    instance.split('-').next().unwrap_or(instance)
}

#[cfg(test)]
mod tests {
    use super::{backup_table, backup_text, restored_text};
    use crate::control::backup_model::{
        BackupList, BackupReport, HeaderReport, RestoredInstance, RestoredReport,
    };

    fn backup() -> BackupReport {
        let header = HeaderReport {
            instance: "0f0e0d0c-0b0a-4908-8706-050403020100".to_owned(),
            region: "us-south".to_owned(),
            made_at: "2026-01-01T00:00:00.123Z".to_owned(),
            revision: format!("{}-70000", "ab".repeat(16)),
            epoch: 3,
            keys: 70_000,
            entries: 150_000,
            sha256: "ab".repeat(32),
            pattern: "cd".repeat(32),
            next_pattern: Some("ef".repeat(32)),
        };
        BackupReport {
            name: "20260101T000000.123Z-000000070000.backup".to_owned(),
            path: "/backups/us-east".into(),
            bytes: 123_456_789,
            problem: String::new(),
            header: Some(header),
            tested: None,
        }
    }

    #[test]
    fn texts_fit_a_terminal() {
        let list = BackupList { backups: vec![backup(), BackupReport { header: None, ..backup() }] };
        let restored = RestoredReport {
            region: "us-east".to_owned(),
            restored: vec![RestoredInstance {
                instance: "0f0e0d0c-0b0a-4908-8706-050403020100".to_owned(),
                from: "/b".into(),
                epoch: Some(4),
                keys: 70_000,
                waiting_for: String::new(),
            }],
        };
        for text in [backup_table(&list), backup_text(&backup()), restored_text(&restored)] {
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
        assert!(restored_text(&restored).contains("0f0e0d0c: 70000 keys are served, epoch 4"));
        assert!(backup_table(&BackupList { backups: Vec::new() }).contains("no backup"));
    }
}
