//! What can be said of the source without running it.

use crate::shell::{self, Outcome, cargo};
use crate::tidy;

/// Format, clippy, documentation, tidiness.
pub(crate) fn run() -> Outcome {
    tidy::run()?;
    shell::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    shell::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    shell::run(cargo(&["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))
}
