//! `hsm-sim tke`: the customer's commands of [`tke_cli`], on this program's terminal and with regions on this machine.

mod local_region;
mod terminal;

pub use local_region::LocalRegion;
pub use terminal::Terminal;

use crate::output::OutputError;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use tke_cli::TkeError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command itself failed.
    #[error(transparent)]
    Tke(#[from] TkeError),
    /// The result cannot be printed.
    #[error("the result cannot be printed")]
    Output(#[source] OutputError),
}

/// Arguments of `hsm-sim tke`: those of the customer's commands, and the region's data directory.
#[derive(Clone, Debug, Args)]
pub struct LocalTkeArgs {
    /// Data directory of the running region [default: hsm-sim-data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Where")]
    pub data: Option<PathBuf>,
    /// The customer's options and command.
    #[command(flatten)]
    pub tke: tke_cli::TkeArgs,
}

/// Runs a command and prints its result.
///
/// # Errors
/// [`RunError`]. A command that succeeded on some units only is reported by its output and exit status, not as an error.
pub async fn run(args: &LocalTkeArgs) -> Result<ExitCode, RunError> {
    let terminal = Terminal::default();
    let status = tke_cli::run(&args.tke, &terminal, &LocalRegion::new(args.data.clone())).await?;
    match terminal.into_failure() {
        None => Ok(status),
        // A command that failed keeps its exit status if its output has no reader.
        Some(OutputError::Closed) if status != ExitCode::SUCCESS => Ok(status),
        Some(failure) => Err(RunError::Output(failure)),
    }
}
