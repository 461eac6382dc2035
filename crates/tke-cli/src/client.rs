//! The way to units: the service's HTTP endpoints. The service carries bytes; what they say is signed.

use crate::commands::rotation::Standing;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt;
use std::time::Duration;
use tke::unit::{PortError, UnitPort};
use unit_api::VerificationPattern;
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long an exchange may take. A unit that draws keys takes some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer that is read, in bytes.
const MAX_ANSWER_LEN: usize = 256 * 1024;

/// Why the service gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Not an address.
    #[error("`{0}` is no address of a service: write http://127.0.0.1:PORT")]
    AddressInvalid(String),
    /// The token would travel in the clear.
    #[error(
        "{0} is on another machine, and over plain http the bearer token could be read on the way: use a tunnel that ends here"
    )]
    PlainHttp(String),
    /// The token cannot stand in a header.
    #[error("the bearer token cannot stand in an HTTP header")]
    TokenInvalid,
    /// Nobody answers.
    #[error("no service answers at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Too late.
    #[error("the service did not answer within {0:?}")]
    TimedOut(Duration),
    /// It said no.
    #[error("the service refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// What it said makes no sense.
    #[error("the service's answer is not what this program understands: {0}")]
    Malformed(&'static str),
}

/// A service, an instance of it, and a caller.
#[derive(Clone)]
pub(crate) struct Service {
    base: String,
    instance: Uuid,
    authorization: HeaderValue,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// Units as the service lists them.
#[derive(Debug, Deserialize)]
pub(crate) struct Hsms {
    #[serde(default)]
    pub(crate) hsms: Vec<Hsm>,
    #[serde(default)]
    pub(crate) source_hsms: Vec<Hsm>,
    #[serde(default)]
    pub(crate) failover_hsms: Vec<Hsm>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(crate) struct Hsm {
    pub(crate) hsm_id: String,
    pub(crate) location: String,
    pub(crate) module_id: String,
    pub(crate) domain: u32,
}

/// What the service says of its keystore. Its word alone: it keeps from mistakes, not from the operator.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Keystore {
    /// Pattern of the master key that the keys are under, in hexadecimal; none while there are none.
    pub(crate) pattern: Option<String>,
    /// Of the one that a rotation goes to.
    #[serde(default)]
    pub(crate) next: Option<String>,
    /// How many keys; none while nobody can tell.
    #[serde(default)]
    pub(crate) keys: Option<u64>,
    /// In a word.
    #[serde(default)]
    pub(crate) state: String,
}

/// What came of deleting an instance.
pub(crate) enum Deletion {
    /// It is gone.
    Done {
        /// What the keystore had of it.
        entries: u64,
        /// What to do now.
        next: String,
    },
    /// It is there.
    Refused(InTheWay),
}

/// What an instance is not deleted for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct InTheWay {
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) units: Vec<KeyedUnit>,
    /// Keys that are left.
    #[serde(default)]
    pub(crate) keys: u64,
    /// Nobody can tell which of them are deleted.
    #[serde(default)]
    pub(crate) unreadable: bool,
}

/// A unit that is not zeroized.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct KeyedUnit {
    pub(crate) unit: u16,
    pub(crate) why: String,
}

#[derive(Deserialize)]
struct DeletionAnswer {
    entries: u64,
    next: String,
}

#[derive(Serialize)]
struct ExchangeBody {
    request: String,
}

#[derive(Deserialize)]
struct ExchangeAnswer {
    response: String,
}

