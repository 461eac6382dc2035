//! Proof that a crypto unit needs neither `std` nor an allocator, that its code cannot panic, and that its stack is bounded.

mod disassembly;
mod panics;
mod stack;
mod unreached;

use crate::shell::{self, Outcome, cargo, host_target, root, succeeds_within, target_dir};
use crate::test::Part;
use disassembly::Disassembly;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A microcontroller without an operating system: what firmware would run on.
const BARE_METAL: &str = "thumbv7em-none-eabihf";
/// Without a network some downloads never fail.
const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(180);
/// The unit's entry, whose stack is bounded.
const ENTRY: &str = "unit_core::unit::Unit<E>::execute";
/// The page that states the bound, and the words around its number.
const STATED_IN: (&str, &str, &str) = ("crates/unit-core/README.md", "needs at most ", " KiB of stack");
/// Stack that the C library takes before `main`, with a margin.
const LOADER_KIB: u64 = 64;

/// The proof alone.
pub(crate) fn run() -> Outcome<bool> {
    let mut part = Part::named("no-std");
    check(&mut part);
    for skipped in &part.skipped {
        eprintln!("no-std: {}: skipped: {}", skipped.name, skipped.why);
    }
    Ok(part.failed.is_empty())
}

/// Links a unit into an image with a panic handler of its own, runs it and examines it; checks a bare-metal target where
/// there is one.
pub(crate) fn check(part: &mut Part) {
    let image = run_image();
    part.check("image without std", image.as_ref().map(|_| ()).map_err(ToString::to_string));
    if let Ok(image) = image {
        examine(part, &image);
    }
    let name = format!("unit-core and engine-soft for {BARE_METAL}");
    if has_target() {
        let check = ["check", "--locked", "--target", BARE_METAL, "-p", "unit-core", "-p", "engine-soft"];
        part.check(&name, shell::run(&mut cargo(&check)).map_err(|e| e.to_string()));
    } else {
        // Standard libraries of other targets come from Rust's own servers alone.
        part.skip(name, format!("`rustup target add {BARE_METAL}` failed"), true);
    }
}

/// Builds the image and runs it. Gives its path.
///
/// It is linked to fixed addresses, so that every call but those through function pointers names its target.
fn run_image() -> Outcome<PathBuf> {
    let (folder, target) = (target_dir().join("no-std-image"), host_target()?);
    let manifest = root().join("xtask/image/Cargo.toml");
    let manifest = manifest.to_string_lossy();
    shell::run(
        cargo(&["build", "--release", "--locked", "--manifest-path", &manifest, "--target", &target])
            .env("RUSTFLAGS", "-C relocation-model=static")
            .env("CARGO_TARGET_DIR", &folder),
    )?;
    let image = folder.join(target).join("release/no-std-image");
    shell::run(&mut Command::new(&image))?;
    eprintln!("no-std: a unit without std or allocator was linked, loaded a master key and used a key");
    Ok(image)
}

/// Looks for panics and measures the stack, in the machine code.
fn examine(part: &mut Part, image: &Path) {
    let names = ["no panic in the unit's code", "bounded stack"];
    if !cfg!(target_arch = "x86_64") {
        names.iter().for_each(|name| part.skip(*name, "machine code is read for x86-64 alone", true));
        return;
    }
    let [panics, stack] = names;
    match Disassembly::read(image) {
        Ok(code) => {
            part.check(panics, cannot_panic(image, &code).map_err(|e| e.to_string()));
            part.check(stack, is_bounded(image, &code).map_err(|e| e.to_string()));
        }
        Err(error) => part.check(panics, Err(error.to_string())),
    }
}

fn cannot_panic(image: &Path, code: &Disassembly) -> Outcome {
    let sites = panics::sites(image, code)?;
    let complaints = panics::complaints(&sites, unreached::UNREACHED);
    if complaints.is_empty() {
        eprintln!(
            "no-std: {} calls to a panic, all of them in dependencies, where they are not reached",
            sites.len()
        );
        return Ok(());
    }
    Err(format!("\n  {}", complaints.join("\n  ")).into())
}

fn is_bounded(image: &Path, code: &Disassembly) -> Outcome {
    let bound = |name: &str| -> Outcome<u64> {
        let start = code.find(name).ok_or_else(|| format!("the image has no function {name}"))?;
        let depth = stack::depth(code, start, unreached::THROUGH_POINTERS)
            .map_err(|f| format!("{f} calls itself: the stack has no bound"))?;
        for start in &depth.chain {
            if let Some(function) = code.0.get(start) {
                eprintln!("no-std: {:>8} bytes  {}", function.frame, function.name);
            }
        }
        Ok(depth.bytes.div_ceil(1024))
    };
    let main = code.find("main").ok_or("the image has no function main")?;
    let reached = code.reachable(main, unreached::THROUGH_POINTERS);
    let mut pointers =
        reached.iter().filter_map(|start| code.0.get(start)).filter(|f| !f.indirect.is_empty());
    if let Some(unknown) =
        pointers.find(|function| !unreached::THROUGH_POINTERS.iter().any(|(name, _)| *name == function.name))
    {
        return Err(format!("{} calls through a pointer: where to is not known", unknown.name).into());
    }
    let (entry, whole) = (bound(ENTRY)?, bound("main")?);
    let stated = stated()?;
    eprintln!("no-std: {ENTRY} needs {entry} KiB of stack, the image {whole} KiB; {stated} KiB are stated");
    if entry > stated {
        return Err(format!("{ENTRY} needs {entry} KiB of stack; {} states {stated}", STATED_IN.0).into());
    }
    // The bound is a calculation. If it were too low, the image would not run in it.
    let limited = format!("ulimit -s {} && exec env -i \"$0\"", whole.saturating_add(LOADER_KIB));
    shell::run(Command::new("sh").args(["-c", &limited]).arg(image))
}

/// The bound in KiB that the documentation states.
fn stated() -> Outcome<u64> {
    let (page, before, after) = STATED_IN;
    let text = fs::read_to_string(root().join(page))?;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let number = words.split(before).skip(1).find_map(|rest| rest.split_once(after)?.0.parse().ok());
    number.ok_or_else(|| format!("{page} does not state `{before}N{after}`").into())
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
