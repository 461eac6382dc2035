//! The terminal that customers' commands print to and ask on.

use crate::output::{self, OutputError};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use tke_cli::{Console, Progress, ProgressKind};
use wire::text::escape_line;
use zeroize::Zeroizing;

/// Standard output for results, standard error for notes and progress, the terminal for questions.
#[derive(Debug, Default)]
pub struct Terminal {
    /// Why a result was not printed: the first failure.
    failure: Mutex<Option<OutputError>>,
}

impl Terminal {
    /// Why a result was not printed; `None` if all were.
    pub(super) fn into_failure(self) -> Option<OutputError> {
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console for Terminal {
    fn result(&self, text: &str) {
        if let Err(failure) = output::print(text) {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        }
    }

    fn note(&self, text: &str) {
        output::notify(&format!("hsm-sim: {text}"));
    }

    fn confirm(&self, question: &str) -> Option<bool> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        output::ask(&format!("{question} [y/N] "));
        let mut line = String::new();
        let read = stdin.read_line(&mut line);
        Some(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"))
    }

    fn secret(&self, prompt: &str) -> Option<Zeroizing<String>> {
        rpassword::prompt_password(escape_line(prompt)).ok().map(Zeroizing::new)
    }

    fn progress(&self, label: &str, kind: ProgressKind) -> Box<dyn Progress> {
        match (kind, output::has_terminal()) {
            (_, true) => Box::new(Bar::new(label, kind)),
            (ProgressKind::Steps, false) => Box::new(Lines { last: String::new() }),
            (ProgressKind::Items, false) => Box::new(Hidden),
        }
    }
}

/// A bar on a terminal; cleared when it ends.
struct Bar(ProgressBar);

impl Bar {
    fn new(label: &str, kind: ProgressKind) -> Self {
        let template = match kind {
            ProgressKind::Steps => "{prefix} {bar:24} {pos} of {len} {msg}",
            ProgressKind::Items => "{msg} {bar:30} {pos} of {len} {prefix}, {per_sec}, {eta} to go",
        };
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::new(0);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(escape_line(label).into_owned());
        Self(bar)
    }
}

impl Progress for Bar {
    fn update(&mut self, done: u64, total: u64, message: &str) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(escape_line(message).into_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line for each step, where standard error is not a terminal.
struct Lines {
    last: String,
}

impl Progress for Lines {
    fn update(&mut self, done: u64, total: u64, message: &str) {
        if self.last != message {
            output::notify(&format!("{message}: {} of {total}", done.saturating_add(1)));
            message.clone_into(&mut self.last);
        }
    }
}

/// Nothing, for many items where standard error is not a terminal.
struct Hidden;

impl Progress for Hidden {
    fn update(&mut self, _: u64, _: u64, _: &str) {}
}
