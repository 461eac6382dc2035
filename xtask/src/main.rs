//! Every repeatable chore of this workspace. `cargo xtask` alone lists them.
//!
//! No product logic lives here.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore reports on the terminal")]

mod apt;
mod bench;
mod ct;
mod dist;
mod fuzz;
mod lint;
mod no_std;
mod shell;
mod simulate;
mod supply_chain;
mod test;
mod tidy;
mod tools;

use shell::Outcome;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <chore>

  test     install what the tests need, run every test and proof, print a summary (`cargo xtask test --only SUITE` for a part)
  check    `lint`, then `test`
  lint     format, clippy, documentation, dependencies, and rules of the workspace such as layer arrows and leftovers
  tidy     the rules of the workspace alone, which take a second
  deps     licences, sources, versions and known weaknesses of dependencies alone
  no-std   link a crypto unit into an image without std or allocator and run it
  ct       the constant-time gate: secrets undefined under valgrind, both AES back ends
  fuzz     random bytes at every decoder (`cargo xtask fuzz TARGET --minutes N` for one); needs nightly and cargo-fuzz
  simulate pairs of regions under faults (`cargo xtask simulate --seeds N` for other than 20,000 seeds)
  explore  every order of events in a small model of a pair of regions, in large bounds
  bench    every benchmark (`cargo xtask bench NAME` for one)
  dist     build a release: archive, bill of materials and checksums in target/dist
  advisories  copy what RustSec's database says of our dependencies (`--from FOLDER-OR-URL` for another place)

suites of `test`:
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["check"] => check(),
        ["lint"] => lint::run(),
        ["tidy"] => tidy::run().map(|()| true),
        ["deps"] => supply_chain::check().map(|()| true),
        ["no-std"] => no_std::run(),
        ["ct"] => ct::run(),
        ["fuzz", rest @ ..] => fuzz::run(rest).map(|()| true),
        ["simulate", rest @ ..] => simulate::run(rest).map(|()| true),
        ["explore"] => simulate::explore().map(|()| true),
        ["dist"] => dist::run().map(|()| true),
        ["advisories", rest @ ..] => supply_chain::refresh(rest).map(|()| true),
        ["bench", rest @ ..] => bench::run(rest).map(|()| true),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}{}", test::listed());
            Ok(true)
        }
        [other, ..] => Err(format!("there is no chore `{other}`\n\n{USAGE}").into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // The chore has said what is wrong.
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Lints and tests; tests run after a failed lint, too.
fn check() -> Outcome<bool> {
    let linted = lint::run().unwrap_or_else(|failure| {
        eprintln!("lint: {failure}");
        false
    });
    Ok(test::run(&[])? && linted)
}
