//! A minimal Key Protect client. It never retries a request.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// There was no response.
    #[error("no response")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The response has an error status.
    #[error("{status}: {message}")]
    Status {
        /// HTTP status of the response.
        status: StatusCode,
        /// Error message of the response.
        message: String,
    },
    /// The response is malformed.
    #[error("the response does not match the documentation of the API")]
    Answer,
}

/// A client of one instance, with one token.
#[derive(Clone)]
pub(super) struct RestClient {
    http: Client<HttpConnector, Full<Bytes>>,
    base: String,
    authorization: String,
    instance: String,
}

#[derive(Serialize)]
struct WrapBody<'a> {
    plaintext: &'a str,
}

#[derive(Serialize)]
struct UnwrapBody<'a> {
    ciphertext: &'a str,
}

#[derive(Deserialize)]
struct Wrapped {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Unwrapped {
    plaintext: String,
}

impl RestClient {
    pub(super) fn new(base: &str, token: &str, instance: Uuid) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            base: format!("{base}/api/v2/keys"),
            authorization: format!("Bearer {token}"),
            instance: instance.to_string(),
        }
    }

    /// Creates a root key and returns its ID.
    pub(super) async fn create_root_key(&self, name: &str) -> Result<String, RestError> {
        let kind = "application/vnd.ibm.kms.key+json";
        let body = json!({
            "metadata": {"collectionType": kind, "collectionTotal": 1},
            "resources": [{"type": kind, "name": name, "extractable": false}],
        });
        let answer: serde_json::Value = self.post(&self.base, &body).await?;
        let id = answer.pointer("/resources/0/id").and_then(|id| id.as_str());
        id.map(str::to_owned).ok_or(RestError::Answer)
    }

    pub(super) async fn wrap(&self, root: &str, plaintext: &[u8]) -> Result<String, RestError> {
        let plaintext = BASE64_STANDARD.encode(plaintext);
        let url = format!("{}/{root}/actions/wrap", self.base);
        let Wrapped { ciphertext } = self.post(&url, &WrapBody { plaintext: &plaintext }).await?;
        Ok(ciphertext)
    }

    pub(super) async fn unwrap(&self, root: &str, ciphertext: &str) -> Result<Vec<u8>, RestError> {
        let url = format!("{}/{root}/actions/unwrap", self.base);
        let Unwrapped { plaintext } = self.post(&url, &UnwrapBody { ciphertext }).await?;
        BASE64_STANDARD.decode(plaintext).map_err(|_| RestError::Answer)
    }

    async fn post<R: for<'a> Deserialize<'a>>(
        &self,
        url: &str,
        body: &impl Serialize,
    ) -> Result<R, RestError> {
        let request = Request::post(url)
            .header("authorization", &self.authorization)
            .header("bluemix-instance", &self.instance)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(body).map_err(|_| RestError::Answer)?)))
            .map_err(|e| RestError::Transport(e.into()))?;
        let answer = self.http.request(request).await.map_err(|e| RestError::Transport(e.into()))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|e| RestError::Transport(e.into()))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| RestError::Answer);
        }
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let message =
            said.pointer("/resources/0/errorMsg").and_then(|m| m.as_str()).unwrap_or("no message").to_owned();
        Err(RestError::Status { status, message })
    }
}
