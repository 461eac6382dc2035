//! Rules of the workspace that no compiler checks.

mod files;
mod layers;
mod leftovers;
mod pages;
mod prints;
mod promises;
mod tests;
mod threats;
mod words;

use crate::shell::{Outcome, root};
use files::Files;

/// Checks every rule and lists each place that breaks one.
pub(crate) fn run() -> Outcome {
    let files = Files::read(&root())?;
    let complaints: Vec<String> = [
        layers::check()?,
        leftovers::check(&files),
        promises::check(&files),
        tests::check()?,
        threats::check(&files),
        pages::check(&files)?,
        words::check(&files),
        prints::check(&files),
    ]
    .concat();
    if complaints.is_empty() {
        return Ok(());
    }
    Err(format!("\n  {}", complaints.join("\n  ")).into())
}
