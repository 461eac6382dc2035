//! What a test binary prints, counted while it runs.

use crate::shell::Outcome;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Counts of one test binary or of one crate's documentation tests.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    /// Names of failed tests.
    pub(super) failed: Vec<String>,
    /// Names of tests marked `#[ignore]`, each with its reason.
    pub(super) ignored: Vec<(String, String)>,
    /// Summary lines seen: one per binary that ended in an orderly way.
    pub(super) summaries: usize,
    in_failure_list: bool,
}

impl Counts {
    /// Takes one line of output.
    ///
    /// Lines of tests that run side by side may be torn apart by what a child process prints, so that only the summary
    /// line and the list of failures at the end count.
    pub(super) fn take(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += number_before(counts, " passed");
            self.summaries += 1;
            self.in_failure_list = false;
        } else if line == "failures:" {
            // Printed twice: before the output of failed tests, and before their names. Output follows a blank line.
            self.in_failure_list = true;
        } else if self.in_failure_list {
            match line.strip_prefix("    ") {
                // A failed test's output may be that of a test binary which it ran, with the same name in its list.
                Some(name) if self.failed.iter().any(|known| known == name) => {}
                Some(name) if !name.starts_with(' ') => self.failed.push(name.to_owned()),
                _ => self.in_failure_list = false,
            }
        } else if let Some((name, rest)) =
            line.strip_prefix("test ").and_then(|l| l.split_once(" ... ignored"))
        {
            let why = rest.strip_prefix(", ").unwrap_or("marked #[ignore]");
            self.ignored.push((name.to_owned(), why.to_owned()));
        }
    }

    /// Closes the count of one process: `label` is named as failed where it ended without a summary, or badly without a
    /// failure that has a name.
    pub(super) fn close(&mut self, label: &str, ended_well: bool) {
        if self.summaries == 0 || !ended_well && self.failed.is_empty() {
            self.failed.push(format!("{label} (ended without a complete result; see its output)"));
        }
    }
}

fn number_before(text: &str, what: &str) -> usize {
    let Some((before, _)) = text.split_once(what) else { return 0 };
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Runs `command`, shows what it prints as it comes and counts it. `label` names the whole where no test can be named.
pub(super) fn run(label: &str, command: &mut Command) -> Outcome<Counts> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|e| format!("{label}: {e}"))?;
    let mut counts = Counts::default();
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        // Tests may print what is no UTF-8.
        while lines.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            counts.take(text.trim_end());
            line.clear();
        }
    }
    let status = child.wait()?;
    counts.close(label, status.success());
    Ok(counts)
}

/// A test binary, in the environment that cargo would give it.
pub(super) fn command(executable: &Path, package: &Path) -> Command {
    let mut command = Command::new(executable);
    command.current_dir(package).env("CARGO_MANIFEST_DIR", package);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(output: &str, ended_well: bool) -> Counts {
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.take(line));
        counts.close("crash", ended_well);
        counts
    }

    #[test]
    fn a_good_run_is_counted() {
        let counts = counted(
            "\nrunning 3 tests\ntest a ... ok\ntest b ... ok\ntest c ... ignored, needs a card\n\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            true,
        );
        assert_eq!((counts.passed, counts.failed.len()), (2, 0));
        assert_eq!(counts.ignored, [("c".to_owned(), "needs a card".to_owned())]);
    }

    #[test]
    fn failures_are_named_once_and_their_output_is_not() {
        let counts = counted(
            "running 2 tests\ntest x::one ... FAILED\ntest x::two ... FAILED\n\nfailures:\n\n---- x::one stdout ----\n\
             failures:\nthread panicked\n    indented by the test\n\n\nfailures:\n    x::one\n    x::two\n\n\
             test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            false,
        );
        assert_eq!(counts.failed, ["x::one", "x::two"]);
        assert_eq!(counts.passed, 0);
    }

    #[test]
    fn a_binary_that_aborts_has_failed() {
        let counts = counted("running 2 tests\ntest a ... ok\n", false);
        assert!(matches!(&counts.failed[..], [one] if one.starts_with("crash (ended")), "{counts:?}");
    }

    #[test]
    fn a_bad_exit_after_a_good_summary_is_a_failure() {
        let counts = counted("test result: ok. 2 passed; 0 failed; 0 ignored\n", false);
        assert_eq!((counts.passed, counts.failed.len()), (2, 1));
    }
}
