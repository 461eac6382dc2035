//! The test binaries, built by one call of cargo.

use super::report::Part;
use super::suites::{E2E, Suite};
use crate::shell::{self, cargo};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A built test binary.
#[derive(Debug, PartialEq)]
pub(super) struct Binary {
    pub(super) package: String,
    /// Name of the cargo target.
    pub(super) name: String,
    pub(super) executable: PathBuf,
    /// The package's folder, where its tests run.
    pub(super) folder: PathBuf,
}

impl Binary {
    pub(super) fn suite(&self) -> Suite {
        Suite::of(&self.package, &self.name)
    }
}

/// Builds every test binary of the workspace, or the end-to-end tests alone, and gives those that could be built.
///
/// Always of the whole workspace: for a package alone cargo would choose other features, and build everything again.
pub(super) fn binaries(only_e2e: bool, part: &mut Part) -> Vec<Binary> {
    let mut args = vec!["test", "--workspace", "--locked", "--no-run", "--no-fail-fast"];
    args.push("--message-format=json-render-diagnostics");
    if only_e2e {
        args.extend(["--test", E2E]);
    }
    let mut command = cargo(&args);
    eprintln!("\n$ {}", shell::shown(&command));
    let mut built = Vec::new();
    let outcome = command.stdout(Stdio::piped()).spawn().and_then(|mut child| {
        for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
            built.extend(binary(&line?));
        }
        child.wait()
    });
    match outcome {
        Ok(status) if status.success() => {}
        Ok(status) => {
            part.fail(format!("cargo ended with {status}; tests that could not be built did not run"))
        }
        Err(error) => part.fail(format!("cargo: {error}")),
    }
    built.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    built
}

/// The test binary that a message of cargo announces, if it does.
fn binary(message: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message.pointer("/profile/test")?.as_bool() != Some(true) {
        return None;
    }
    let folder = Path::new(message.get("manifest_path")?.as_str()?).parent()?;
    Some(Binary {
        // A folder bears its package's name.
        package: folder.file_name()?.to_string_lossy().into_owned(),
        name: message.pointer("/target/name")?.as_str()?.to_owned(),
        executable: message.get("executable")?.as_str()?.into(),
        folder: folder.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_binaries_are_taken() {
        let message = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/crates/host/Cargo.toml",
                    "target":{{"name":"it","kind":["test"]}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let taken = binary(&message(true, r#""/w/target/debug/deps/it-1""#)).unwrap();
        assert_eq!((taken.package.as_str(), taken.name.as_str()), ("host", "it"));
        assert_eq!(taken.folder, Path::new("/w/crates/host"));
        assert_eq!(binary(&message(false, r#""/w/target/debug/hsm-sim""#)), None);
        assert_eq!(binary(&message(true, "null")), None);
        assert_eq!(binary(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
