//! Requests to the control API about backups.

use super::backup_model::{BackupList, RestoreRequest, RestoredReport};
use super::client::{ControlClient, ControlError};
use hyper::Method;
use node::backup::TestReport;

impl ControlClient {
    /// Fetches the list of backups.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn backups(&self) -> Result<BackupList, ControlError> {
        self.send(Method::GET, "/backups", &()).await
    }

    /// Makes a backup of each instance; returns once they are tested.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn back_up(&self) -> Result<BackupList, ControlError> {
        self.send(Method::POST, "/backups", &()).await
    }

    /// Tests a backup again.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn verify_backup(&self, name: &str) -> Result<TestReport, ControlError> {
        // What is not a name must not become another path.
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
        self.send(Method::POST, &format!("/backups/{name}/verify"), &()).await
    }

    /// Restores instances; returns once their keys are served, or once they wait for their master key.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn restore(&self, request: &RestoreRequest) -> Result<RestoredReport, ControlError> {
        self.send(Method::POST, "/backups/restore", request).await
    }
}
