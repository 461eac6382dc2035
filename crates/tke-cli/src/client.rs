//! HTTP client of the service's TKE protocol.
//!
//! The service forwards bytes. What a unit says is believed where its module has signed it, in [`tke`].

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};
use tke::rotation::RotationService;
use tke::service::is_loopback_host;
use tke::unit::{PortError, UnitPort};
use uuid::Uuid;
use wire::tke::{
    Der, ForwardRequest, ForwardResponse, KeptAudit, KeystoreStatus, RemovalOptions, RemovalRefusal,
    RemovalResponse, RotationAction, RotationStatus, UnitList, audit_path, instance_path, keystore_path,
    rotation_path, unit_path, units_path,
};
use zeroize::Zeroizing;

/// Time limit of one request. A unit that generates keys takes some tens of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest response body that is read, in bytes.
const MAX_RESPONSE_LEN: usize = 256 * 1024;

/// Reason why the service gave no usable response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is not of the form `http://HOST:PORT`.
    #[error("`{0}` is not the address of a service: write http://127.0.0.1:PORT")]
    AddressInvalid(String),
    /// Plain HTTP to another machine would show the bearer token to the network.
    #[error(
        "{0} is on another machine: over plain http, the bearer token could be read on the network. Use a tunnel that \
         ends on this machine"
    )]
    PlainHttp(String),
    /// The bearer token contains characters that an HTTP header cannot have.
    #[error("the bearer token contains characters that are not allowed in an HTTP header")]
    TokenInvalid,
    /// No connection, or the connection broke.
    #[error("no service answers at {url}")]
    Unreachable {
        /// Base address of the service.
        url: String,
        /// Error of the connection.
        source: Box<dyn Error + Send + Sync>,
    },
    /// There was no response within the time limit.
    #[error("the service did not answer within {0:?}")]
    TimedOut(Duration),
    /// The service answered with an error status.
    #[error("the service refused the request ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Message of the response body.
        message: String,
    },
    /// The response is not what the protocol defines.
    #[error("the service's response is invalid: {0}")]
    InvalidResponse(&'static str),
}

/// A service, an instance of it, and a caller.
#[derive(Clone)]
pub(crate) struct ServiceClient {
    base: String,
    instance: Uuid,
    authorization: HeaderValue,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// Response to a request to remove the instance.
pub(crate) enum Removal {
    /// The instance is removed.
    Done(RemovalResponse),
    /// The instance is as it was.
    Refused(RemovalRefusal),
}

impl ServiceClient {
    pub(crate) fn new(url: &str, instance: Uuid, token: &str) -> Result<Self, ClientError> {
        let invalid = || ClientError::AddressInvalid(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(invalid)?;
        if !is_loopback_host(host) {
            return Err(ClientError::PlainHttp(url.to_owned()));
        }
        let text = Zeroizing::new(format!("Bearer {token}"));
        let mut authorization = HeaderValue::from_str(&text).map_err(|_| ClientError::TokenInvalid)?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base: url.trim_end_matches('/').to_owned(), instance, authorization, http })
    }

    pub(crate) const fn instance(&self) -> Uuid {
        self.instance
    }

    /// The same service and caller, another instance.
    pub(crate) fn for_instance(&self, instance: Uuid) -> Self {
        Self { instance, ..self.clone() }
    }

    pub(crate) async fn units(&self) -> Result<UnitList, ClientError> {
        self.get(&units_path(self.instance)).await
    }

    pub(crate) async fn keystore(&self) -> Result<KeystoreStatus, ClientError> {
        self.get(&keystore_path(self.instance)).await
    }

    pub(crate) async fn rotation(&self) -> Result<RotationStatus, ClientError> {
        self.get(&rotation_path(self.instance)).await
    }

    /// Audit records of a unit that the service has kept, from this one; `None` if it keeps none.
    pub(crate) async fn kept_audit(
        &self,
        hsm_id: Uuid,
        first: u64,
    ) -> Result<Option<KeptAudit>, ClientError> {
        let (status, body) = self.send(Method::GET, &audit_path(self.instance, hsm_id, first), None).await?;
        match status {
            200 => parse(&body).map(Some),
            404 | 405 => Ok(None),
            _ => Err(refused(status, &body)),
        }
    }

    /// Removes the instance.
    pub(crate) async fn remove(&self, options: RemovalOptions) -> Result<Removal, ClientError> {
        let path = format!("{}{}", instance_path(self.instance), options.query());
        let (status, body) = self.send(Method::DELETE, &path, None).await?;
        match status {
            200 => parse(&body).map(Removal::Done),
            409 => parse(&body).map(Removal::Refused),
            _ => Err(refused(status, &body)),
        }
    }

