//! The port through which commands print and ask.

use zeroize::Zeroizing;

/// Terminal of the person who runs a command, or what stands in for it.
pub trait Console: Send + Sync {
    /// Prints the result of the command and a line end, to standard output.
    fn result(&self, text: &str);

    /// Prints a note or a warning and a line end, to standard error.
    fn note(&self, text: &str);

    /// Asks a yes-or-no question. `None` if there is no terminal to ask on.
    fn confirm(&self, question: &str) -> Option<bool>;

    /// Asks for a secret and reads one line without echo. `None` if there is no terminal to ask on.
    fn secret(&self, prompt: &str) -> Option<Zeroizing<String>>;

    /// Begins to show progress. The display ends when the value is dropped.
    fn progress(&self, label: &str, kind: ProgressKind) -> Box<dyn Progress>;
}

/// What progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressKind {
    /// A few steps that a person follows one by one; shown as lines where there is no terminal.
    Steps,
    /// Many items; shown on a terminal only.
    Items,
}

/// Progress of one command.
pub trait Progress: Send {
    /// Shows that `done` of `total` are finished, and what is in progress.
    fn update(&mut self, done: u64, total: u64, message: &str);
}
