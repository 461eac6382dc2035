//! Proof that a crypto unit needs neither `std` nor an allocator.

use crate::shell::{self, Outcome, cargo, root, succeeds_within, target_dir};
use std::process::Command;
use std::time::Duration;

/// A microcontroller without an operating system: what firmware would run on.
const BARE_METAL: &str = "thumbv7em-none-eabihf";
/// Without a network some downloads never fail.
const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(180);

/// Links a unit into an image with a panic handler of its own and runs it; checks a bare-metal target where there is one.
pub(crate) fn run() -> Outcome {
    let folder = target_dir().join("no-std-image");
    let manifest = root().join("xtask/image/Cargo.toml");
    let manifest = manifest.to_string_lossy();
    shell::run(
        cargo(&["build", "--release", "--locked", "--manifest-path", &manifest])
            .env("CARGO_TARGET_DIR", &folder),
    )?;
    shell::run(&mut Command::new(folder.join("release/no-std-image")))?;
    eprintln!("no-std: a unit without std or allocator was linked, loaded a master key and used a key");

    if succeeds_within(Command::new("rustup").args(["target", "add", BARE_METAL]), DOWNLOAD_PATIENCE) {
        shell::run(&mut cargo(&[
            "check",
            "--locked",
            "--target",
            BARE_METAL,
            "-p",
            "unit-core",
            "-p",
            "engine-soft",
        ]))?;
        eprintln!("no-std: unit-core and engine-soft were checked for {BARE_METAL}");
    } else {
        eprintln!("no-std: {BARE_METAL} was NOT checked: that target cannot be added here");
    }
    Ok(())
}
