//! PKCS#11 tokens: whether one can carry a crypto unit.

mod args;
mod error;
mod probe;
mod report;

pub use args::{ProbeArgs, TokenCommand};
pub use error::TokenError;
pub use report::{Finding, Report, ReportedToken};

use std::process::ExitCode;

/// Does what the command line asks. The exit code says whether a unit can use the token.
///
/// # Errors
/// [`TokenError`] when nothing could be found out.
pub fn run(command: &TokenCommand) -> Result<ExitCode, TokenError> {
    let TokenCommand::Probe(args) = command;
    probe::run(args)
}
