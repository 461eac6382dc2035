//! Proof that a crypto unit needs neither `std` nor an allocator.

use crate::shell::{self, Outcome, cargo, root, succeeds_within, target_dir};
use crate::test::Part;
use std::process::Command;
use std::time::Duration;

/// A microcontroller without an operating system: what firmware would run on.
const BARE_METAL: &str = "thumbv7em-none-eabihf";
/// Without a network some downloads never fail.
const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(180);

/// The proof alone.
pub(crate) fn run() -> Outcome<bool> {
    let mut part = Part::named("no-std");
    check(&mut part);
    for skipped in &part.skipped {
        eprintln!("no-std: {}: skipped: {}", skipped.name, skipped.why);
    }
    Ok(part.failed.is_empty())
}

/// Links a unit into an image with a panic handler of its own and runs it; checks a bare-metal target where there is one.
pub(crate) fn check(part: &mut Part) {
    part.check("image without std", run_image().map_err(|e| e.to_string()));
    let name = format!("unit-core and engine-soft for {BARE_METAL}");
    if has_target() {
        let check = ["check", "--locked", "--target", BARE_METAL, "-p", "unit-core", "-p", "engine-soft"];
        part.check(&name, shell::run(&mut cargo(&check)).map_err(|e| e.to_string()));
    } else {
        // Standard libraries of other targets come from Rust's own servers alone.
        part.skip(name, format!("`rustup target add {BARE_METAL}` failed"), true);
    }
}

fn run_image() -> Outcome {
    let folder = target_dir().join("no-std-image");
    let manifest = root().join("xtask/image/Cargo.toml");
    let manifest = manifest.to_string_lossy();
    shell::run(
        cargo(&["build", "--release", "--locked", "--manifest-path", &manifest])
            .env("CARGO_TARGET_DIR", &folder),
    )?;
    shell::run(&mut Command::new(folder.join("release/no-std-image")))?;
    eprintln!("no-std: a unit without std or allocator was linked, loaded a master key and used a key");
    Ok(())
}

/// Installs the bare-metal target where it is missing; whether it is there then.
fn has_target() -> bool {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    if installed.is_ok_and(|list| String::from_utf8_lossy(&list.stdout).lines().any(|l| l == BARE_METAL)) {
        return true;
    }
    eprintln!("no-std: installing the standard library of {BARE_METAL} with rustup");
    succeeds_within(Command::new("rustup").args(["target", "add", BARE_METAL]), DOWNLOAD_PATIENCE)
}
