//! Checks of the source that do not run it.

use crate::shell::{self, Outcome, cargo};
use crate::{supply_chain, tidy};

/// Rules of the workspace, dependencies, format, clippy, documentation. Returns whether all hold; each is checked after a failure, too.
pub(crate) fn run() -> Outcome<bool> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    let outcomes = [
        ("rules of the workspace", tidy::run()),
        ("dependencies", supply_chain::check()),
        ("format", shell::run(&mut cargo(&["fmt", "--all", "--check"]))),
        ("clippy", shell::run(&mut cargo(&clippy))),
        ("documentation", shell::run(doc.env("RUSTDOCFLAGS", "-D warnings"))),
    ];
    let mut all_hold = true;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => eprintln!("lint: {name}: ok"),
            Err(failure) => {
                eprintln!("lint: {name}: {failure}");
                all_hold = false;
            }
        }
    }
    Ok(all_hold)
}
