//! Rules of the workspace that no compiler checks.

mod layers;
mod leftovers;
mod promises;

use crate::shell::Outcome;

/// Every rule; the first complaint of each is enough to fail.
pub(crate) fn run() -> Outcome {
    let complaints: Vec<String> = [layers::check()?, leftovers::check()?, promises::check()?].concat();
    if complaints.is_empty() {
        eprintln!("tidy: arrows, manifests, leftovers and promises are in order");
        return Ok(());
    }
    Err(format!("untidy:\n  {}", complaints.join("\n  ")).into())
}
