//! Which crate may depend on which: arrows point inward only.

use crate::shell::{Outcome, cargo};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Each crate with all of ours that it may depend on. What is not named here may not be.
const ARROWS: &[(&str, &[&str])] = &[
    // Only for its conformance suite, which verifies attestation signatures.
    ("engine", &["tke-crypto"]),
    ("key-wrap", &[]),
    ("engine-soft", &["engine", "key-wrap", "tke-crypto"]),
    ("engine-pkcs11", &["engine", "key-wrap", "tke-crypto"]),
    ("unit-api", &["engine"]),
    ("tke-crypto", &["key-wrap"]),
    ("unit-core", &["engine", "unit-api", "tke-crypto"]),
    (
        "unit-server",
        &["engine", "engine-soft", "engine-pkcs11", "tke-crypto", "unit-api", "unit-core", "wire"],
    ),
    ("tke", &["unit-api", "engine", "tke-crypto", "wire"]),
    ("tke-cli", &["tke", "tke-crypto", "unit-api", "engine", "wire"]),
    ("cluster", &["unit-api"]),
    // Key specifications and mechanisms in commands are the engine's types.
    ("host", &["cluster", "unit-api", "engine"]),
    ("keystore", &[]),
    ("kms", &["keystore", "unit-api", "engine"]),
    ("regions", &[]),
    ("wire", &[]),
    ("server", &["kms", "keystore", "unit-api", "wire"]),
    // The audit log reads the certificates in administrative commands.
    ("node", &["server", "host", "kms", "keystore", "regions", "unit-api", "wire", "tke-crypto"]),
    ("xtask", &[]),
];

/// Crates that may depend on anything, each with the reason. Only each other and tests may depend on them.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("hsm-sim", "it runs, breaks and shows whole regions: services, units and the customer's tool"),
    ("benches", "it measures every layer"),
    ("unit-testkit", "a whole unit in memory, for tests and benchmarks of other crates"),
    ("constant-time", "the constant-time gate runs every crate that computes with secrets"),
];

/// Crates that run in a deployed service.
const SERVICE: &[&str] = &["cluster", "host", "keystore", "kms", "regions", "server", "node"];
const UNIT: &[&str] = &["unit-core", "unit-server", "engine-soft", "engine-pkcs11"];
const SIMULATOR: &[&str] = &["hsm-sim", "benches"];

/// A boundary that holds over any number of arrows.
struct Boundary {
    of: &'static [&'static str],
    /// Crates that none of `of` reaches.
    never: &'static [&'static [&'static str]],
    /// Whether dependencies of tests, examples and benchmarks count.
    in_tests_too: bool,
    why: &'static str,
}

const BOUNDARIES: &[Boundary] = &[
    Boundary {
        of: &["tke", "tke-cli"],
        never: &[SERVICE, SIMULATOR],
        in_tests_too: true,
        why: "the customer's side knows the service by its protocol, the crate `wire`, alone",
    },
    Boundary {
        of: &["tke", "tke-cli"],
        never: &[UNIT],
        in_tests_too: false,
        why: "the customer's side reaches crypto units through the service only",
    },
    Boundary {
        of: SERVICE,
        never: &[SIMULATOR],
        in_tests_too: true,
        why: "what a deployment runs knows nothing of the simulator",
    },
    Boundary {
        of: SERVICE,
        never: &[UNIT, &["tke", "tke-cli"]],
        in_tests_too: false,
        why: "a service knows units by their protocol and holds nothing of the customer's",
    },
    Boundary {
        of: &["engine", "key-wrap", "engine-soft", "engine-pkcs11"],
        never: &[&["unit-api", "unit-core", "unit-testkit"], SERVICE, SIMULATOR],
        in_tests_too: true,
        why: "an engine holds no piece of a unit",
    },
];

/// A dependency of one crate of ours on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    to: String,
    /// Of tests, examples and benchmarks only.
    for_tests: bool,
}

type Graph = BTreeMap<String, Vec<Dependency>>;

pub(super) fn check() -> Outcome<Vec<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]).output()?;
    Ok(complaints(&graph(&serde_json::from_slice(&output.stdout)?)))
}

fn graph(metadata: &Value) -> Graph {
    let packages: Vec<&Value> = list(metadata, "packages").collect();
    let ours: BTreeSet<&str> = packages.iter().map(|package| text(package, "name")).collect();
    let dependencies = |package: &Value| {
        let all = list(package, "dependencies").filter(|dependency| ours.contains(text(dependency, "name")));
        all.map(|dependency| Dependency {
            to: text(dependency, "name").to_owned(),
            for_tests: text(dependency, "kind") == "dev",
        })
        .collect()
    };
    packages.iter().map(|package| (text(package, "name").to_owned(), dependencies(package))).collect()
}

