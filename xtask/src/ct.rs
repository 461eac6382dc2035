//! The constant-time gate: secrets undefined under valgrind's memcheck, on both AES back ends.

use crate::shell::{self, Outcome, cargo, target_dir};
use crate::tools;
use std::process::Command;

/// Names of the back ends, and the flags that choose them.
const BACK_ENDS: [(&str, &str); 2] = [("as-built", ""), ("portable", "--cfg aes_backend=\"soft\"")];

/// Builds the check twice and runs every case of it: canaries must be seen, nothing else may.
pub(crate) fn run() -> Outcome {
    tools::ensure_packages()?;
    for (name, flags) in BACK_ENDS {
        let folder = target_dir().join("ct").join(name);
        let build = [
            "build",
            "--release",
            "--locked",
            "--package",
            "engine-soft",
            "--features",
            "ct",
            "--example",
            "ct",
        ];
        shell::run(cargo(&build).env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", flags))?;
        let check = folder.join("release/examples/ct");
        shell::run(
            Command::new("valgrind")
                .args(["--quiet", "--error-limit=no", "--log-file=/dev/null"])
                .arg(check)
                .arg("--all"),
        )
        .map_err(|e| format!("constant time, {name} AES: {e}"))?;
    }
    eprintln!("ct: no case depends on a secret, and every planted leak was seen, on both AES back ends");
    Ok(())
}
