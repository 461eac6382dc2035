//! What every command works with: the folder of signature keys and key parts, and where secrets come from.

use crate::connection::Discover;
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
use tke::service::ServiceTimeouts;
use uuid::Uuid;

/// The folder where none is named.
const DEFAULT_FOLDER: &str = "tke-files";

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct TkeOptions {
    /// Address of the service, in place of the data directory [default: the environment's TKE_URL]. The bearer token is in
    /// the environment, as TKE_TOKEN.
    #[arg(long, global = true, help_heading = "Where")]
    pub url: Option<String>,
    /// The service instance [default: the environment's TKE_INSTANCE, or the first of the region]
    #[arg(long, global = true, help_heading = "Where")]
    pub instance: Option<Uuid>,
    /// The manufacturer's root certificate (DER) [default: the environment's TKE_ROOT, the region's own, or the one used
    /// before]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Where")]
    pub module_root: Option<PathBuf>,
    /// Folder of signature keys, key parts, plan and protocol [default: the one that CLOUDTKEFILES names, or ./tke-files]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Where")]
    pub files: Option<PathBuf>,
    /// Take a password from a file instead of asking: of one key or part, or of all. May be given several times.
    #[arg(long, global = true, value_name = "[NAME=]PATH", value_parser = secrets::parse_source, help_heading = "Secrets")]
    pub password_file: Vec<(Option<String>, PathBuf)>,
    /// Take a card's PIN from a file instead of asking; a CA card's two from two lines. May be given several times.
    #[arg(long, global = true, value_name = "[CARD=]PATH", value_parser = secrets::parse_source, help_heading = "Secrets")]
    pub pin_file: Vec<(Option<String>, PathBuf)>,
    /// How long to wait for each answer of the signing service: 500ms, 30s, 5m [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, help_heading = "Secrets")]
    pub signing_timeout: Option<Duration>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Protect new files so weakly that anybody can try all passwords. For tests.
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

    /// How much it costs to try the password of a file that is made now.
    pub(crate) const fn cost(&self) -> KdfCost {
        if self.options.danger_fast_kdf { KdfCost::danger_weak() } else { KdfCost::STANDARD }
    }

    /// How long to wait for the signing service.
    pub(crate) fn service_timeouts(&self) -> ServiceTimeouts {
        let standard = ServiceTimeouts::default();
        ServiceTimeouts { whole: self.options.signing_timeout.unwrap_or(standard.whole), ..standard }
    }

    pub(crate) fn selection(&self) -> Result<Selection, TkeError> {
        Selection::load(self.path())
    }

    pub(crate) fn plans(&self) -> Result<Plans, TkeError> {
        Plans::load(self.path())
    }
}
