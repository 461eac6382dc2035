//! Which code of the image can panic, by its symbols.

use super::disassembly::Disassembly;
use crate::shell::{Outcome, root, shown};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A call to a function that panics, in code of a dependency, which is never reached.
pub(super) struct Unreached {
    /// The package whose source has the call.
    pub(super) package: &'static str,
    /// The source file below the package's folder, or the folder of several; for a package of ours, the function.
    pub(super) place: &'static str,
    /// Why it is not reached.
    #[expect(dead_code, reason = "for the reader of the list")]
    pub(super) why: &'static str,
}

/// A call to a function that panics.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// The package whose source has the call.
    pub(super) package: String,
    /// The function in that source.
    pub(super) function: String,
    /// File and line.
    pub(super) place: String,
}

/// Every call to a function that panics, from code that does more than that.
///
/// The functions of `core` that end in the image's panic handler are found by following calls. A call is charged to the
/// innermost function that is not of `core`: generic code of `core` is compiled into its callers.
pub(super) fn sites(program: &Path, code: &Disassembly) -> Outcome<BTreeSet<Site>> {
    let panicking = panicking(code).ok_or("the image has no panic handler")?;
    let mut addresses = Vec::new();
    for (start, function) in &code.0 {
        if !panicking.contains(start) {
            let calls = function.calls.iter().filter(|(_, to)| panicking.contains(to));
            addresses.extend(calls.map(|(at, _)| *at));
        }
    }
    attribute(program, &addresses)
}

/// The panic handler, and what of `core` calls it and does nothing else.
fn panicking(code: &Disassembly) -> Option<BTreeSet<u64>> {
    let is_handler = |name: &str| name.ends_with("rust_begin_unwind");
    let handler = code.0.iter().find(|(_, function)| is_handler(&function.name)).map(|(start, _)| *start)?;
    let mut found = BTreeSet::from([handler]);
    loop {
        let leads_there = |start: &u64| code.called_by(*start, &[]).iter().any(|to| found.contains(to));
        let of_core = code.0.iter().filter(|(_, function)| function.name.starts_with("core::"));
        let more: Vec<u64> =
            of_core.map(|(start, _)| *start).filter(|s| !found.contains(s) && leads_there(s)).collect();
        if more.is_empty() {
            return Some(found);
        }
        found.extend(more);
    }
}

/// Asks `addr2line` of GNU binutils for the functions that are inlined at each address.
fn attribute(program: &Path, addresses: &[u64]) -> Outcome<BTreeSet<Site>> {
    let mut command = Command::new("addr2line");
    command.args(["--addresses", "--functions", "--inlines", "--demangle", "--exe"]).arg(program);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}", shown(&command)))?;
    let input: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    // It answers line by line: its output would fill the pipe while the input is still being written.
    let mut to = child.stdin.take().ok_or("addr2line has no input")?;
    let writer = std::thread::spawn(move || to.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the thread that writes to addr2line panicked")??;
    if !output.status.success() {
        return Err(format!("{} ended with {}", shown(&command), output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let blocks = text.split("\n0x").map(|block| block.lines().skip(1).collect::<Vec<_>>());
    Ok(blocks.map(|lines| charged(&lines)).collect())
}

/// The site in a block of frames, innermost first: two lines for each, the function and its place.
fn charged(lines: &[&str]) -> Site {
    let root = format!("{}/", root().display());
    let frames: Vec<(&str, &str)> =
        lines.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?))).collect();
    let of_core =
        |place: &str| place.contains("/library/core/") || place.contains("/library/compiler-builtins/");
    let (function, place) =
        frames.iter().find(|(_, place)| !of_core(place)).or(frames.first()).copied().unwrap_or_default();
    let place = place.split(" (discriminator").next().unwrap_or(place);
    // The path of a dependency: …/registry/src/INDEX/NAME-VERSION/src/…
    let dependency =
        place.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')).map(|(_, rest)| rest);
    let (package, place) = match (place.strip_prefix(&root), dependency) {
        (Some(ours), _) => {
            let (folder, file) = ours.split_once("/src/").unwrap_or((ours, ""));
            (folder.rsplit('/').next().unwrap_or(folder), file)
        }
        (None, Some(theirs)) => theirs.split_once('/').unwrap_or((theirs, "")),
        (None, None) => ("unknown", place),
    };
    let package = match package.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => package,
    };
    Site { package: package.to_owned(), function: function.to_owned(), place: place.to_owned() }
}

/// Sites that are not in the list, and entries of the list that match none.
pub(super) fn complaints(sites: &BTreeSet<Site>, unreached: &[Unreached]) -> Vec<String> {
    let matches = |entry: &Unreached, site: &Site| {
        entry.package == site.package
            && (site.place.starts_with(entry.place) || site.function.starts_with(entry.place))
    };
    let unlisted = sites.iter().filter(|site| !unreached.iter().any(|entry| matches(entry, site)));
    let mut complaints: Vec<String> = unlisted
        .map(|site| format!("{} ({}, {}) can panic", site.function, site.package, site.place))
        .collect();
    let stale = unreached.iter().filter(|entry| !sites.iter().any(|site| matches(entry, site)));
    complaints.extend(
        stale.map(|entry| format!("{} ({}) is listed and does not panic", entry.place, entry.package)),
    );
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(package: &str, function: &str, place: &str) -> Site {
        Site { package: package.to_owned(), function: function.to_owned(), place: place.to_owned() }
    }

    #[test]
    fn attack_a_new_call_to_a_panic_fails_the_gate() {
        let list = [Unreached { package: "der", place: "src/writer/slice.rs", why: "a test" }];
        let known = site("der", "write", "src/writer/slice.rs:147");
        assert_eq!(complaints(&BTreeSet::from([known]), &list), Vec::<String>::new());
        let ours = site("unit-core", "write_chain", "audit.rs:57");
        let other = site("der", "new", "src/length.rs:1");
        let complaints = complaints(&BTreeSet::from([ours, other]), &list);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(complaints.iter().any(|c| c.starts_with("write_chain (unit-core, audit.rs:57) can panic")));
        assert!(complaints.iter().any(|c| c.contains("is listed and does not panic")));
    }

    #[test]
    fn a_call_is_charged_to_the_innermost_code_that_is_not_of_core() {
        let lines = [
            "core::slice::copy_from_slice",
            "/rustc/0123/library/core/src/slice/mod.rs:9",
            "write",
            "/home/a/.cargo/registry/src/index-1/der-0.8.3/src/writer/slice.rs:147 (discriminator 2)",
            "unit_api::write",
            "/elsewhere/crates/unit-api/src/fields.rs:5",
        ];
        assert_eq!(charged(&lines), site("der", "write", "src/writer/slice.rs:147"));
        let ours = format!("{}/crates/unit-core/src/audit.rs:57", root().display());
        assert_eq!(charged(&["write_chain", &ours]), site("unit-core", "write_chain", "audit.rs:57"));
    }
}
