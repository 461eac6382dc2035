//! Rules of the workspace that no compiler checks.

mod files;
mod layers;
mod leftovers;
mod pages;
mod prints;
mod promises;
mod tests;
mod words;

use crate::shell::{Outcome, root, target_dir};
use files::Files;
use std::collections::BTreeMap;

/// Checks every rule and lists each place that breaks one.
pub(crate) fn run() -> Outcome {
    let files = Files::read(&root())?;
    let complaints: Vec<String> = [
        layers::check()?,
        leftovers::check(&files),
        promises::check(&files),
        tests::check()?,
        pages::check(&files)?,
        prints::check(&files),
    ]
    .concat();
    announce("words", &words::check(&files))?;
    if complaints.is_empty() {
        return Ok(());
    }
    Err(format!("\n  {}", complaints.join("\n  ")).into())
}

/// Reports what a rule will forbid that does not yet: how many places there are in each folder, and a file with all.
fn announce(rule: &str, found: &[String]) -> Outcome {
    if found.is_empty() {
        return Ok(());
    }
    let list = target_dir().join(format!("lint-{rule}.txt"));
    std::fs::write(&list, found.join("\n"))?;
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for complaint in found {
        let path = complaint.split(':').next().unwrap_or_default();
        let depth = if path.starts_with("crates/") { 2 } else { 1 };
        let folder: Vec<&str> = path.split('/').take(depth).collect();
        *folders.entry(folder.join("/")).or_default() += 1;
    }
    let folders: Vec<String> = folders.iter().map(|(folder, count)| format!("{folder} {count}")).collect();
    eprintln!(
        "lint: {rule}, reported only: {} places, all in {}: {}",
        found.len(),
        list.display(),
        folders.join(", ")
    );
    Ok(())
}
