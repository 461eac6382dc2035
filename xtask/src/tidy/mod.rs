//! Rules of the workspace that no compiler checks.

mod layers;
mod leftovers;

use crate::shell::Outcome;

/// Every rule; the first complaint of each is enough to fail.
pub(crate) fn run() -> Outcome {
    let complaints: Vec<String> = [layers::check()?, leftovers::check()?].concat();
    if complaints.is_empty() {
        eprintln!("tidy: arrows, manifests and leftovers are in order");
        return Ok(());
    }
    Err(format!("untidy:\n  {}", complaints.join("\n  ")).into())
}
