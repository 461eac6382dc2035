//! The region that runs on this machine, found by the file that it writes when it serves.

use crate::cli::DEFAULT_DATA;
use crate::control::ControlError;
use crate::files::read_if_present;
use crate::region::{DataDir, ReadyFile};
use crate::unit::REVOCATION_FILE;
use std::path::{Path, PathBuf};
use tke_cli::{Connection, Discover, DiscoverError};
use zeroize::Zeroizing;

/// The region of one data directory.
#[derive(Clone, Debug)]
pub struct LocalRegion {
    data: Option<PathBuf>,
}

impl LocalRegion {
    /// The region of this data directory, or of the default one.
    #[must_use]
    pub const fn new(data: Option<PathBuf>) -> Self {
        Self { data }
    }
}

impl Discover for LocalRegion {
    fn is_requested(&self) -> bool {
        self.data.is_some()
    }

    fn discover(&self) -> Result<Connection, DiscoverError> {
        let data = self.data.as_deref().unwrap_or(Path::new(DEFAULT_DATA));
        let path = DataDir::ready_file(data);
        let unreadable = |source| ControlError::ReadyFile { path: path.clone(), source };
        let content = read_if_present(&path)
            .map_err(unreadable)?
            .ok_or_else(|| ControlError::NotRunning(data.to_owned()))?;
        let ready: ReadyFile = serde_json::from_slice(&content).map_err(|e| unreadable(e.into()))?;
        // In a pair of regions, the manufacturer is the same for both.
        let root = ready.root_certificate;
        let revocations = root.with_file_name(REVOCATION_FILE);
        Ok(Connection {
            url: ready.tke_url,
            token: Zeroizing::new(ready.operator_token),
            instance: ready.instance_id,
            module_root: root.exists().then_some(root),
            module_revocations: revocations.exists().then_some(revocations),
        })
    }
}
