//! Backups of a node's instances: made daily and on demand, tested by a restore, listed, and restored.
//!
//! | part | does |
//! |---|---|
//! | `folder` | names, lists and removes files; a backup appears in one piece |
//! | `make` | makes a backup and tests it |
//! | `of_node` | what the owner of a node asks for |
//! | `restoring` | restores instances while the node opens |
//! | `status` | what operators are told |

mod folder;
mod make;
mod of_node;
mod restoring;
mod status;

pub use folder::{BackupFile, FolderError};
pub use make::{MakeError, TestReport};
pub use restoring::{NodeRestoreError, RestoreReport};

pub(crate) use restoring::{carry_out_orders, restore};
pub(crate) use status::{BackupFigures, Backups};

use std::path::PathBuf;
use std::time::Duration;

/// Age of the newest backup from which it is an alarm.
pub const OVERDUE: Duration = Duration::from_secs(26 * 3600);

/// Where a node keeps backups of its instances, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupSettings {
    /// Folder of the backups that this node makes; in another region, if there is one.
    pub folder: PathBuf,
    /// Other folders whose backups are listed, such as that of the partner's.
    pub others: Vec<PathBuf>,
    /// Name of this node's region, which backups bear.
    pub region: String,
    /// Time between two backups of an instance, by the service's clock; a day by default.
    pub every: Duration,
    /// Backups of an instance that are kept; 30 by default.
    pub keep: usize,
}

impl BackupSettings {
    /// Backups of a day's distance in `folder`, of which 30 are kept.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, region: impl Into<String>) -> Self {
        Self {
            folder: folder.into(),
            others: Vec::new(),
            region: region.into(),
            every: Duration::from_secs(24 * 3600),
            keep: 30,
        }
    }

    /// Lists backups of another folder, too.
    #[must_use]
    pub fn also_listing(mut self, folder: impl Into<PathBuf>) -> Self {
        self.others.push(folder.into());
        self
    }
}
