//! `hsm-sim tke`: the customer's commands of [`tke_cli`], on this program's terminal and with regions on this machine.

mod local_region;
mod terminal;

pub use local_region::LocalRegion;
pub use terminal::Terminal;

use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use tke_cli::TkeError;

/// Options and command of `tke`.
#[derive(Clone, Debug, Args)]
pub struct TkeArgs {
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
/// [`TkeError`]. Work that was done on some units only is no error: it is printed, and the exit status says so.
pub async fn run(args: &TkeArgs) -> Result<ExitCode, TkeError> {
    tke_cli::run(&args.tke, &Terminal, &LocalRegion::new(args.data.clone())).await
}
