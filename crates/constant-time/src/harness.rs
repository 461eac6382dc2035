//! Marking, and counting what memcheck saw.

use crabgrind::memcheck::{MemState, mark_memory};
use crabgrind::valgrind::{RunningMode, count_errors, running_mode};
use std::cell::Cell;
use std::hint::black_box;

/// An operation under check.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Reports that are expected: one for each branch on a verdict that the operation itself makes public.
    verdicts: usize,
    run: Box<dyn Fn()>,
}

impl Case {
    /// A case of which every report is a leak.
    pub(crate) fn silent(name: impl Into<String>, run: impl Fn() + 'static) -> Self {
        Self::with_verdicts(name, 0, run)
    }

    /// A case that makes this many verdicts public.
    pub(crate) fn with_verdicts(name: impl Into<String>, verdicts: usize, run: impl Fn() + 'static) -> Self {
        Self { name: name.into(), verdicts, run: Box::new(run) }
    }

    /// Whether the case must be red: a leak was planted.
    pub(crate) fn is_canary(&self) -> bool {
        self.name.starts_with("canary_")
    }

    /// Runs the case and says whether memcheck saw anything but its verdicts.
    pub(crate) fn is_red(&self) -> bool {
        let before = count_errors();
        SET_UP.set(0);
        (self.run)();
        let reports = count_errors() - before - SET_UP.get();
        let colour = if reports == self.verdicts { "green" } else { "RED" };
        println!("{colour:5} {} {reports} reports, {} verdicts", self.name, self.verdicts);
        reports != self.verdicts
    }
}

thread_local! {
    /// Reports that were made while a case was set up.
    static SET_UP: Cell<usize> = const { Cell::new(0) };
}

/// Does what a case needs and is not about: what is reported meanwhile is another case's to look at. May be nested.
pub(crate) fn set_up<T>(work: impl FnOnce() -> T) -> T {
    let (before, reported) = (count_errors(), SET_UP.get());
    let done = work();
    // What was set up inside is counted here as well, and once.
    SET_UP.set(reported + count_errors() - before);
    done
}

/// Whether anybody is watching.
pub(crate) fn under_valgrind() -> bool {
    running_mode() != RunningMode::Native
}

/// Marks a value as secret. By value: a copy made before the marking, which the compiler may prefer, stays unmarked.
pub(crate) fn secret<T: Copy>(mut value: T) -> T {
    mark_memory((&raw mut value).cast(), size_of::<T>(), MemState::Undefined).unwrap();
    black_box(value)
}

/// Declares a value public. For verdicts, and for results that a case then compares; nothing else.
pub(crate) fn public<T: Copy>(mut value: T) -> T {
    mark_memory((&raw mut value).cast(), size_of::<T>(), MemState::Defined).unwrap();
    black_box(value)
}

/// [`secret`], for bytes whose number is not known before.
pub(crate) fn secret_bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| secret(*byte)).collect()
}

/// [`public`], for bytes whose number is not known before.
pub(crate) fn public_bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| public(*byte)).collect()
}
