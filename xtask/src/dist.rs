//! A release: the program, what it consists of, and checksums.

mod sbom;

use crate::shell::{self, Outcome, cargo, host_target, root, target_dir};
use crate::supply_chain::Graph;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "hsm-sim";
/// Pages that an archive holds beside the program.
const PAGES: [&str; 5] = ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-APACHE", "LICENSE-MIT"];
/// Options for tests, which a release must not have.
const TEST_OPTIONS: [&[&str]; 1] = [&["tke", "--danger-fast-kdf", "sigkeys", "--help"]];

/// Builds the release of this platform into `target/dist`: an archive, a bill of materials, and checksums of both.
///
/// Paths of this machine are left out of the program, and times out of the archive: nothing in it but the compiler's output
/// tells where and when it was built.
pub(crate) fn run() -> Outcome {
    let target = host_target()?;
    let graph = Graph::read(std::slice::from_ref(&target), &[])?;
    let version = graph
        .packages()
        .find(|package| package.name == PROGRAM && package.source.is_none())
        .ok_or("the workspace has no program")?
        .version
        .clone();
    let program = build(&target)?;
    refuses_test_options(&program)?;

    let name = format!("{PROGRAM}-{version}-{target}");
    let dist = target_dir().join("dist");
    let folder = dist.join(&name);
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    fs::create_dir_all(&folder)?;
    fs::copy(&program, folder.join(PROGRAM))?;
    for page in PAGES {
        fs::copy(root().join(page), folder.join(page))?;
    }
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    let materials = format!("{:#}\n", sbom::bill_of_materials(&graph, PROGRAM, &lock)?);
    let sbom_name = format!("{name}.cdx.json");
    fs::write(folder.join("sbom.cdx.json"), &materials)?;
    fs::write(dist.join(&sbom_name), &materials)?;
    let archive = format!("{name}.tar.gz");
    pack(&dist, &name, &archive)?;
    fs::remove_dir_all(&folder)?;
    let sums = Command::new("sha256sum").args([&archive, &sbom_name]).current_dir(&dist).output()?;
    if !sums.status.success() {
        return Err(format!("sha256sum: {}", String::from_utf8_lossy(&sums.stderr)).into());
    }
    fs::write(dist.join("SHA256SUMS"), &sums.stdout)?;
    print!("{}", String::from_utf8_lossy(&sums.stdout));
    eprintln!("dist: {archive}, {sbom_name} and SHA256SUMS are in {}", dist.display());
    Ok(())
}

fn build(target: &str) -> Outcome<PathBuf> {
    let home = |variable: &str, fallback: &str| {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        std::env::var_os(variable).map_or_else(|| home.join(fallback), PathBuf::from)
    };
    let flags = format!(
        "--remap-path-prefix={}=/cargo --remap-path-prefix={}=/rustup --remap-path-prefix={}=/source",
        home("CARGO_HOME", ".cargo").display(),
        home("RUSTUP_HOME", ".rustup").display(),
        root().display(),
    );
    let folder = target_dir().join("release-build");
    let arguments = ["build", "--release", "--locked", "--package", PROGRAM, "--bin", PROGRAM];
    shell::run(
        cargo(&arguments)
            .args(["--target", target, "--config", "profile.release.strip=\"symbols\""])
            .env("CARGO_TARGET_DIR", &folder)
            .env("RUSTFLAGS", flags),
    )?;
    Ok(folder.join(target).join("release").join(PROGRAM))
}

fn refuses_test_options(program: &Path) -> Outcome {
    for arguments in TEST_OPTIONS {
        if shell::succeeds(Command::new(program).args(arguments)) {
            return Err(
                format!("the release takes an option that is for tests: {}", arguments.join(" ")).into()
            );
        }
    }
    Ok(())
}

/// Packs a folder into an archive whose bytes depend on its files alone.
fn pack(dist: &Path, folder: &str, archive: &str) -> Outcome {
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u=rwX,go=rX",
    ]);
    tar.args(["--use-compress-program=gzip -n", "-cf", archive, folder]).current_dir(dist);
    shell::run(&mut tar)
}
