//! Backups as the owner of a node asks for them.

use super::{BackupFile, MakeError, NodeRestoreError, RestoreReport, TestReport, restore};
use crate::node::{Node, Shared};
use crate::opening::Open;
use crate::units::HostUnits;
use kms::InstanceId;
use server::ServiceUnits;
use std::path::Path;
use std::sync::Arc;

impl Node {
    /// Makes a backup of each instance now, and tests it by a restore.
    ///
    /// # Errors
    /// [`MakeError`] of the first instance that has none; earlier backups are kept.
    pub async fn back_up(&self) -> Result<Vec<BackupFile>, MakeError> {
        let (backups, open) = (self.backups()?, self.open_for_backups()?);
        let mut made = Vec::new();
        for instance in self.shared().instance_ids() {
            made.push(backups.make(&open.kms, units(&open), instance).await?);
        }
        Ok(made)
    }

    /// All backups of the instances, oldest first; none if the node keeps none.
    #[must_use]
    pub fn list_backups(&self) -> Vec<BackupFile> {
        let backups = self.shared().parts.backups.as_ref();
        backups.map(|backups| backups.list(&self.shared().instance_ids())).unwrap_or_default()
    }

    /// Restores a backup into a store in memory, and opens everything that is in it.
    ///
    /// # Errors
    /// [`MakeError`].
    pub async fn test_backup(&self, name: &str) -> Result<TestReport, MakeError> {
        let (backups, open) = (self.backups()?, self.open_for_backups()?);
        backups.test(name, units(&open)).await
    }

    /// Restores the instance of a backup into this node's store, with a higher epoch. If no crypto unit has the master key of
    /// the backup, the instance is restored as soon as one has it. The same call completes what was interrupted.
    ///
    /// # Errors
    /// [`NodeRestoreError`]; nothing was changed, or the store failed and the same call completes the restore.
    pub async fn restore(&self, file: &Path) -> Result<RestoreReport, NodeRestoreError> {
        restore(self.shared(), file).await
    }

    /// The instances that the node serves.
    #[must_use]
    pub fn instance_ids(&self) -> Vec<InstanceId> {
        self.shared().instance_ids()
    }

    fn backups(&self) -> Result<&super::Backups, MakeError> {
        self.shared().parts.backups.as_deref().ok_or(MakeError::NoFolder)
    }

    fn open_for_backups(&self) -> Result<Arc<Open>, MakeError> {
        let shared: &Arc<Shared> = self.shared();
        if let Some(region) = &shared.parts.region {
            region.check_writer().map_err(|why| MakeError::NotOpen(why.to_string()))?;
        }
        shared.opened().ok_or_else(|| MakeError::NotOpen(shared.waiting_for().unwrap_or_default()))
    }
}

fn units(open: &Open) -> ServiceUnits {
    ServiceUnits::new(HostUnits::new(open.host.clone()))
}
