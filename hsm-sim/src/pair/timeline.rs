//! What has happened to a pair, in the order of time.

use crate::files;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries that are kept; the oldest ones are forgotten first.
const MAX_ENTRIES: usize = 10_000;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When, by real time, RFC 3339 in UTC.
    pub at: String,
    /// When, by the service's clock, which commands move.
    pub clock: String,
    /// Region that it happened to, or `pair`.
    pub region: String,
    /// Kind of event, one word.
    pub event: String,
    /// The event in words.
    pub text: String,
}

/// The timeline of a pair, in a file that outlives it.
pub struct Timeline {
    kept: Mutex<Kept>,
}

struct Kept {
    entries: VecDeque<TimelineEntry>,
    file: File,
}

impl Timeline {
    /// Opens the timeline in `file`: JSON, an entry on each line. Lines that are damaged are left out.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let content = files::read_if_present(path)?.unwrap_or_default();
        let lines: Vec<&[u8]> =
            content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let mut entries: VecDeque<TimelineEntry> =
            lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let surplus = entries.len().saturating_sub(MAX_ENTRIES);
        entries.drain(..surplus);
        if entries.len() != lines.len() {
            let mut content = Vec::new();
            for entry in &entries {
                serde_json::to_writer(&mut content, entry)?;
                content.push(b'\n');
            }
            files::write_private(path, &content)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { kept: Mutex::new(Kept { entries, file }) })
    }

    /// Adds an entry.
    pub fn add(&self, entry: TimelineEntry) {
        let mut kept = self.kept();
        let mut line = serde_json::to_vec(&entry).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = kept.file.write_all(&line) {
            tracing::warn!(%error, "an event could not be written to the timeline's file");
        }
        if kept.entries.len() == MAX_ENTRIES {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    /// All entries, the oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<TimelineEntry> {
        let mut entries: Vec<_> = self.kept().entries.iter().cloned().collect();
        // Regions report late what has happened to them. Timestamps of one form sort as text.
        entries.sort_by(|one, other| one.at.cmp(&other.at));
        entries
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as it stands in timelines: milliseconds, so that all have one length.
#[must_use]
pub fn shown(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::{Timeline, TimelineEntry, shown};
    use jiff::Timestamp;

    fn entry(at: &str, event: &str) -> TimelineEntry {
        let text = |text: &str| text.to_owned();
        TimelineEntry {
            at: text(at),
            clock: text(at),
            region: text("us-east"),
            event: text(event),
            text: text("…"),
        }
    }

    #[test]
    fn a_timeline_outlives_its_process_and_damage_to_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timeline.jsonl");
        let timeline = Timeline::open(&path).unwrap();
        timeline.add(entry("2026-01-01T00:00:02.000Z", "writes"));
        // Reported late.
        timeline.add(entry("2026-01-01T00:00:01.000Z", "lost"));
        drop(timeline);
        let mut content = std::fs::read(&path).unwrap();
        content.extend(b"{\"at\": 1");
        std::fs::write(&path, content).unwrap();
        let timeline = Timeline::open(&path).unwrap();
        timeline.add(entry("2026-01-01T00:00:03.000Z", "found"));
        let events = |timeline: &Timeline| -> Vec<String> {
            timeline.entries().into_iter().map(|entry| entry.event).collect()
        };
        assert_eq!(events(&timeline), ["lost", "writes", "found"]);
        assert_eq!(events(&Timeline::open(&path).unwrap()), ["lost", "writes", "found"]);
    }

    #[test]
    fn times_have_one_length() {
        for millis in [0, 1, 999] {
            let at = Timestamp::from_millisecond(millis).unwrap();
            assert_eq!(shown(at), format!("1970-01-01T00:00:00.{millis:03}Z"));
        }
    }
}
