//! Every repeatable chore of this workspace. `cargo xtask` alone lists them.
//!
//! No product logic lives here.

mod bench;
mod ct;
mod fuzz;
mod lint;
mod no_std;
mod shell;
mod test;
mod tidy;
mod tools;

use shell::Outcome;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <chore>

  test     install what the tests need, then run every test, the no_std proof and the constant-time gate
  check    format, clippy, documentation, layer arrows, leftovers, then `test`
  lint     the first half of `check`: everything but `test`
  no-std   link a crypto unit into an image without std or allocator and run it
  ct       the constant-time gate: secrets undefined under valgrind, both AES back ends
  fuzz     random bytes at every decoder (`cargo xtask fuzz TARGET --minutes N` for one); needs nightly and cargo-fuzz
  bench    every benchmark (`cargo xtask bench NAME` for one)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["test"] => test::run(),
        ["check"] => lint::run().and_then(|()| test::run()),
        ["lint"] => lint::run(),
        ["no-std"] => no_std::run(),
        ["ct"] => ct::run(),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        [other, ..] => Err(format!("there is no chore `{other}`\n\n{USAGE}").into()),
    };
    report(outcome)
}

fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
