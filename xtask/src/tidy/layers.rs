//! Which crate may depend on which: arrows point inward only.

use crate::shell::{Outcome, cargo};
use serde_json::Value;
use std::collections::BTreeMap;

/// Each crate with all of ours that it may depend on. What is not named here may not be.
const ARROWS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("key-wrap", &[]),
    ("engine-soft", &["engine", "key-wrap"]),
    ("engine-pkcs11", &["engine", "key-wrap"]),
    ("unit-api", &["engine"]),
    ("tke-crypto", &["key-wrap"]),
    ("unit-core", &["engine", "unit-api", "tke-crypto"]),
    ("unit-server", &["unit-core", "unit-api", "engine", "engine-soft", "engine-pkcs11", "tke-crypto"]),
    ("tke", &["unit-api", "engine", "tke-crypto"]),
    ("cluster", &["unit-api"]),
    // For tests and benchmarks alone.
    ("bench-unit", &["engine", "engine-soft", "tke-crypto", "unit-api", "unit-core"]),
    // Key specifications and mechanisms in commands are the engine's words.
    ("host", &["cluster", "unit-api", "engine"]),
    ("keystore", &[]),
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
    for package in list(&metadata, "packages") {
        let name = text(package, "name");
        let Some(allowed) = arrows.get(name) else {
            complaints.push(format!("{name}: a crate without a line in xtask/src/tidy/layers.rs"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let to = text(dependency, "name");
            let for_tests = text(dependency, "kind") == "dev";
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

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
