//! Rules of the workspace that no compiler checks.

mod layers;
mod leftovers;
mod promises;
mod tests;

use crate::shell::Outcome;

/// Every rule; the first complaint of each is enough to fail.
pub(crate) fn run() -> Outcome {
    let complaints: Vec<String> =
        [layers::check()?, leftovers::check()?, promises::check()?, tests::check()?].concat();
    if complaints.is_empty() {
        eprintln!("tidy: arrows, manifests, leftovers, promises and tests are in order");
        return Ok(());
    }
    Err(format!("untidy:\n  {}", complaints.join("\n  ")).into())
}
