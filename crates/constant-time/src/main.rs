//! The constant-time gate: runs one operation at a time with its secrets marked as undefined, under valgrind's memcheck, which
//! reports every branch and every address that depends on them.
//!
//! ```text
//! cargo build --release -p constant-time --features valgrind
//! valgrind --quiet --error-limit=no target/release/constant-time --all
//! constant-time --list          prints the name of every case
//! constant-time --all           runs every case and prints one line for each; canaries must be red
//! constant-time <case>          runs one case; exit status 1 if it made more or fewer reports than its verdicts
//! ```
//!
//! `cargo xtask ct` does all of this on both AES back ends.
//!
//! A verdict (was the tag right?) is the one bit that an operation makes public. This workspace's code does it in one
//! function, `engine::declassify`, and in the one of `server::auth`, whose hooks mark the bit as defined; such cases expect no
//! report. A dependency that
//! branches on a verdict of its own has no such hook: its cases state the number of those branches, and expect exactly as
//! many reports.
//!
//! Build it a second time with `RUSTFLAGS='--cfg aes_backend="soft"'` and another target directory, to check the portable
//! cipher too. To add a family, add a module with its own `cases()`, and its line in [`cases`].

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a gate that cannot run fails by panicking"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the gate reports on the terminal")]

mod canaries;
mod engine_soft;
mod harness;
mod key_wrap;
mod kms;
mod pins;
mod server;
mod tke_crypto;
mod unit_core;
mod wire;

use harness::Case;
use std::process::ExitCode;

/// Every case. Names are unique; those of canaries begin with `canary_`.
fn cases() -> Vec<Case> {
    [
        canaries::cases(),
        key_wrap::cases(),
        wire::cases(),
        engine_soft::cases(),
        tke_crypto::cases(),
        pins::cases(),
        server::cases(),
        kms::cases(),
        unit_core::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn main() -> ExitCode {
    // Nothing else in this process sets it.
    let _ = engine::DECLASSIFY_HOOK.set(harness::public::<u8>);
    let _ = ::server::auth::DECLASSIFY_HOOK.set(harness::public::<u8>);
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
            eprintln!("usage: valgrind --quiet --error-limit=no constant-time --list | --all | <case>");
            ExitCode::from(2)
        }
        _ if !harness::under_valgrind() => {
            eprintln!("constant-time: run this program under valgrind, which alone can see a leak");
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
                eprintln!("constant-time: there is no case `{name}`");
                ExitCode::from(2)
            }
        },
    }
}
