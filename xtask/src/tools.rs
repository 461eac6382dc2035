//! Programs that the tests need beyond cargo, installed where that is possible.

use crate::apt::Apt;
use crate::shell::{Outcome, run, succeeds, target_dir};
use std::path::PathBuf;
use std::process::Command;

/// IBM's Python client, unchanged; the version the end-to-end tests are written for.
const KEYPROTECT: &str = "keyprotect==3.0.1";

/// What the selected tests need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) softhsm: bool,
    pub(crate) python: bool,
    pub(crate) valgrind: bool,
}

/// What is there after installation.
#[derive(Debug)]
pub(crate) struct Tools {
    /// An interpreter that has IBM's client.
    pub(crate) python: Option<PathBuf>,
    /// Packages that are needed and missing.
    missing: Vec<&'static str>,
}

/// A Debian package and how to see that it is there.
struct Package {
    name: &'static str,
    present: fn() -> bool,
    needed: fn(&Needs) -> bool,
}

const PACKAGES: [Package; 5] = [
    Package {
        name: "valgrind",
        present: || succeeds(Command::new("valgrind").arg("--version")),
        needed: |needs| needs.valgrind,
    },
    Package { name: "libclang-dev", present: has_libclang, needed: |needs| needs.valgrind },
    Package {
        name: "pkg-config",
        present: || succeeds(Command::new("pkg-config").arg("--version")),
        needed: |needs| needs.valgrind,
    },
    Package { name: "python3-venv", present: has_venv, needed: |needs| needs.python },
    // Tests keep its tokens in folders of their own, whatever the machine's configuration says.
    Package {
        name: "softhsm2",
        present: || succeeds(Command::new("softhsm2-util").arg("--version")),
        needed: |needs| needs.softhsm,
    },
];

impl Tools {
    pub(crate) fn has_softhsm(&self) -> bool {
        !self.missing.contains(&"softhsm2")
    }

    /// The missing packages of the constant-time gate.
    pub(crate) fn missing_for_valgrind(&self) -> Vec<&'static str> {
        let of_the_gate = |name: &&&str| ["valgrind", "libclang-dev", "pkg-config"].contains(*name);
        self.missing.iter().filter(of_the_gate).copied().collect()
    }
}

/// Installs what is missing, after saying what that is. Tests skip themselves where it stays missing.
pub(crate) fn ensure(needs: &Needs) -> Tools {
    let missing = || -> Vec<&'static str> {
        PACKAGES.iter().filter(|p| (p.needed)(needs) && !(p.present)()).map(|p| p.name).collect()
    };
    let wanted = missing();
    if !wanted.is_empty() {
        eprintln!("tools: installing the Debian packages {} with apt-get", wanted.join(" "));
        if let Err(error) = Apt::default().install(&wanted) {
            eprintln!(
                "tools: {error}\ntools: what needs them will be skipped; install {0} and run this again \
                 (Debian: sudo apt-get install {0}; softhsm2 is `softhsm` to dnf, apk, pacman and brew)",
                wanted.join(" ")
            );
        }
    }
    let missing = missing();
    let python = needs.python.then(ensure_python_client).and_then(|outcome| {
        outcome.inspect_err(|error| eprintln!("tools: no IBM Python client: {error}")).ok()
    });
    Tools { python, missing }
}

/// The interpreter of a virtual environment that has IBM's Python client.
fn ensure_python_client() -> Outcome<PathBuf> {
    let folder = std::path::absolute(target_dir().join("python-client"))?;
    let python = folder.join("bin/python");
    let has_client = || {
        succeeds(
            Command::new(&python)
                .args(["-c", "import keyprotect.ibm_key_protect_api_v2 as m; m.IbmKeyProtectApiV2"]),
        )
    };
    if !has_client() {
        eprintln!("tools: installing {KEYPROTECT} with pip into a virtual environment, {}", folder.display());
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", KEYPROTECT];
        run(Command::new(&python).args(pip))?;
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
