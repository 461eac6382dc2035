//! The timeline while it is made: chained, written to its file at once, and shown.

use super::chain::{Chain, ChainedEvent, Event, shown};
use crate::output;
use crate::pair::timeline::TimelineEntry;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wire::text::escape_line;

/// Longest line on a terminal, in characters.
const WIDTH: usize = 80;

/// The timeline while it is made.
pub(super) struct Journal {
    kept: Mutex<Kept>,
    began: Timestamp,
    screen: Screen,
}

struct Kept {
    chain: Chain,
    events: Vec<ChainedEvent>,
    file: File,
}

/// Where events are shown as they happen.
pub(super) enum Screen {
    /// Events are not shown: the output is for a program.
    Silent,
    /// Lines on standard error.
    Lines,
    /// Lines above a progress bar on a terminal.
    Bar(ProgressBar),
}

impl Screen {
    /// A progress bar on a terminal, else lines; nothing if the result is to be read by a program.
    pub(super) fn new(expected: Duration, is_silent: bool) -> Self {
        if is_silent {
            return Self::Silent;
        }
        if !output::has_terminal() {
            return Self::Lines;
        }
        let seconds = expected.as_secs().max(1);
        let bar = ProgressBar::with_draw_target(Some(seconds), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {elapsed} of about {len} s  {msg:34!}") {
            bar.set_style(style);
        }
        bar.set_draw_target(output::progress_target());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self::Bar(bar)
    }

    fn line(&self, line: &str) {
        match self {
            Self::Silent => {}
            Self::Lines => output::notify(line),
            Self::Bar(bar) => bar.println(escape_line(line)),
        }
    }
}

impl Journal {
    pub(super) fn new(chain: Chain, file: File, began: Timestamp, screen: Screen) -> Self {
        Self { kept: Mutex::new(Kept { chain, events: Vec::new(), file }), began, screen }
    }

    /// Adds an event of this moment.
    pub(super) fn note(&self, source: &str, event: &str, text: &str) {
        self.note_at(Timestamp::now(), source, event, text);
    }

    /// Adds an event of an earlier moment.
    pub(super) fn note_at(&self, at: Timestamp, source: &str, event: &str, text: &str) {
        let at_ms = at.duration_since(self.began).as_millis();
        let event = Event {
            at: shown(at),
            at_ms: i64::try_from(at_ms).unwrap_or_default(),
            source: source.to_owned(),
            event: event.to_owned(),
            text: text.to_owned(),
        };
        for line in lines(&event) {
            self.screen.line(&line);
        }
        let mut kept = self.kept();
        let chained = match kept.chain.add(event) {
            Ok(chained) => chained,
            Err(error) => {
                tracing::error!(%error, "an event has no form in JSON");
                return;
            }
        };
        if let Err(error) = write_line(&mut kept.file, &chained) {
            tracing::warn!(%error, "an event could not be written to the timeline's file");
        }
        kept.events.push(chained);
    }

    /// Adds what a pair has noted.
    pub(super) fn note_entry(&self, entry: &TimelineEntry) -> Option<Timestamp> {
        let at: Timestamp = entry.at.parse().ok()?;
        self.note_at(at, &entry.region, &entry.event, &entry.text);
        Some(at)
    }

    /// When the rehearsal began, by real time.
    pub(super) const fn began(&self) -> Timestamp {
        self.began
    }

    /// Shows what is being done and how far the rehearsal is.
    pub(super) fn show_step(&self, text: &str, done: Duration) {
        if let Screen::Bar(bar) = &self.screen {
            bar.set_message(escape_line(text).into_owned());
            bar.set_position(done.as_secs().min(bar.length().unwrap_or(u64::MAX)));
        }
    }

    /// Removes the progress bar.
    pub(super) fn end_show(&self) {
        if let Screen::Bar(bar) = &self.screen {
            bar.finish_and_clear();
        }
    }

    /// The events so far, and the last hash.
    pub(super) fn events(&self) -> (Vec<ChainedEvent>, String) {
        let kept = self.kept();
        (kept.events.clone(), kept.chain.head())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_line(file: &mut File, event: &ChainedEvent) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// An event as lines that fit a terminal; further lines are indented.
fn lines(event: &Event) -> Vec<String> {
    let Event { at_ms, source, event, text, .. } = event;
    let sign = if *at_ms < 0 { "-" } else { "" };
    let ms = at_ms.unsigned_abs();
    let head = format!("{:>9}  {source:<9}  ", format!("{sign}{}.{:03}", ms / 1000, ms % 1000));
    let mut lines = Vec::new();
    let mut line = format!("{head}{event}:");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > head.len() {
            lines.push(std::mem::replace(&mut line, " ".repeat(23)));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::{Journal, Screen, lines};
    use crate::rehearse::chain::{Chain, ChainedEvent, Event};
    use jiff::Timestamp;

    #[test]
    fn what_is_shown_fits_a_terminal() {
        let event = Event {
            at: String::new(),
            at_ms: -61_234,
            source: "us-south".to_owned(),
            event: "lost".to_owned(),
            text:
                "the other region has not been heard for twenty seconds, and the front agrees that it is lost"
                    .to_owned(),
        };
        let lines = lines(&event);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines[0].starts_with("  -61.234  us-south   lost: the other"), "{lines:?}");
    }

    #[test]
    fn the_file_has_what_the_report_gets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timeline.jsonl");
        let file = std::fs::File::create(&path).unwrap();
        let journal = Journal::new(Chain::begin("id", b"plan"), file, Timestamp::now(), Screen::Silent);
        journal.note("rehearsal", "began", "…");
        journal.note("pair", "lost", "…");
        let (events, head) = journal.events();
        let written = std::fs::read_to_string(&path).unwrap();
        let written: Vec<ChainedEvent> =
            written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(written, events);
        assert_eq!(Chain::begin("id", b"plan").verify(&written), Ok(head));
    }
}
