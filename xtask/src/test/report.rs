//! The summary that closes a run of the tests.

use std::fmt::Write;
use std::time::Duration;

/// A test or check that did not run.
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    pub(crate) name: String,
    pub(crate) why: String,
    /// Whether the run may succeed without it: what it needs cannot be installed on every machine.
    pub(crate) tolerated: bool,
}

/// Result of one part of a run: a suite, or the build before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) passed: usize,
    /// Names of failed tests and checks.
    pub(crate) failed: Vec<String>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) took: Duration,
}

impl Part {
    pub(crate) fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn fail(&mut self, name: impl Into<String>) {
        self.failed.push(name.into());
    }

    pub(crate) fn skip(&mut self, name: impl Into<String>, why: impl Into<String>, tolerated: bool) {
        self.skipped.push(Skipped { name: name.into(), why: why.into(), tolerated });
    }

    /// Counts a check that either holds or says why not.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.pass(),
            Err(why) => {
                eprintln!("{name}: {why}");
                self.fail(name);
            }
        }
    }
}

/// Whether a run with these parts succeeded: no failure, and nothing skipped but what is tolerated.
pub(super) fn succeeded(parts: &[Part]) -> bool {
    parts.iter().all(|part| part.failed.is_empty() && part.skipped.iter().all(|skipped| skipped.tolerated))
}

/// A table of the parts, the names of what failed or was skipped, and the totals alone on the last line.
pub(super) fn summary(parts: &[Part], took: Duration) -> String {
    let mut text = String::from("\nsummary\n");
    let _ = writeln!(text, "  {:<12} {:>7} {:>7} {:>8} {:>9}", "part", "passed", "failed", "skipped", "time");
    let mut row = |name: &str, [passed, failed, skipped]: [usize; 3], took: Duration| {
        let _ = writeln!(text, "  {name:<12} {passed:>7} {failed:>7} {skipped:>8} {:>9}", shown(took));
    };
    let mut total = [0; 3];
    for part in parts {
        let counts = [part.passed, part.failed.len(), part.skipped.len()];
        row(part.name, counts, part.took);
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    row("total", total, took);
    if parts.iter().any(|part| !part.failed.is_empty()) {
        text += "\nfailed\n";
        for (part, name) in
            parts.iter().flat_map(|part| part.failed.iter().map(move |name| (part.name, name)))
        {
            let _ = writeln!(text, "  {part}: {name}");
        }
    }
    if parts.iter().any(|part| !part.skipped.is_empty()) {
        text += "\nskipped\n";
        for (part, skipped) in parts.iter().flat_map(|part| part.skipped.iter().map(move |s| (part.name, s)))
        {
            let _ = writeln!(text, "  {part}: {}: {}", skipped.name, skipped.why);
        }
    }
    let [passed, failed, skipped] = total;
    let _ = write!(text, "\n{passed} passed, {failed} failed, {skipped} skipped\n");
    text
}

fn shown(took: Duration) -> String {
    let seconds = took.as_secs();
    format!("{}m {:02}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        let mut ring = Part { passed: 40, took: Duration::from_secs(61), ..Part::named("ring") };
        ring.fail("kat::aes");
        let mut no_std = Part::named("no-std");
        no_std.pass();
        no_std.skip("bare metal", "the target cannot be added", true);
        vec![ring, no_std]
    }

    #[test]
    fn the_last_line_has_the_totals_alone() {
        let text = summary(&parts(), Duration::from_secs(70));
        assert_eq!(text.lines().last(), Some("41 passed, 1 failed, 1 skipped"));
        assert!(text.contains("  ring: kat::aes\n"), "{text}");
        assert!(text.contains("  no-std: bare metal: the target cannot be added\n"), "{text}");
        assert!(text.contains("1m 01s") && text.contains("1m 10s"), "{text}");
    }

    #[test]
    fn a_failure_or_an_unexpected_skip_fails_the_run() {
        let mut all = parts();
        assert!(!succeeded(&all));
        all.remove(0);
        assert!(succeeded(&all));
        all.first_mut().unwrap().skip("e2e", "there is no SoftHSM on this machine", false);
        assert!(!succeeded(&all));
    }
}
