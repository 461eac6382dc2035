//! Advisories of the RustSec database about crates of the lock file, from a copy in the repository.

use super::policy::Policy;
use super::{Graph, Package};
use crate::shell::{self, Outcome, root, target_dir};
use semver::VersionReq;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use toml::Table;

/// The copy: advisories about crates that the lock file had when it was made.
const COPY: &str = "fixtures/advisories.json";
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

/// One advisory, as far as it decides whether a version is affected.
struct Advisory {
    id: String,
    package: String,
    title: String,
    /// Version requirements of which one has to match.
    unaffected: Vec<VersionReq>,
}

impl Advisory {
    fn affects(&self, package: &Package) -> bool {
        self.package == package.name
            && !self.unaffected.iter().any(|versions| versions.matches(&package.version))
    }
}

/// Packages that an advisory is about, and exceptions in `deny.toml` that are not needed any more. Says of how many
/// packages the copy does not know: they cannot be looked up without a network, so that this is no failure.
pub(super) fn check(policy: &Policy, graph: &Graph) -> Outcome<Vec<String>> {
    let path = root().join(COPY);
    let text =
        fs::read_to_string(&path).map_err(|e| format!("{COPY}: {e}; `cargo xtask advisories` makes it"))?;
    let copy: Value = serde_json::from_str(&text).map_err(|e| format!("{COPY}: {e}"))?;
    let unknown = not_looked_up(graph, &copy);
    if !unknown.is_empty() {
        eprintln!(
            "dependencies: {COPY} does not say whether there are advisories about {} of them; `cargo xtask advisories` \
             makes it again and needs a network",
            unknown.len()
        );
    }
    complaints(&policy.ignored, graph, &copy)
}

/// Packages that the copy was not made for.
fn not_looked_up(graph: &Graph, copy: &Value) -> Vec<String> {
    let crates = copy.get("crates").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let crates: BTreeSet<&str> = crates.collect();
    let foreign = graph.packages().filter(|package| package.source.is_some());
    foreign.filter(|package| !crates.contains(package.name.as_str())).map(ToString::to_string).collect()
}

fn complaints(ignored: &[String], graph: &Graph, copy: &Value) -> Outcome<Vec<String>> {
    let listed =
        copy.get("advisories").and_then(Value::as_array).ok_or("the copy has no list of advisories")?;
    let advisories = listed.iter().map(stored).collect::<Outcome<Vec<_>>>()?;
    let (mut complaints, mut needed) = (Vec::new(), BTreeSet::new());
    for package in graph.packages().filter(|package| package.source.is_some()) {
        for advisory in advisories.iter().filter(|advisory| advisory.affects(package)) {
            if ignored.contains(&advisory.id) {
                needed.insert(&advisory.id);
            } else {
                complaints.push(format!("{package}: {}: {}", advisory.id, advisory.title));
            }
        }
    }
    let unneeded = ignored.iter().filter(|id| !needed.contains(id));
    complaints.extend(unneeded.map(|id| format!("deny.toml ignores {id}, which is about nothing here")));
    Ok(complaints)
}

fn stored(value: &Value) -> Outcome<Advisory> {
    let text = |name: &str| {
        value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(format!("an advisory has no {name}"))
    };
    let versions = value.get("unaffected").and_then(Value::as_array).into_iter().flatten();
    let unaffected = versions.filter_map(Value::as_str).map(VersionReq::parse).collect::<Result<_, _>>()?;
    Ok(Advisory { id: text("id")?, package: text("package")?, title: text("title")?, unaffected })
}

/// Makes the copy again, from a clone of the database: a folder, or something that git can clone.
///
/// # Errors
/// If there is no network and no folder; the copy is as it was then.
pub(crate) fn refresh(args: &[&str]) -> Outcome {
    let from = match args {
        [] => DATABASE,
        ["--from", place] => place,
        [other, ..] => {
            return Err(format!("advisories: unexpected `{other}`; usage: [--from FOLDER-OR-URL]").into());
        }
    };
    let database = if Path::new(from).is_dir() { PathBuf::from(from) } else { clone(from)? };
    let lock: Table = fs::read_to_string(root().join("Cargo.lock"))?.parse()?;
    let copy = copy(&database, &crates(&lock), from)?;
    let count = copy.get("advisories").and_then(Value::as_array).map_or(0, Vec::len);
    fs::write(root().join(COPY), format!("{copy:#}\n"))?;
    eprintln!(
        "advisories: {count} about crates of the lock file are in {COPY}; `cargo xtask lint` checks them"
    );
    Ok(())
}

fn clone(url: &str) -> Outcome<PathBuf> {
    let folder = target_dir().join("advisory-db");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    shell::run(Command::new("git").args(["clone", "--quiet", "--depth", "1", url]).arg(&folder))?;
    Ok(folder)
}

/// Names of the lock file's packages that are from a registry.
fn crates(lock: &Table) -> BTreeSet<&str> {
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    packages.filter(|p| p.get("source").is_some()).filter_map(|p| p.get("name")?.as_str()).collect()
}

