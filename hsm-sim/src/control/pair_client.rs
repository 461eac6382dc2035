//! Requests to the control API about pairs of regions.

use super::client::{ControlClient, ControlError};
use super::pair_model::{
    PairEndpoints, PairFault, PairHeal, PairLog, PairStatus, PromoteRequest, RegionReport,
};
use axum::http::StatusCode;
use bytes::Bytes;
use hyper::Method;

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
