//! What the tests need beyond cargo, installed where that is possible.

use crate::shell::{Outcome, run, succeeds, target_dir};
use std::path::PathBuf;
use std::process::Command;

/// IBM's Python client, unchanged; the version the end-to-end tests are written for.
const KEYPROTECT: &str = "keyprotect==3.0.1";

/// A Debian package and how to see that it is there.
struct Package {
    name: &'static str,
    present: fn() -> bool,
}

const PACKAGES: [Package; 5] = [
    Package { name: "valgrind", present: || succeeds(Command::new("valgrind").arg("--version")) },
    Package { name: "libclang-dev", present: has_libclang },
    Package { name: "pkg-config", present: || succeeds(Command::new("pkg-config").arg("--version")) },
    Package { name: "python3-venv", present: has_venv },
    // Tests keep its tokens in folders of their own, whatever the machine's configuration says.
    Package { name: "softhsm2", present: || succeeds(Command::new("softhsm2-util").arg("--version")) },
];

/// Installs the Debian packages that are missing.
///
/// # Errors
/// Where they cannot be installed: the one command to run by hand.
pub(crate) fn ensure_packages() -> Outcome {
    let missing: Vec<&str> = PACKAGES.iter().filter(|p| !(p.present)()).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!(
        "install {} and run this again (Debian: apt-get install {0}; softhsm2 is `softhsm` to dnf, apk, pacman and brew)",
        missing.join(" ")
    );
    if !succeeds(Command::new("apt-get").arg("--version")) {
        return Err(by_hand.into());
    }
    let apt =
        |args: &[&str]| run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
    apt(&["update", "-qq"])
        .and_then(|()| {
            apt(&[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat())
        })
        .map_err(|e| format!("{e}\n{by_hand}").into())
}

/// The interpreter of a virtual environment that has IBM's Python client.
pub(crate) fn ensure_python_client() -> Outcome<PathBuf> {
    let folder = target_dir().join("python-client");
    let python = folder.join("bin/python");
    let has_client = || {
        succeeds(
            Command::new(&python)
                .args(["-c", "import keyprotect.ibm_key_protect_api_v2 as m; m.IbmKeyProtectApiV2"]),
        )
    };
    if !has_client() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            KEYPROTECT,
        ]))?;
        if !has_client() {
            return Err(
                format!("{KEYPROTECT} was installed in {} and does not load", folder.display()).into()
            );
        }
    }
    Ok(python)
}

fn has_libclang() -> bool {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders
        .filter(|f| f.file_name().to_string_lossy().starts_with("llvm-"))
        .flat_map(|f| std::fs::read_dir(f.path().join("lib")).into_iter().flatten().flatten())
        .any(|f| f.file_name().to_string_lossy().starts_with("libclang.so"))
}

fn has_venv() -> bool {
    succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}