fn copy(database: &Path, crates: &BTreeSet<&str>, from: &str) -> Outcome<Value> {
    if !database.join("crates").is_dir() {
        return Err(
            format!("{} is no advisory database: it has no folder `crates`", database.display()).into()
        );
    }
    let mut advisories = Vec::new();
    for name in crates {
        let Ok(files) = fs::read_dir(database.join("crates").join(name)) else { continue };
        let mut paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Outcome<_>>()?;
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            let text = fs::read_to_string(path)?;
            let parsed = parsed(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            advisories.extend(parsed);
        }
    }
    let mut git = Command::new("git");
    git.arg("-C").arg(database).args(["log", "-1", "--format=%H %cs"]);
    let state = git.output().ok().filter(|output| output.status.success());
    let state = state.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Ok(json!({ "source": from, "state": state, "crates": crates, "advisories": advisories }))
}

/// An advisory of the database: a Markdown file that begins with a block of TOML. `None` for one that was withdrawn.
///
/// Source: the database's CONTRIBUTING.md.
fn parsed(text: &str) -> Outcome<Option<Value>> {
    let block = text.strip_prefix("```toml\n").and_then(|rest| rest.split_once("\n```"));
    let (front, rest) = block.ok_or("it does not begin with a block of TOML")?;
    let front: Table = front.parse()?;
    let advisory = front.get("advisory").ok_or("it has no table [advisory]")?;
    if advisory.get("withdrawn").is_some() {
        return Ok(None);
    }
    let text = |name: &str| advisory.get(name).and_then(toml::Value::as_str);
    let versions = |name: &str| -> Vec<&str> {
        let found = front.get("versions").and_then(|versions| versions.get(name));
        found.and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str).collect()
    };
    let unaffected = [versions("patched"), versions("unaffected")].concat();
    for version in &unaffected {
        VersionReq::parse(version)?;
    }
    let title = rest.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
    Ok(Some(json!({
        "id": text("id").ok_or("it has no id")?,
        "package": text("package").ok_or("it names no package")?,
        "kind": text("informational").unwrap_or("vulnerability"),
        "title": title,
        "unaffected": unaffected,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADVISORY: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2099-0001\"\npackage = \"leaky\"\n\
        date = \"2099-01-01\"\n[versions]\npatched = [\">= 1.2.3\"]\nunaffected = [\"< 1.0.0\"]\n```\n\n# It leaks\n\nText.\n";

    fn graph(version: &str) -> Graph {
        Graph::of(std::iter::once(Package {
            name: "leaky".to_owned(),
            version: version.parse().unwrap(),
            licence: None,
            source: Some("registry".to_owned()),
        }))
    }

    fn database(advisory: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let of_crate = folder.path().join("crates/leaky");
        fs::create_dir_all(&of_crate).unwrap();
        fs::write(of_crate.join("RUSTSEC-2099-0001.md"), advisory).unwrap();
        folder
    }

    #[test]
    fn attack_a_version_with_a_known_weakness_is_refused() {
        let database = database(ADVISORY);
        let copy = copy(database.path(), &BTreeSet::from(["leaky", "sound"]), "a test").unwrap();
        for (version, affected) in [("0.9.9", false), ("1.0.0", true), ("1.2.2", true), ("1.2.3", false)] {
            let complaints = complaints(&[], &graph(version), &copy).unwrap();
            assert_eq!(!complaints.is_empty(), affected, "{version}: {complaints:?}");
            assert!(complaints.iter().all(|c| c.contains("RUSTSEC-2099-0001: It leaks")), "{complaints:?}");
        }
        let ignored = ["RUSTSEC-2099-0001".to_owned()];
        assert_eq!(complaints(&ignored, &graph("1.0.0"), &copy).unwrap(), Vec::<String>::new());
        assert_eq!(complaints(&ignored, &graph("1.2.3"), &copy).unwrap().len(), 1);
    }

    #[test]
    fn a_crate_that_was_not_looked_up_is_named() {
        let copied = |name| copy(database(ADVISORY).path(), &BTreeSet::from([name]), "a test").unwrap();
        assert_eq!(not_looked_up(&graph("1.0.0"), &copied("sound")), ["leaky@1.0.0"]);
        assert_eq!(not_looked_up(&graph("1.0.0"), &copied("leaky")), Vec::<String>::new());
    }

    #[test]
    fn withdrawn_and_broken_advisories() {
        let withdrawn = ADVISORY.replace("[versions]", "withdrawn = \"2099-02-02\"\n[versions]");
        assert!(parsed(&withdrawn).unwrap().is_none());
        for broken in ["", "# Title", "```toml\n[versions]\n```\n", &ADVISORY.replace(">= 1.2.3", "newer")] {
            assert!(parsed(broken).is_err(), "{broken}");
        }
        assert!(copy(tempfile::tempdir().unwrap().path(), &BTreeSet::new(), "a test").is_err());
    }
}
