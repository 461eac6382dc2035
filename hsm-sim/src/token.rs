//! `hsm-sim token`: whether a crypto unit can use a PKCS#11 token.

mod args;
mod error;
mod probe;
mod report;

pub use args::{ProbeArgs, TokenCommand};
pub use error::TokenError;
pub use report::{Finding, Report, ReportedToken};

use std::process::ExitCode;

/// Runs the command. The exit code is 0 if a unit can use the token, otherwise 1.
///
/// # Errors
/// [`TokenError`] if the token could not be probed.
pub fn run(command: &TokenCommand) -> Result<ExitCode, TokenError> {
    let TokenCommand::Probe(args) = command;
    probe::run(args)
}
