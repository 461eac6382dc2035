//! Client of the control API.

use super::model::{
    AddUnitRequest, AddedUnit, AdvanceRequest, ClockStatus, FaultRequest, RemoveUnitRequest, Status, Target,
};
use crate::cli::ReachArgs;
use crate::region::{DataDir, ReadyFile};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Environment variable with the token of a control API that is named by its address.
const TOKEN_VARIABLE: &str = "HSM_SIM_CONTROL_TOKEN";

/// Why a request to a control API failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No region runs there.
    #[error("no region runs on {}: start one with `hsm-sim up`, or name its data directory with --data", .0.display())]
    NotRunning(PathBuf),
    /// The ready file of the region cannot be read.
    #[error("{} cannot be read", .path.display())]
    ReadyFile {
        /// Path of the ready file.
        path: PathBuf,
        /// OS error of the read, or why its content is not a ready file.
        source: io::Error,
    },
    /// The token of a control API that was named by its address is not known.
    #[error(
        "the control token of {url} is not known: set {TOKEN_VARIABLE} to `control_token` of its ready file, or name its \
         data directory with --data"
    )]
    NoToken {
        /// Address of the control API.
        url: String,
    },
    /// The token has characters that an HTTP header cannot contain.
    #[error("the control token contains characters that are not allowed in an HTTP header")]
    TokenInvalid,
    /// The control API does not answer.
    #[error("no region answers at {url}")]
    Unreachable {
        /// Address of the control API.
        url: String,
        /// Why the request failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The region refused the request; its message.
    #[error("{0}")]
    Refused(String),
}

/// A client of the control API of a running region.
#[derive(Clone)]
pub struct ControlClient {
    base: String,
    authorization: HeaderValue,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl ControlClient {
    /// A client of the region that the arguments name.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`] if the data directory has no ready file; [`ControlError::ReadyFile`] if it is invalid;
    /// [`ControlError::NoToken`]; [`ControlError::TokenInvalid`].
    pub fn reach(args: &ReachArgs) -> Result<Self, ControlError> {
        let Some(url) = &args.control_url else {
            let ready = ready(args)?.ok_or_else(|| ControlError::NotRunning(args.data.clone()))?;
            return Self::at(&ready.control_url, &ready.control_token);
        };
        if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
            return Self::at(url, &Zeroizing::new(token));
        }
        // The token of one region is not sent to another address.
        let url = url.trim_end_matches('/');
        let ready = ready(args)?.filter(|ready| ready.control_url == url);
        let ready = ready.ok_or_else(|| ControlError::NoToken { url: url.to_owned() })?;
        Self::at(url, &ready.control_token)
    }

    /// A client of the control API at `url` with this token.
    ///
    /// # Errors
    /// [`ControlError::TokenInvalid`].
    pub fn at(url: &str, token: &str) -> Result<Self, ControlError> {
        let http = Client::builder(TokioExecutor::new()).build_http();
        let bearer = Zeroizing::new(format!("Bearer {token}"));
        let mut authorization = HeaderValue::from_str(&bearer).map_err(|_| ControlError::TokenInvalid)?;
        authorization.set_sensitive(true);
        Ok(Self { base: url.trim_end_matches('/').to_owned(), authorization, http })
    }

    /// Fetches the status of the region.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.send(Method::GET, "/status", &()).await
    }

    /// Injects a fault and returns the status once it is in effect.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn fault(&self, fault: &FaultRequest) -> Result<Status, ControlError> {
        self.send(Method::POST, "/fault", fault).await
    }

    /// Heals units and returns the status once they serve, or after a short wait.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn heal(&self, target: &Target) -> Result<Status, ControlError> {
        self.send(Method::POST, "/heal", target).await
    }

    /// Adds an operational unit and returns its number, with the status once it serves, or after a short wait.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn add_unit(&self, zone: Option<String>) -> Result<AddedUnit, ControlError> {
        self.send(Method::POST, "/units", &AddUnitRequest { zone }).await
    }

    /// Drains an operational unit and returns the status once it has no requests outstanding.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn drain_unit(&self, unit: u16) -> Result<Status, ControlError> {
        self.send(Method::POST, &format!("/units/{unit}/drain"), &()).await
    }

    /// Has a drained unit serve again and returns the status once it serves, or after a short wait.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn resume_unit(&self, unit: u16) -> Result<Status, ControlError> {
        self.send(Method::POST, &format!("/units/{unit}/resume"), &()).await
    }

    /// Drains, zeroizes and removes an operational unit and returns the status without it. A `lost` one is removed even if
    /// it cannot be zeroized.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn remove_unit(&self, unit: u16, lost: bool) -> Result<Status, ControlError> {
        self.send(Method::POST, &format!("/units/{unit}/remove"), &RemoveUnitRequest { lost }).await
    }

    /// Fetches the clock.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn clock(&self) -> Result<ClockStatus, ControlError> {
        self.send(Method::GET, "/clock", &()).await
    }

    /// Moves the clock forward and returns it.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn advance(&self, seconds: u64) -> Result<ClockStatus, ControlError> {
        self.send(Method::POST, "/clock/advance", &AdvanceRequest { seconds }).await
    }

    /// The same client for the paths below `prefix`.
    pub(super) fn below(mut self, prefix: &str) -> Self {
        self.base += prefix;
        self
    }

    pub(super) async fn send<B: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<R, ControlError> {
        let unreachable = |source| ControlError::Unreachable { url: self.base.clone(), source };
        let body =
            if method == Method::GET { Vec::new() } else { serde_json::to_vec(body).unwrap_or_default() };
        let (status, body) = self.exchange(method, path, Bytes::from(body)).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| unreachable(e.into()));
        }
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let said =
            said.get("error").and_then(|e| e.as_str()).unwrap_or("the region refused without a reason");
        Err(ControlError::Refused(said.to_owned()))
    }

    /// Sends a request; returns the status and the body of the answer.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        let unreachable = |source| ControlError::Unreachable { url: self.base.clone(), source };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| unreachable(e.into()))?;
        let answer = self.http.request(request).await.map_err(|e| unreachable(e.into()))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|e| unreachable(e.into()))?.to_bytes();
        Ok((status, body))
    }
}

/// The ready file of the region in the data directory, if one runs there.
fn ready(args: &ReachArgs) -> Result<Option<ReadyFile>, ControlError> {
    let path = DataDir::ready_file(&args.data);
    let unreadable = |source| ControlError::ReadyFile { path: path.clone(), source };
    let content = crate::files::read_if_present(&path).map_err(unreadable)?;
    content.map(|content| serde_json::from_slice(&content).map_err(|e| unreadable(e.into()))).transpose()
}
