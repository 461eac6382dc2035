//! The packages that cargo has chosen, and which depends on which.

use crate::shell::{Outcome, cargo, shown};
use semver::Version;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A package of the workspace, or one that it depends on.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: Version,
    /// SPDX expression.
    pub(crate) licence: Option<String>,
    /// Registry or repository; `None` for packages of the workspace.
    pub(crate) source: Option<String>,
}

/// Name, `@`, version.
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// How one package uses another.
#[derive(Clone, Debug)]
struct Edge {
    to: String,
    /// The program contains it, unless it is a macro.
    normal: bool,
    /// A build script uses it.
    build: bool,
}

/// Packages by cargo's identifiers, with their dependencies.
#[derive(Debug)]
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
    edges: BTreeMap<String, Vec<Edge>>,
    macros: BTreeSet<String>,
    wildcards: Vec<String>,
}

/// How a package takes part in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Inclusion {
    /// Its code is in the program.
    Contained,
    /// It runs during the build.
    BuildOnly,
}

impl Graph {
    /// Asks cargo for the packages of these platforms, in the versions of the lock file.
    pub(crate) fn read(targets: &[String], options: &[&str]) -> Outcome<Self> {
        let mut command = cargo(&["metadata", "--format-version", "1", "--locked"]);
        command.args(options);
        for target in targets {
            command.args(["--filter-platform", target]);
        }
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("{}: {}", shown(&command), String::from_utf8_lossy(&output.stderr)).into());
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        Self::from_metadata(&metadata).ok_or_else(|| "`cargo metadata` printed an unknown form".into())
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let described = metadata.get("packages")?.as_array()?;
        let by_id: BTreeMap<&str, &Value> =
            described.iter().filter_map(|package| Some((package.get("id")?.as_str()?, package))).collect();
        let mut edges = BTreeMap::new();
        for node in metadata.pointer("/resolve/nodes")?.as_array()? {
            let id = node.get("id")?.as_str()?;
            let package = by_id.get(id)?;
            let deps = node
                .get("deps")?
                .as_array()?
                .iter()
                .filter(|dependency| is_active(package, node, dependency));
            edges.insert(id.to_owned(), deps.map(edge).collect::<Option<Vec<_>>>()?);
        }
        let edges = reachable(edges, &by_id);
        let (mut packages, mut macros, mut wildcards) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for package in described {
            let id = package.get("id")?.as_str()?.to_owned();
            if !edges.contains_key(&id) {
                continue;
            }
            let text = |name: &str| package.get(name)?.as_str().map(str::to_owned);
            let found = Package {
                name: text("name")?,
                version: text("version")?.parse().ok()?,
                licence: text("license"),
                source: text("source"),
            };
            if found.source.is_none() {
                wildcards.extend(package.get("dependencies")?.as_array()?.iter().filter_map(|dependency| {
                    let any = dependency.get("req")?.as_str()? == "*" && dependency.get("path").is_none();
                    let name = dependency.get("name")?.as_str()?;
                    any.then(|| format!("{}: any version of {name} will do", found.name))
                }));
            }
            let kinds = package.get("targets")?.as_array()?.iter().filter_map(|t| t.get("kind")?.as_array());
            if kinds.flatten().any(|kind| kind == "proc-macro") {
                macros.insert(id.clone());
            }
            packages.insert(id, found);
        }
        Some(Self { packages, edges, macros, wildcards })
    }

    /// Packages without dependencies.
    #[cfg(test)]
    pub(super) fn of(packages: impl Iterator<Item = Package>) -> Self {
        let packages = packages.map(|package| (package.to_string(), package)).collect();
        Self { packages, edges: BTreeMap::new(), macros: BTreeSet::new(), wildcards: Vec::new() }
    }

    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Packages of the workspace that take any version of a dependency.
    pub(super) fn wildcards(&self) -> Vec<String> {
        self.wildcards.clone()
    }

    /// What goes into the program of a package of the workspace: each package with its part and what it depends on itself,
    /// by cargo's identifiers. Dependencies of tests are left out.
    pub(crate) fn contents(&self, program: &str) -> BTreeMap<&str, (Inclusion, &Package, Vec<&str>)> {
        let is_program = |package: &Package| package.name == program && package.source.is_none();
        let root = self.packages.iter().find(|(_, package)| is_program(package));
        let mut found: BTreeMap<&str, Inclusion> = BTreeMap::new();
        let mut open: Vec<(&str, Inclusion)> =
            root.map(|(id, _)| (id.as_str(), Inclusion::Contained)).into_iter().collect();
        while let Some((id, part)) = open.pop() {
            if found.get(id).is_some_and(|known| *known <= part) {
                continue;
            }
            found.insert(id, part);
            for edge in self.used_by(id) {
                let contained =
                    part == Inclusion::Contained && edge.normal && !self.macros.contains(&edge.to);
                open.push((&edge.to, if contained { Inclusion::Contained } else { Inclusion::BuildOnly }));
            }
        }
        let with_details = |(id, part): (&'_ str, Inclusion)| {
            let (id, package) = self.packages.get_key_value(id)?;
            Some((id.as_str(), (part, package, self.used_by(id).map(|edge| edge.to.as_str()).collect())))
        };
        found.into_iter().filter_map(with_details).collect()
    }

    fn used_by(&self, id: &str) -> impl Iterator<Item = &Edge> {
        self.edges.get(id).into_iter().flatten().filter(|edge| edge.normal || edge.build)
    }
}