fn complaints(graph: &Graph) -> Vec<String> {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let is_exception = |name: &str| EXCEPTIONS.iter().any(|(exception, _)| *exception == name);
    let mut complaints = Vec::new();
    for (name, dependencies) in graph {
        if is_exception(name) {
            continue;
        }
        let Some(allowed) = arrows.get(name.as_str()) else {
            complaints.push(format!("{name}: a crate without a line in xtask/src/tidy/layers.rs"));
            continue;
        };
        // Dependencies of tests may point outward; boundaries limit them.
        for dependency in dependencies.iter().filter(|dependency| !dependency.for_tests) {
            if !allowed.contains(&dependency.to.as_str()) {
                complaints.push(format!("{name} depends on {}, against the arrows", dependency.to));
            }
        }
    }
    for boundary in BOUNDARIES {
        for of in boundary.of.iter().filter(|of| graph.contains_key(**of)) {
            let reached = reached(graph, of, boundary.in_tests_too);
            for crossed in boundary.never.iter().copied().flatten().filter(|name| reached.contains(**name)) {
                if crossed != of {
                    complaints.push(format!("{of} reaches {crossed}: {}", boundary.why));
                }
            }
        }
    }
    complaints
}

/// Every crate that `from` is built with, at any distance. Tests of other crates are not built for it.
fn reached<'a>(graph: &'a Graph, from: &str, in_tests_too: bool) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let direct = graph.get(from).into_iter().flatten().filter(|d| in_tests_too || !d.for_tests);
    let mut left: Vec<&str> = direct.map(|dependency| dependency.to.as_str()).collect();
    while let Some(name) = left.pop() {
        if reached.insert(name) {
            let further = graph.get(name).into_iter().flatten().filter(|dependency| !dependency.for_tests);
            left.extend(further.map(|dependency| dependency.to.as_str()));
        }
    }
    reached
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace in which each crate has one line: `name: dependencies; dependencies of tests`.
    fn complaints_of(lines: &[&str]) -> Vec<String> {
        let packages: Vec<Value> = lines
            .iter()
            .map(|line| {
                let (name, dependencies) = line.split_once(':').unwrap();
                let (normal, dev) = dependencies.split_once(';').unwrap_or((dependencies, ""));
                let of = |names: &str, kind: Value| -> Vec<Value> {
                    names
                        .split_whitespace()
                        .map(|name| serde_json::json!({"name": name, "kind": kind}))
                        .collect()
                };
                let all = [of(normal, Value::Null), of(dev, "dev".into())].concat();
                serde_json::json!({"name": name, "dependencies": all})
            })
            .collect();
        complaints(&graph(&serde_json::json!({ "packages": packages })))
    }

    #[track_caller]
    fn complains(lines: &[&str], about: &str) {
        let complaints = complaints_of(lines);
        assert!(complaints.iter().any(|c| c.contains(about)), "no complaint `{about}` in {complaints:?}");
    }

    #[test]
    fn arrows_inward_are_in_order() {
        let workspace = [
            "engine:",
            "key-wrap:",
            "unit-api: engine serde",
            "engine-soft: engine key-wrap",
            "tke-crypto: key-wrap",
            "unit-core: engine unit-api tke-crypto; engine-soft",
            "wire:",
            "tke: unit-api tke-crypto wire; unit-testkit",
            "tke-cli: tke wire",
            "unit-testkit: unit-core engine-soft",
            "hsm-sim: tke-cli unit-core wire",
        ];
        assert_eq!(complaints_of(&workspace), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_outward_is_found() {
        complains(&["engine: unit-api", "unit-api: engine"], "engine depends on unit-api");
        complains(&["brand-new:"], "brand-new: a crate without a line");
        // An exception may depend on anything, and nothing that is deployed on it.
        complains(&["kms: unit-testkit", "unit-testkit:"], "kms depends on unit-testkit");
    }

    #[test]
    fn a_boundary_is_not_crossed_through_a_third_crate() {
        let through = ["tke-cli: tke", "tke: wire", "wire: kms", "kms:"];
        complains(&through, "tke-cli reaches kms: the customer's side");
        complains(&["node: server", "server: hsm-sim", "hsm-sim:"], "node reaches hsm-sim");
        complains(&["host:; hsm-sim", "hsm-sim:"], "host reaches hsm-sim");
    }

    #[test]
    fn an_engine_has_no_piece_of_a_unit_in_its_tests_either() {
        complains(
            &["engine-soft:; unit-core", "unit-core:"],
            "engine-soft reaches unit-core: an engine holds no piece",
        );
        complains(
            &["engine-soft:; unit-testkit", "unit-testkit: unit-core", "unit-core:"],
            "engine-soft reaches unit-core",
        );
    }

    #[test]
    fn every_exception_has_a_reason() {
        for (name, reason) in EXCEPTIONS {
            assert!(reason.len() > 10, "{name}");
            assert!(ARROWS.iter().all(|(arrow, _)| arrow != name), "{name} has arrows as well");
        }
    }
}