    /// The port to one unit.
    pub(crate) fn unit_port(&self, hsm_id: Uuid) -> HttpUnitPort {
        HttpUnitPort { service: self.clone(), path: unit_path(self.instance, hsm_id) }
    }

    async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, ClientError> {
        let (status, body) = self.send(Method::GET, path, None).await?;
        accept(status, &body)
    }

    async fn post<R: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<R, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|_| ClientError::InvalidResponse("a request could not be written as JSON"))?;
        let (status, body) = self.send(Method::POST, path, Some(body)).await?;
        accept(status, &body)
    }

    /// Sends a request and reads the whole response within the time limit.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Bytes), ClientError> {
        let started = Instant::now();
        let exchange = tokio::time::timeout(TIMEOUT, self.exchange(method.clone(), path, body)).await;
        let result = exchange.unwrap_or(Err(ClientError::TimedOut(TIMEOUT)));
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok((status, body)) => {
                tracing::debug!(%method, path, status, body_len = body.len(), elapsed_ms, "service answered");
            }
            Err(error) => {
                let error = wire::text::error_chain(error);
                tracing::debug!(%method, path, elapsed_ms, error, "service request failed");
            }
        }
        result
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Bytes), ClientError> {
        let unreachable = |source: Box<dyn Error + Send + Sync>| ClientError::Unreachable {
            url: self.base.clone(),
            source,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| unreachable(e.into()))?;
        let response = self.http.request(request).await.map_err(|e| unreachable(e.into()))?;
        let status = response.status().as_u16();
        let body =
            Limited::new(response.into_body(), MAX_RESPONSE_LEN).collect().await.map_err(unreachable)?;
        Ok((status, body.to_bytes()))
    }
}

impl RotationService for ServiceClient {
    async fn status(&self) -> Result<RotationStatus, PortError> {
        Ok(self.rotation().await?)
    }

    async fn act(&self, action: &RotationAction) -> Result<RotationStatus, PortError> {
        Ok(self.post(&rotation_path(self.instance), action).await?)
    }
}

/// Base address and instance, without the token.
impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient")
            .field("base", &self.base)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// The port to one unit of an instance.
pub(crate) struct HttpUnitPort {
    service: ServiceClient,
    path: String,
}

impl UnitPort for HttpUnitPort {
    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, PortError> {
        let body = ForwardRequest { request: Der(request.to_vec()) };
        let response: ForwardResponse = self.service.post(&self.path, &body).await?;
        Ok(response.response.0)
    }
}

fn accept<R: DeserializeOwned>(status: u16, body: &[u8]) -> Result<R, ClientError> {
    if (200..300).contains(&status) { parse(body) } else { Err(refused(status, body)) }
}

fn parse<R: DeserializeOwned>(body: &[u8]) -> Result<R, ClientError> {
    serde_json::from_slice(body).map_err(|error| {
        tracing::debug!(%error, "response body is not the expected JSON");
        ClientError::InvalidResponse("its body is not the expected JSON")
    })
}

fn refused(status: u16, body: &[u8]) -> ClientError {
    ClientError::Refused { status, message: message(body) }
}

/// The message of a refusal, in any of the forms that the service's APIs have.
fn message(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let places = ["/error", "/message", "/errors/0/message", "/resources/0/errorMsg"];
    let found = places.iter().find_map(|place| body.pointer(place)?.as_str());
    found.unwrap_or("no reason given").chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::{ClientError, ServiceClient};
    use uuid::Uuid;

    #[test]
    fn a_token_does_not_travel_in_the_clear() {
        let connect = |url| ServiceClient::new(url, Uuid::nil(), "token");
        for url in ["http://127.0.0.1:8900", "http://localhost:1/", "http://[::1]:8900"] {
            assert!(connect(url).is_ok(), "{url}");
        }
        assert!(matches!(connect("http://192.0.2.1:8900"), Err(ClientError::PlainHttp(_))));
        for url in ["", "ftp://127.0.0.1", "127.0.0.1:80", "http://"] {
            assert!(matches!(connect(url), Err(ClientError::AddressInvalid(_))), "{url}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let client = ServiceClient::new("http://127.0.0.1:1", Uuid::nil(), "hush").unwrap();
        assert!(!format!("{client:?}").contains("hush"));
    }
}
