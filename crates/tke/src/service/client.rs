//! One call to a signing service.

use super::{NamedKey, ServiceError};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Longest answer that is read, in bytes.
const MAX_ANSWER_LEN: usize = 16 * 1024;

/// How long a signing service is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// From the beginning of the call to its answer's end.
    pub whole: Duration,
}

impl Default for ServiceTimeouts {
    /// 5 s and 30 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), whole: Duration::from_secs(30) }
    }
}

/// A signing service: an address, and how long to wait for it. Clones share its connections.
#[derive(Clone)]
pub struct SigningService {
    base: String,
    timeouts: ServiceTimeouts,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl SigningService {
    /// The service at this address, `http` or `https`. Over `https` it is trusted by the certificates that the operating
    /// system trusts; over `http` its tokens can be read on the way, so that it belongs on this machine.
    ///
    /// # Errors
    /// [`ServiceError::AddressInvalid`], [`ServiceError::NoRoots`].
    pub fn new(url: &str, timeouts: ServiceTimeouts) -> Result<Self, ServiceError> {
        let mut roots = RootCertStore::empty();
        if url.starts_with("https:") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(ServiceError::NoRoots);
            }
        }
        Self::with_roots(url, timeouts, roots)
    }

    /// The service at this address, trusted over `https` by these roots alone, each a certificate in DER.
    ///
    /// # Errors
    /// [`ServiceError::AddressInvalid`], [`ServiceError::NoRoots`].
    pub fn trusting(url: &str, timeouts: ServiceTimeouts, roots: &[Vec<u8>]) -> Result<Self, ServiceError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(CertificateDer::from_slice(root)).map_err(|_| ServiceError::NoRoots)?;
        }
        Self::with_roots(url, timeouts, store)
    }

    fn with_roots(url: &str, timeouts: ServiceTimeouts, roots: RootCertStore) -> Result<Self, ServiceError> {
        let invalid = || ServiceError::AddressInvalid(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !known || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(invalid());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| ServiceError::NoRoots)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeouts.connect));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base: url.trim_end_matches('/').to_owned(), timeouts, client })
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// One call, whole within its time: `GET` without a body, `POST` with one.
    pub(super) async fn call<A: DeserializeOwned>(
        &self,
        route: &str,
        key: &NamedKey,
        body: Option<Vec<u8>>,
    ) -> Result<A, ServiceError> {
        let call = self.request(route, key, body)?;
        let answer = tokio::time::timeout(self.timeouts.whole, self.answer(call)).await;
        let bytes = answer.map_err(|_| ServiceError::TimedOut(self.timeouts.whole))??;
        serde_json::from_slice(&bytes).map_err(|_| ServiceError::Malformed("not the JSON it should be"))
    }

    fn request(
        &self,
        route: &str,
        key: &NamedKey,
        body: Option<Vec<u8>>,
    ) -> Result<Request<Full<Bytes>>, ServiceError> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let url = format!("{}/{route}/{}", self.base, key.key);
        let mut request = Request::builder().method(method).uri(&url);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &key.token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| ServiceError::TokenInvalid(key.key.to_string()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        request.body(body).map_err(|_| ServiceError::AddressInvalid(url))
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ServiceError> {
        let answer = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                ServiceError::Unreachable(error.into())
            } else {
                ServiceError::Interrupted(error.into())
            }
        })?;
        if answer.status() != StatusCode::OK {
            return Err(ServiceError::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER_LEN).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                ServiceError::Malformed("longer than any answer")
            } else {
                ServiceError::Interrupted(error)
            }
        })
    }
}

/// The address.
impl fmt::Debug for SigningService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningService")
            .field("url", &self.base)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
