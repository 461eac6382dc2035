//! Marking of secrets, and counting of memcheck's reports.

use crabgrind::memcheck::{MemState, mark_memory};
use crabgrind::valgrind::{RunningMode, count_errors, running_mode};
use std::cell::Cell;
use std::hint::black_box;

/// An operation to check.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Number of expected reports: one for each branch on a verdict that a dependency makes public. The second is that of
    /// another build, in which the optimiser leaves more of the same branches.
    verdicts: [usize; 2],
    run: Box<dyn Fn()>,
}

impl Case {
    /// A case in which every report is a leak.
    pub(crate) fn silent(name: impl Into<String>, run: impl Fn() + 'static) -> Self {
        Self::with_verdicts(name, 0, run)
    }

    /// A case with this number of expected reports.
    pub(crate) fn with_verdicts(name: impl Into<String>, verdicts: usize, run: impl Fn() + 'static) -> Self {
        Self { name: name.into(), verdicts: [verdicts; 2], run: Box::new(run) }
    }

    /// The same, with this number of expected reports in another build.
    pub(crate) fn or(self, verdicts: usize) -> Self {
        Self { verdicts: [self.verdicts[0], verdicts], ..self }
    }

    /// Whether the case has a planted leak and must be red.
    pub(crate) fn is_canary(&self) -> bool {
        self.name.starts_with("canary_")
    }

    /// Runs the case, prints the result, and returns whether the number of reports is not the expected one.
    pub(crate) fn is_red(&self) -> bool {
        let before = count_errors();
        SET_UP.set(0);
        (self.run)();
        let reports = count_errors() - before - SET_UP.get();
        let is_expected = self.verdicts.contains(&reports);
        let colour = if is_expected { "green" } else { "RED" };
        println!("{colour:5} {} {reports} reports, {} verdicts", self.name, self.verdicts[0]);
        !is_expected
    }
}

thread_local! {
    /// Reports during the set-up of a case.
    static SET_UP: Cell<usize> = const { Cell::new(0) };
}

/// Runs the set-up of a case, whose reports do not count. May be nested.
pub(crate) fn set_up<T>(work: impl FnOnce() -> T) -> T {
    let (before, reported) = (count_errors(), SET_UP.get());
    let done = work();
    // Includes the reports of nested set-ups, once.
    SET_UP.set(reported + count_errors() - before);
    done
}

/// Whether the program runs under valgrind.
pub(crate) fn under_valgrind() -> bool {
    running_mode() != RunningMode::Native
}

/// Marks a value as secret. It takes the value itself, because a copy that the compiler made before would stay unmarked.
pub(crate) fn secret<T: Copy>(mut value: T) -> T {
    mark_memory((&raw mut value).cast(), size_of::<T>(), MemState::Undefined).unwrap();
    black_box(value)
}

/// Marks a value as public: a verdict, or a result that a case then compares.
pub(crate) fn public<T: Copy>(mut value: T) -> T {
    mark_memory((&raw mut value).cast(), size_of::<T>(), MemState::Defined).unwrap();
    black_box(value)
}

/// [`secret`] for a slice.
pub(crate) fn secret_bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| secret(*byte)).collect()
}

/// [`public`] for a slice.
pub(crate) fn public_bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| public(*byte)).collect()
}
