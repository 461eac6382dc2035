//! Requests to the control API about pairs of regions.

use super::client::{ControlClient, ControlError};
use super::pair_model::{
    PairEndpoints, PairFault, PairHeal, PairLog, PairStatus, PromoteRequest, RegionReport, ReplicatedReport,
};
use axum::http::StatusCode;
use bytes::Bytes;
use hyper::Method;
use std::time::Duration;

impl ControlClient {
    /// The same client for one region of a pair.
    #[must_use]
    pub fn in_region(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.below(&format!("/regions/{name}")),
            None => self,
        }
    }

    /// Fetches the status of a pair.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_status(&self) -> Result<PairStatus, ControlError> {
        self.send(Method::GET, "/pair/status", &()).await
    }

    /// Breaks a region or a link and returns the status once it is broken.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_fault(&self, fault: &PairFault) -> Result<PairStatus, ControlError> {
        self.send(Method::POST, "/pair/fault", fault).await
    }

    /// Heals a region or a link and returns the status once the region's process serves.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_heal(&self, heal: &PairHeal) -> Result<PairStatus, ControlError> {
        self.send(Method::POST, "/pair/heal", heal).await
    }

    /// Has the standby take the right to write; returns once it accepts changes.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_promote(&self, request: &PromoteRequest) -> Result<RegionReport, ControlError> {
        self.send(Method::POST, "/pair/promote", request).await
    }

    /// Has the home take the right to write back; returns once it accepts changes.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_return(&self) -> Result<RegionReport, ControlError> {
        self.send(Method::POST, "/pair/return", &()).await
    }

    /// Waits until a change is in both regions, at most as long as `wait`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_replicated(
        &self,
        revision: &str,
        wait: Duration,
    ) -> Result<ReplicatedReport, ControlError> {
        self.replicated_at("/pair/replicated", revision, wait).await
    }

    /// The same, asked of the region that has made the change.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn replicated(&self, revision: &str, wait: Duration) -> Result<ReplicatedReport, ControlError> {
        self.replicated_at("/region/replicated", revision, wait).await
    }

    async fn replicated_at(
        &self,
        path: &str,
        revision: &str,
        wait: Duration,
    ) -> Result<ReplicatedReport, ControlError> {
        // What is not a revision must not become another path.
        let revision: String = revision.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        self.send(Method::GET, &format!("{path}/{revision}?wait_ms={}", wait.as_millis()), &()).await
    }

    /// Fetches the addresses of a pair.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_endpoints(&self) -> Result<PairEndpoints, ControlError> {
        self.send(Method::GET, "/pair/endpoints", &()).await
    }

    /// Fetches the timeline of a pair.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn pair_log(&self) -> Result<PairLog, ControlError> {
        self.send(Method::GET, "/pair/log", &()).await
    }

    /// Fetches what a region of a pair reports about itself.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn region_report(&self) -> Result<RegionReport, ControlError> {
        self.send(Method::GET, "/region", &()).await
    }

    /// Has this region of a pair take the right to write; returns once it accepts changes.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn promote(&self, request: &PromoteRequest) -> Result<RegionReport, ControlError> {
        self.send(Method::POST, "/region/promote", request).await
    }

    /// Sends a request as it is; returns the status and the body of the answer.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`].
    pub async fn forward(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        self.exchange(method, path, body).await
    }
}