/// Whether a dependency is used: not an optional one of which no active feature speaks. Cargo lists it all the same if a
/// feature asks for a feature of it.
fn is_active(package: &Value, node: &Value, dependency: &Value) -> bool {
    let list =
        |value: &'_ Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let library = text(dependency, "name");
    let declared = list(package, "dependencies");
    let name = |declared: &Value| match text(declared, "rename") {
        renamed if renamed.is_empty() => text(declared, "name"),
        renamed => renamed,
    };
    let mut matching =
        declared.iter().filter(|declared| name(declared).replace('-', "_") == library).peekable();
    let Some(first) = matching.peek() else { return true };
    let name = name(first);
    if matching.any(|declared| declared.get("optional").and_then(Value::as_bool) != Some(true)) {
        return true;
    }
    let active = list(node, "features");
    active.iter().filter_map(Value::as_str).any(|feature| {
        let implied = package.get("features").map(|features| list(features, feature)).unwrap_or_default();
        feature == name
            || implied.iter().filter_map(Value::as_str).any(|implied| {
                implied.strip_prefix("dep:") == Some(&name)
                    || implied.split_once('/').is_some_and(|(d, _)| d == name)
            })
    })
}

/// The part of a graph that packages of the workspace reach.
fn reachable(
    mut edges: BTreeMap<String, Vec<Edge>>,
    by_id: &BTreeMap<&str, &Value>,
) -> BTreeMap<String, Vec<Edge>> {
    let ours =
        |id: &&String| by_id.get(id.as_str()).is_some_and(|p| p.get("source").is_none_or(Value::is_null));
    let mut open: Vec<String> = edges.keys().filter(ours).cloned().collect();
    let mut found = BTreeMap::new();
    while let Some(id) = open.pop() {
        if let Some(of_one) = edges.remove(&id) {
            open.extend(of_one.iter().map(|edge| edge.to.clone()));
            found.insert(id, of_one);
        }
    }
    found
}

fn edge(dependency: &Value) -> Option<Edge> {
    let kinds = dependency.get("dep_kinds")?.as_array()?;
    let is =
        |wanted: Option<&str>| kinds.iter().any(|kind| kind.get("kind").and_then(Value::as_str) == wanted);
    let to = dependency.get("pkg")?.as_str()?.to_owned();
    Some(Edge { to, normal: is(None), build: is(Some("build")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_program_contains_neither_macros_nor_what_tests_use() {
        let package = |name: &str, kind: &str, source: Value, dependencies: Value| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source,
                   "targets": [{"kind": [kind]}], "dependencies": dependencies})
        };
        let needs = |id: &str, kind: Value| json!({"name": id, "pkg": id, "dep_kinds": [{"kind": kind}]});
        let node = |id: &str, deps: Value| json!({"id": id, "deps": deps});
        let metadata = json!({
            "packages": [
                package("program", "bin", Value::Null, json!([{"name": "loose", "req": "*"}])),
                package("library", "lib", json!("registry"), json!([
                    {"name": "any", "req": "*"}, {"name": "option", "req": "1", "optional": true},
                ])),
                package("macros", "proc-macro", json!("registry"), json!([])),
                package("parser", "lib", json!("registry"), json!([])),
                package("builder", "lib", json!("registry"), json!([])),
                package("tester", "lib", json!("registry"), json!([])),
                package("elsewhere", "lib", json!("registry"), json!([])),
                package("option", "lib", json!("registry"), json!([])),
            ],
            "resolve": {"nodes": [
                node("program", json!([needs("library", Value::Null), needs("macros", Value::Null),
                                       needs("tester", json!("dev"))])),
                node("library", json!([needs("builder", json!("build")), needs("option", Value::Null)])),
                node("option", json!([])),
                node("macros", json!([needs("parser", Value::Null)])),
                node("parser", json!([])), node("builder", json!([])), node("tester", json!([])),
            ]},
        });
        let graph = Graph::from_metadata(&metadata).unwrap();
        assert_eq!(graph.packages().count(), 6);
        assert_eq!(graph.wildcards(), ["program: any version of loose will do"]);
        let contents = graph.contents("program");
        let parts: Vec<_> = contents.iter().map(|(id, (part, ..))| (*id, *part)).collect();
        use Inclusion::{BuildOnly, Contained};
        let expected = [
            ("builder", BuildOnly),
            ("library", Contained),
            ("macros", BuildOnly),
            ("parser", BuildOnly),
            ("program", Contained),
        ];
        assert_eq!(parts, expected);
        assert_eq!(contents["program"].2, ["library", "macros"]);
    }
}