impl Service {
    pub(crate) fn new(url: &str, instance: Uuid, token: &str) -> Result<Self, ServiceError> {
        let invalid = || ServiceError::AddressInvalid(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(invalid)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !here {
            return Err(ServiceError::PlainHttp(url.to_owned()));
        }
        let text = Zeroizing::new(format!("Bearer {token}"));
        let mut authorization = HeaderValue::from_str(&text).map_err(|_| ServiceError::TokenInvalid)?;
        authorization.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base: url.trim_end_matches('/').to_owned(), instance, authorization, http })
    }

    pub(crate) const fn instance(&self) -> Uuid {
        self.instance
    }

    /// The same service, another instance of it.
    pub(crate) fn for_instance(&self, instance: Uuid) -> Self {
        Self { instance, ..self.clone() }
    }

    pub(crate) async fn hsms(&self) -> Result<Hsms, ServiceError> {
        self.call(Method::GET, "hsms", None).await
    }

    pub(crate) async fn keystore(&self) -> Result<Keystore, ServiceError> {
        self.call(Method::GET, "keystore", None).await
    }

    pub(crate) async fn rotation(&self) -> Result<Standing, ServiceError> {
        self.call(Method::GET, "rotation", None).await
    }

    /// Takes a step of a rotation. `exclude` are units that have been given up.
    pub(crate) async fn rotate(
        &self,
        action: &'static str,
        pattern: Option<VerificationPattern>,
        exclude: &[u16],
    ) -> Result<(), ServiceError> {
        let mut body = serde_json::json!({ "action": action });
        if let (Some(pattern), Some(body)) = (pattern, body.as_object_mut()) {
            body.insert("pattern".to_owned(), pattern.to_string().into());
        }
        if let (false, Some(body)) = (exclude.is_empty(), body.as_object_mut()) {
            body.insert("exclude".to_owned(), exclude.into());
        }
        self.call(Method::POST, "rotation", Some(body.to_string().into_bytes())).await.map(|_: Standing| ())
    }

    /// Deletes the instance.
    pub(crate) async fn delete(&self, destroy_keys: bool) -> Result<Deletion, ServiceError> {
        let query = if destroy_keys { "?destroy_keys=true" } else { "" };
        let (status, body) = self.timely(Method::DELETE, query, None).await?;
        let malformed = |_| ServiceError::Malformed("not the JSON it should be");
        match status {
            200 => serde_json::from_slice(&body)
                .map(|DeletionAnswer { entries, next }| Deletion::Done { entries, next })
                .map_err(malformed),
            409 => serde_json::from_slice(&body).map(Deletion::Refused).map_err(malformed),
            _ => Err(ServiceError::Refused { status, message: message(&body) }),
        }
    }

    /// The way to one unit.
    pub(crate) fn port(&self, hsm_id: &str) -> HttpPort {
        HttpPort { service: self.clone(), path: format!("hsms/{hsm_id}") }
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<A, ServiceError> {
        let (status, body) = self.timely(method, &format!("/{path}"), body).await?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&body)
                .map_err(|_| ServiceError::Malformed("not the JSON it should be"));
        }
        Err(ServiceError::Refused { status, message: message(&body) })
    }

    async fn timely(
        &self,
        method: Method,
        below: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Bytes), ServiceError> {
        let answered = tokio::time::timeout(PATIENCE, self.answer(method, below, body)).await;
        answered.map_err(|_| ServiceError::TimedOut(PATIENCE))?
    }

    /// Status and body of a request to what stands `below` the instance.
    async fn answer(
        &self,
        method: Method,
        below: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Bytes), ServiceError> {
        let unreachable = |source: Box<dyn Error + Send + Sync>| ServiceError::Unreachable {
            url: self.base.clone(),
            source,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/tke/{}{below}", self.base, self.instance))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| unreachable(e.into()))?;
        let answer = self.http.request(request).await.map_err(|e| unreachable(e.into()))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_LEN).collect().await.map_err(unreachable)?;
        Ok((status, body.to_bytes()))
    }
}

/// What a refusal says, in any of the forms that the service's APIs have.
fn message(body: &[u8]) -> String {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let places = ["/error", "/message", "/errors/0/message", "/resources/0/errorMsg"];
    let found = places.iter().find_map(|place| said.pointer(place)?.as_str());
    found.unwrap_or("without a reason").chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The way to one unit of an instance.
pub(crate) struct HttpPort {
    service: Service,
    path: String,
}

impl UnitPort for HttpPort {
    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, PortError> {
        let body = ExchangeBody { request: BASE64_STANDARD.encode(request) };
        let body = serde_json::to_vec(&body)?;
        let answer: ExchangeAnswer = self.service.call(Method::POST, &self.path, Some(body)).await?;
        let response = BASE64_STANDARD.decode(answer.response);
        Ok(response.map_err(|_| ServiceError::Malformed("a crypto unit's answer is not in base64"))?)
    }
}

/// Where, without the token.
impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("base", &self.base)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Service, ServiceError};
    use uuid::Uuid;

    #[test]
    fn a_token_does_not_travel_in_the_clear() {
        let reach = |url| Service::new(url, Uuid::nil(), "token");
        for url in ["http://127.0.0.1:8900", "http://localhost:1/", "http://[::1]:8900"] {
            assert!(reach(url).is_ok(), "{url}");
        }
        assert!(matches!(reach("http://192.0.2.1:8900"), Err(ServiceError::PlainHttp(_))));
        for url in ["", "ftp://127.0.0.1", "127.0.0.1:80", "http://"] {
            assert!(matches!(reach(url), Err(ServiceError::AddressInvalid(_))), "{url}");
        }
    }
}
