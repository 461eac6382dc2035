//! What every command works with: options, console, folder and secrets.

use crate::connection::{Discover, RequiredClass};
use crate::console::Console;
use crate::duration::parse_duration;
use crate::error::{FOLDER_VARIABLE, TkeError};
use crate::plan::Plans;
use crate::readers::Readers;
use crate::secrets::{self, Secrets};
use crate::selection::Selection;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tke::secret_file::{Folder, KdfCost};
use tke::service::SigningServiceTimeouts;
use uuid::Uuid;

/// Default folder.
const DEFAULT_FOLDER: &str = "tke-files";

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct TkeOptions {
    /// Address of the service [default: environment variable TKE_URL]. The bearer token is in the environment variable
    /// TKE_TOKEN.
    #[arg(long, global = true, help_heading = "Where")]
    pub url: Option<String>,
    /// Service instance [default: environment variable TKE_INSTANCE, or the first instance of the region]
    #[arg(long, global = true, help_heading = "Where")]
    pub instance: Option<Uuid>,
    /// Root certificate of the modules' manufacturer (DER) [default: environment variable TKE_ROOT, the one of the region, or
    /// the one that was used before]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Where")]
    pub module_root: Option<PathBuf>,
    /// Revocation list of the modules' manufacturer (DER) [default: environment variable TKE_REVOCATIONS, the one of the
    /// region, or the newest that was used before]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Where")]
    pub module_revocations: Option<PathBuf>,
    /// Use no crypto unit whose engine is of a lower class [default: environment variable TKE_REQUIRE_CLASS, or any]
    #[arg(long, global = true, value_name = "CLASS", help_heading = "Where")]
    pub require_class: Option<RequiredClass>,
    /// Folder of signature keys, key parts, plan and records [default: environment variable CLOUDTKEFILES, or ./tke-files]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Where")]
    pub files: Option<PathBuf>,
    /// Read a password from a file instead of asking: of one key or part, or of all. May be given several times.
    #[arg(long, global = true, value_name = "[NAME=]PATH", value_parser = secrets::parse_source, help_heading = "Secrets")]
    pub password_file: Vec<(Option<String>, PathBuf)>,
    /// Read the PIN of a card from a file instead of asking; the two PINs of a CA card from two lines. May be given several
    /// times.
    #[arg(long, global = true, value_name = "[CARD=]PATH", value_parser = secrets::parse_source, help_heading = "Secrets")]
    pub pin_file: Vec<(Option<String>, PathBuf)>,
    /// Time limit for each response of the signing service: 500ms, 30s, 5m [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, help_heading = "Secrets")]
    pub signing_timeout: Option<Duration>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Protect new files with a weak key derivation, so that passwords can be guessed. For tests; a release has no such
    /// option.
    #[cfg(debug_assertions)]
    #[arg(long, global = true, hide = true)]
    pub danger_fast_kdf: bool,
}

/// What every command works with.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a TkeOptions,
    pub(crate) console: &'a dyn Console,
    pub(crate) discover: &'a dyn Discover,
    pub(crate) folder: Folder,
    pub(crate) secrets: Secrets<'a>,
    pub(crate) readers: Readers,
}

impl<'a> Context<'a> {
    pub(crate) fn open(
        options: &'a TkeOptions,
        console: &'a dyn Console,
        discover: &'a dyn Discover,
    ) -> Result<Self, TkeError> {
        let folder = match &options.files {
            Some(path) => Folder::open(path.clone())?,
            None => match Folder::from_environment()? {
                Some(folder) => folder,
                None => {
                    if !Path::new(DEFAULT_FOLDER).exists() {
                        console.note(&format!(
                            "keeping files in ./{DEFAULT_FOLDER} ({FOLDER_VARIABLE} is not set)"
                        ));
                    }
                    Folder::open(DEFAULT_FOLDER)?
                }
            },
        };
        let secrets = Secrets::new(console, &options.password_file, &options.pin_file);
        Ok(Self { options, console, discover, folder, secrets, readers: Readers::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Cost of a password guess for new files.
    pub(crate) const fn cost(&self) -> KdfCost {
        #[cfg(debug_assertions)]
        if self.options.danger_fast_kdf {
            return KdfCost::danger_weak();
        }
        KdfCost::STANDARD
    }

    /// Time limits for the signing service.
    pub(crate) fn service_timeouts(&self) -> SigningServiceTimeouts {
        let standard = SigningServiceTimeouts::default();
        SigningServiceTimeouts { whole: self.options.signing_timeout.unwrap_or(standard.whole), ..standard }
    }

    pub(crate) fn selection(&self) -> Result<Selection, TkeError> {
        Selection::load(self.path())
    }

    pub(crate) fn plans(&self) -> Result<Plans, TkeError> {
        Plans::load(self.path())
    }
}
