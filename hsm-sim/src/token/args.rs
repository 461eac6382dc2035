//! Arguments of `hsm-sim token`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What there is to do with tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Try on a token all that a crypto unit needs; exit status 0 if a unit can use it. Nothing is left on the token.
    Probe(ProbeArgs),
}

/// Options of `token probe`: a token, in one word or by its module.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// `softhsm`, for a token that is made for it and thrown away, or the token's PKCS#11 URI (RFC 7512), such as
    /// `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin` (or `env:NAME`, `prompt`)
    #[arg(required_unless_present = "module")]
    pub target: Option<String>,
    /// The vendor's PKCS#11 library; with one initialised token, nothing more is needed.
    #[arg(long, conflicts_with = "target", value_name = "PATH")]
    pub module: Option<PathBuf>,
    /// The token's label.
    #[arg(long, requires = "module", conflicts_with = "target", value_name = "LABEL")]
    pub token: Option<String>,
    /// The token's serial number.
    #[arg(long, requires = "module", conflicts_with = "target")]
    pub serial: Option<String>,
    /// The token's slot.
    #[arg(long, requires = "module", conflicts_with = "target", value_name = "N")]
    pub slot: Option<u64>,
    /// File with the user's PIN in its first line, readable by its owner alone [default: ask on the terminal]
    #[arg(long, conflicts_with = "pin_env", value_name = "FILE")]
    pub pin_file: Option<PathBuf>,
    /// Environment variable with the user's PIN.
    #[arg(long, value_name = "NAME")]
    pub pin_env: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Folder of the token that is thrown away: this is the process that was started for it.
    #[arg(long, hide = true)]
    pub home: Option<PathBuf>,
}
