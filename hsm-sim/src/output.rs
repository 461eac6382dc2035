//! Standard output and standard error: the only module of the program that prints.
//!
//! Names and messages in what is printed may come from outside: from a service, a file or a unit. Characters that would
//! command the terminal or reorder text are shown as escapes.
//!
//! | what happens | the command | exit status |
//! |---|---|---|
//! | the reader of standard output has gone (`hsm-sim status \| head -0`) | ends quietly | 141, as a shell reports a death by SIGPIPE; 1 if the command failed anyway |
//! | standard output cannot be written for another reason, such as a full disk | ends with a message | 1 |
//! | the reader of standard error has gone | goes on | its own |

use indicatif::ProgressDrawTarget;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use wire::text::{error_chain, escape_lines};

/// Exit status of a command whose reader has gone: 128 + SIGPIPE.
pub const EXIT_CLOSED_PIPE: u8 = 141;

/// Why a result could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The reader of standard output has gone.
    #[error("the reader of standard output has gone")]
    Closed,
    /// Standard output cannot be written.
    #[error("standard output cannot be written")]
    Failed(#[source] io::Error),
}

/// Prints the result of a command and a line end, to standard output.
///
/// # Errors
/// [`OutputError`]; part of the text may have been written.
pub fn print(text: &str) -> Result<(), OutputError> {
    write_line(&mut io::stdout().lock(), text)
}

/// Prints the result of a command and returns the command's exit status.
///
/// # Errors
/// [`OutputError`]; not [`OutputError::Closed`] for a command that failed, whose status stays 1.
pub fn finish(text: &str, succeeded: bool) -> Result<ExitCode, OutputError> {
    match print(text) {
        Ok(()) if succeeded => Ok(ExitCode::SUCCESS),
        Err(e) if succeeded || !matches!(e, OutputError::Closed) => Err(e),
        Ok(()) | Err(_) => Ok(ExitCode::FAILURE),
    }
}

/// Prints a message and a line end to standard error. A write failure is ignored.
pub fn notify(text: &str) {
    let _ = write_line(&mut io::stderr().lock(), text);
}

/// Prints a question without a line end, to standard error.
pub fn ask(question: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(escape_lines(question).as_bytes()).and_then(|()| out.flush());
}

/// Whether standard error is a terminal, on which progress can be drawn.
#[must_use]
pub fn has_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Standard error as the place on which progress is drawn.
pub(crate) fn progress_target() -> ProgressDrawTarget {
    ProgressDrawTarget::stderr()
}

/// Standard output as the channel on which a unit process answers the region that supervises it.
pub(crate) fn answers() -> impl Write {
    io::stdout()
}

/// Standard error as the sink of logs, whether or not it has a reader.
pub(crate) struct LogSink;

impl Write for LogSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line that has no reader is no reason to stop.
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints why the program fails, unless the reader of its output has gone, and returns its exit status.
#[must_use]
pub fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::from(EXIT_CLOSED_PIPE);
    }
    notify(&format!("hsm-sim: {}", error_chain(error)));
    ExitCode::FAILURE
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(OutputError::Closed)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn write_line(out: &mut impl Write, text: &str) -> Result<(), OutputError> {
    let written = out.write_all(escape_lines(text).as_bytes()).and_then(|()| out.write_all(b"\n"));
    written.and_then(|()| out.flush()).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Failed(e),
    })
}

#[cfg(test)]
mod tests {
    use super::{OutputError, is_closed_pipe, write_line};
    use std::io::{self, Write};

    /// Takes nothing, for one reason.
    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_told_apart_from_a_full_disk() {
        let written = |kind| write_line(&mut Refusing(kind), "text").unwrap_err();
        assert!(matches!(written(io::ErrorKind::BrokenPipe), OutputError::Closed));
        assert!(matches!(written(io::ErrorKind::StorageFull), OutputError::Failed(_)));
    }

    #[test]
    fn a_closed_pipe_is_found_among_the_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the command failed")]
        struct Outer(#[source] OutputError);
        assert!(is_closed_pipe(&Outer(OutputError::Closed)));
        assert!(!is_closed_pipe(&Outer(OutputError::Failed(io::ErrorKind::StorageFull.into()))));
    }

    #[test]
    fn attack_text_from_outside_does_not_command_the_terminal() {
        let mut out = Vec::new();
        // Erases the line and shows another one; C1 and bidirectional controls do the like.
        write_line(&mut out, "unit 1: zeroize\u{1b}[2K\runit 1: query\u{9b}2K\u{202e}\tx\ny").unwrap();
        let shown = "unit 1: zeroize\\u001b[2K\\u000dunit 1: query\\u009b2K\\u202e\tx\ny\n";
        assert_eq!(String::from_utf8(out).unwrap(), shown);
    }

    #[test]
    fn a_line_is_written_whole() {
        let mut out = Vec::new();
        write_line(&mut out, "two\nlines").unwrap();
        assert_eq!(out, b"two\nlines\n");
    }
}
