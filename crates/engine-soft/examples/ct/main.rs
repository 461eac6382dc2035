//! The constant-time check: runs one operation at a time with its secrets marked undefined, under valgrind's memcheck,
//! which reports every branch and every address that depends on them.
//!
//! ```text
//! cargo build --release --example ct -p engine-soft --features ct
//! valgrind --quiet --error-limit=no target/release/examples/ct --all
//! ct --list          names every case
//! ct --all           runs every case, prints a line for each; canaries must be red
//! ct <case>          runs one; exit status 1 if it made more or fewer reports than its verdicts
//! ```
//!
//! A verdict (was the tag right?) is the one bit that an operation makes public. Our code does it in one place,
//! `engine::declassify`, which tells memcheck; such cases expect no report. A crate that branches on a verdict of its
//! own cannot tell: its cases say how many such branches there are, and expect exactly as many reports.
//!
//! Build it a second time with `RUSTFLAGS='--cfg aes_backend="soft"'`, into another target directory: the portable
//! cipher must hold as well. To add a family: a module beside these with its own `cases()`, and its line in [`cases`].

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a check that cannot run fails by panicking"
)]

mod canaries;
mod engine_soft;
mod harness;
mod key_wrap;
mod unit_core;

use harness::Case;
use std::process::ExitCode;

/// Every case there is. Names are unique; those of canaries begin with `canary_`.
fn cases() -> Vec<Case> {
    [canaries::cases(), key_wrap::cases(), engine_soft::cases(), unit_core::cases()]
        .into_iter()
        .flatten()
        .collect()
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let cases = cases();
    match argument.as_str() {
        "--list" => {
            for case in &cases {
                println!("{}", case.name);
            }
            ExitCode::SUCCESS
        }
        "" | "--help" => {
            eprintln!("usage: valgrind --quiet --error-limit=no ct --list | --all | <case>");
            ExitCode::from(2)
        }
        _ if !harness::under_valgrind() => {
            eprintln!("ct: not under valgrind, so nothing would be seen");
            ExitCode::from(2)
        }
        "--all" => {
            let wrong = cases.iter().filter(|case| case.is_red() != case.is_canary()).count();
            println!("{} cases, {wrong} wrong", cases.len());
            ExitCode::from(u8::from(wrong > 0))
        }
        name => match cases.iter().find(|case| case.name == name) {
            Some(case) => ExitCode::from(u8::from(case.is_red())),
            None => {
                eprintln!("ct: no case {name}");
                ExitCode::from(2)
            }
        },
    }
}
