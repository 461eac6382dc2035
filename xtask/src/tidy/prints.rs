//! One module prints.

use super::files::{Files, is_in};
use std::path::Path;

/// Where output is written: the program's one module, chores, and code that no deployment runs.
const ALLOWED: [&str; 7] =
    ["hsm-sim/src/output.rs", "xtask", "benches", "crates/constant-time", "/tests", "/examples", "/fuzz"];

/// Ways around the lints `clippy::print_stdout` and `clippy::print_stderr`, put together here so that this file has none.
fn ways_around() -> [String; 4] {
    let print = |name: &str| ["clippy::", name].concat();
    [print("print_stdout"), print("print_stderr"), ["stdout", "()"].concat(), ["stderr", "()"].concat()]
}

/// Checks that the workspace forbids printing, and that no other module switches the lint off or writes to a standard
/// stream by its handle.
pub(super) fn check(files: &Files) -> Vec<String> {
    let mut complaints = Vec::new();
    let manifest = files.find("Cargo.toml").map_or("", |path| files.text(path));
    for lint in ["print_stdout", "print_stderr"] {
        if !manifest.lines().any(|line| line.starts_with(lint)) {
            complaints.push(format!("Cargo.toml: [workspace.lints.clippy] lacks {lint}"));
        }
    }
    let may_print = |path: &Path| ALLOWED.iter().any(|allowed| is_in(path, allowed));
    for path in files.with_extension("rs").filter(|path| !may_print(path)) {
        for (number, line) in (1..).zip(files.text(path).lines()) {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(way) = ways_around().into_iter().find(|way| code.contains(way.as_str())) {
                complaints
                    .push(format!("{}:{number}: prints ({way}); output goes through a port", path.display()));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_module_that_prints_is_found() {
        let lints = "[workspace.lints.clippy]\nprint_stdout = \"warn\"\nprint_stderr = \"warn\"\n";
        let allow = format!("#![allow({})]\n", ways_around()[0]);
        let handle = format!("let out = std::io::{};\n", ways_around()[3]);
        let check = |path: &str, text: &str| check(&Files::of(&[("Cargo.toml", lints), (path, text)]));
        for path in [
            "hsm-sim/src/output.rs",
            "crates/kms/tests/it.rs",
            "crates/kms/examples/rate.rs",
            "xtask/src/x.rs",
        ] {
            assert_eq!(check(path, &allow), Vec::<String>::new(), "{path}");
        }
        assert_eq!(check("crates/kms/src/lib.rs", "// stdout is a port\n"), Vec::<String>::new());
        for text in [&allow, &handle] {
            let complaints = check("hsm-sim/src/main.rs", text);
            assert!(complaints.concat().starts_with("hsm-sim/src/main.rs:1: prints"), "{complaints:?}");
        }
    }

    #[test]
    fn a_workspace_without_the_lint_is_found() {
        assert_eq!(check(&Files::of(&[("Cargo.toml", "print_stdout = \"warn\"\n")])).len(), 1);
    }
}
