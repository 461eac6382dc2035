//! What this workspace is built from: licences, sources and versions of its dependencies, and what is known against them.
//!
//! `deny.toml` is the policy. cargo-deny reads it, too; the checks here need no installation and no network.

mod advisories;
mod graph;
mod licences;
mod policy;

pub(crate) use advisories::refresh;
pub(crate) use graph::{Graph, Inclusion, Package};

use crate::shell::{Outcome, root};
use policy::Policy;
use std::collections::BTreeMap;

/// Checks every rule of `deny.toml` and lists each dependency that breaks one.
pub(crate) fn check() -> Outcome {
    let policy = Policy::read(&root().join("deny.toml"))?;
    let graph = Graph::read(&policy.targets, &["--all-features"])?;
    let mut complaints = [
        licence_complaints(&policy, &graph),
        source_complaints(&policy, &graph),
        duplicate_complaints(&policy, &graph),
        graph.wildcards(),
    ]
    .concat();
    complaints.extend(advisories::check(&policy, &graph)?);
    if complaints.is_empty() {
        return Ok(());
    }
    Err(format!("\n  {}", complaints.join("\n  ")).into())
}

fn licence_complaints(policy: &Policy, graph: &Graph) -> Vec<String> {
    let permitted = |licence: &str| policy.licences.iter().any(|allowed| allowed == licence);
    let complain = |package: &Package| match &package.licence {
        None => Some(format!("{package} states no licence")),
        Some(expression) => match licences::holds(expression, &permitted) {
            Some(true) => None,
            Some(false) => Some(format!("{package}: deny.toml does not allow the licence {expression}")),
            None => Some(format!("{package}: its licence is not an SPDX expression: {expression}")),
        },
    };
    graph.packages().filter_map(complain).collect()
}

fn source_complaints(policy: &Policy, graph: &Graph) -> Vec<String> {
    let known = |source: &str| policy.registries.iter().any(|url| source == format!("registry+{url}"));
    let foreign = |package: &&Package| package.source.as_deref().is_some_and(|source| !known(source));
    let complain = |package: &Package| {
        format!("{package} is from {}, not from crates.io", package.source.as_deref().unwrap_or_default())
    };
    graph.packages().filter(foreign).map(complain).collect()
}

/// Crates in more than one version, and exceptions in `deny.toml` that are not needed any more.
fn duplicate_complaints(policy: &Policy, graph: &Graph) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in graph.packages() {
        versions.entry(&package.name).or_default().push(package);
    }
    let mut complaints = Vec::new();
    let mut needed = Vec::new();
    for (name, found) in versions {
        if found.len() > 1 {
            let skipped = |package: &Package| policy.skipped.contains(&package.to_string());
            needed.extend(found.iter().filter(|package| skipped(package)).map(ToString::to_string));
            let rest: Vec<String> =
                found.iter().filter(|package| !skipped(package)).map(ToString::to_string).collect();
            if rest.len() > 1 {
                complaints.push(format!(
                    "{name} is used in several versions: {}; update one, or list it in deny.toml with a reason",
                    rest.join(", ")
                ));
            }
        }
    }
    let unneeded = policy.skipped.iter().filter(|skipped| !needed.contains(skipped));
    complaints.extend(unneeded.map(|skipped| format!("deny.toml skips {skipped}, which is not a duplicate")));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(packages: &[(&str, &str, Option<&str>, Option<&str>)]) -> Graph {
        Graph::of(packages.iter().map(|(name, version, licence, source)| Package {
            name: (*name).to_owned(),
            version: version.parse().unwrap(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
        }))
    }

    fn policy() -> Policy {
        Policy::parse(
            r#"
            [graph]
            targets = ["x86_64-unknown-linux-gnu"]
            [advisories]
            ignore = []
            [licenses]
            allow = ["MIT", "Apache-2.0"]
            [bans]
            skip = [{ crate = "old@1.0.0", reason = "a test" }]
            [sources]
            allow-registry = ["https://crates"]
            "#,
        )
        .unwrap()
    }

    const HERE: Option<&str> = Some("registry+https://crates");

    #[test]
    fn attack_a_dependency_with_another_licence_or_source_is_refused() {
        let graph = graph(&[
            ("good", "1.0.0", Some("MIT OR GPL-3.0"), HERE),
            ("ours", "1.0.0", Some("MIT"), None),
            ("viral", "1.0.0", Some("GPL-3.0"), HERE),
            ("silent", "1.0.0", None, HERE),
            ("odd", "1.0.0", Some("MIT OR"), HERE),
            ("foreign", "1.0.0", Some("MIT"), Some("git+https://elsewhere/foreign")),
            ("mirrored", "1.0.0", Some("MIT"), Some("registry+https://mirror")),
        ]);
        let licences = licence_complaints(&policy(), &graph);
        assert_eq!(licences.len(), 3, "{licences:?}");
        for (complaint, name) in licences.iter().zip(["odd", "silent", "viral"]) {
            assert!(complaint.starts_with(name), "{complaint}");
        }
        let sources = source_complaints(&policy(), &graph);
        assert_eq!(sources.len(), 2, "{sources:?}");
    }

    #[test]
    fn attack_a_second_version_of_a_dependency_does_not_slip_in() {
        let twice = |name| [(name, "1.0.0", None, HERE), (name, "2.0.0", None, HERE)];
        assert_eq!(duplicate_complaints(&policy(), &graph(&twice("old"))), Vec::<String>::new());
        let complaints = duplicate_complaints(&policy(), &graph(&twice("new")));
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].starts_with("new is used in several versions: new@1.0.0, new@2.0.0"));
        assert!(complaints[1].contains("old@1.0.0, which is not a duplicate"));
    }
}
