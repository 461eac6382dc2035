//! Which crate may depend on which: arrows point inward only.

use crate::shell::{Outcome, cargo};
use serde_json::Value;
use std::collections::BTreeMap;

/// Each crate with all of ours that it may depend on. What is not named here may not be.
const ARROWS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("key-wrap", &[]),
    ("engine-soft", &["engine", "key-wrap"]),
    ("unit-api", &["engine"]),
    ("unit-core", &["engine", "unit-api"]),
    ("cluster", &["unit-api"]),
    ("host", &["cluster", "unit-api"]),
    ("keystore", &[]),
    // The key service makes key specifications, which are the engine's words.
    ("kms", &["keystore", "unit-api", "engine"]),
    ("wire", &[]),
    ("server", &["kms", "host", "keystore", "unit-api", "wire"]),
    ("hsm-sim", ANYTHING),
    ("benches", ANYTHING),
    ("xtask", &[]),
];

const ANYTHING: &[&str] = &["*"];

/// Dependencies that exist for tests only are free to point outward, but not at the program.
pub(super) fn check() -> Outcome<Vec<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = arrows.get(name) else {
            complaints.push(format!("{name}: a crate without a line in xtask/src/tidy/layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if !arrows.contains_key(to) || *allowed == ANYTHING {
                continue;
            }
            if for_tests && !["hsm-sim", "benches", "xtask"].contains(&to) {
                continue;
            }
            if !allowed.contains(&to) {
                complaints.push(format!("{name} depends on {to}, against the arrows"));
            }
        }
    }
    Ok(complaints)
}
