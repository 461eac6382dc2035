//! Arguments of `hsm-sim token`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Subcommands of `hsm-sim token`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Test whether a crypto unit can use a PKCS#11 token; exit status 0 if it can. Leaves nothing on the token.
    Probe(ProbeArgs),
}

/// Options of `token probe`: the token, as a URI or by its module.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// The token's PKCS#11 URI (RFC 7512), such as
    /// `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin` (or `env:NAME`, `prompt`), or `softhsm`
    /// for a temporary SoftHSM token
    #[arg(required_unless_present = "module")]
    pub target: Option<String>,
    /// The vendor's PKCS#11 library; sufficient if it has exactly one initialised token.
    #[arg(long, conflicts_with = "target", value_name = "PATH")]
    pub module: Option<PathBuf>,
    /// Label of the token.
    #[arg(long, requires = "module", conflicts_with = "target", value_name = "LABEL")]
    pub token: Option<String>,
    /// Serial number of the token.
    #[arg(long, requires = "module", conflicts_with = "target")]
    pub serial: Option<String>,
    /// Number of the token's slot.
    #[arg(long, requires = "module", conflicts_with = "target", value_name = "N")]
    pub slot: Option<u64>,
    /// File with the user PIN in its first line, readable by its owner only [default: prompt on the terminal]
    #[arg(long, conflicts_with = "pin_env", value_name = "FILE")]
    pub pin_file: Option<PathBuf>,
    /// Environment variable with the user PIN.
    #[arg(long, value_name = "NAME")]
    pub pin_env: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Folder of the temporary token, in the child process that is started with its configuration.
    #[arg(long, hide = true)]
    pub home: Option<PathBuf>,
}
