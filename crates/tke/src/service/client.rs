//! Requests to a signing service.

use super::{NamedKey, SigningServiceError};
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
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Longest response body that is read, in bytes.
const MAX_RESPONSE_LEN: usize = 16 * 1024;

/// Whether the host of a URI is a name or an address of the loopback interface, where plain HTTP shows nothing to a network.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Time limits of a request to a signing service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningServiceTimeouts {
    /// Limit until the connection is established.
    pub connect: Duration,
    /// Limit of the whole request, until the response is complete.
    pub whole: Duration,
}

impl Default for SigningServiceTimeouts {
    /// 5 s to connect, 30 s in all.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), whole: Duration::from_secs(30) }
    }
}

/// A signing service. Clones share its connections.
#[derive(Clone)]
pub struct SigningService {
    base: String,
    timeouts: SigningServiceTimeouts,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl SigningService {
    /// The service at this address: `https`, or `http` on this machine. With `https`, the root certificates of the operating
    /// system are trusted.
    ///
    /// # Errors
    /// [`SigningServiceError::AddressInvalid`]; [`SigningServiceError::PlainHttp`] for `http` on another machine;
    /// [`SigningServiceError::NoRoots`].
    pub fn new(url: &str, timeouts: SigningServiceTimeouts) -> Result<Self, SigningServiceError> {
        let mut roots = RootCertStore::empty();
        if url.starts_with("https:") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(SigningServiceError::NoRoots);
            }
        }
        Self::with_roots(url, timeouts, roots)
    }

    /// The service at this address. With `https`, only these root certificates (DER) are trusted.
    ///
    /// # Errors
    /// As [`SigningService::new`].
    pub fn trusting(
        url: &str,
        timeouts: SigningServiceTimeouts,
        roots: &[Vec<u8>],
    ) -> Result<Self, SigningServiceError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(CertificateDer::from_slice(root)).map_err(|_| SigningServiceError::NoRoots)?;
        }
        Self::with_roots(url, timeouts, store)
    }

    fn with_roots(
        url: &str,
        timeouts: SigningServiceTimeouts,
        roots: RootCertStore,
    ) -> Result<Self, SigningServiceError> {
        let invalid = || SigningServiceError::AddressInvalid(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.host().filter(|host| known && !host.is_empty() && uri.query().is_none());
        let host = host.ok_or_else(invalid)?;
        if uri.scheme_str() == Some("http") && !is_loopback_host(host) {
            return Err(SigningServiceError::PlainHttp(url.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| SigningServiceError::NoRoots)?
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

    /// Address of the service.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Sends a request within the time limit: `GET` without a body, `POST` with one.
    pub(super) async fn call<A: DeserializeOwned>(
        &self,
        route: &str,
        key: &NamedKey,
        body: Option<Vec<u8>>,
    ) -> Result<A, SigningServiceError> {
        let call = self.request(route, key, body)?;
        let answer = tokio::time::timeout(self.timeouts.whole, self.answer(call)).await;
        let bytes = answer.map_err(|_| SigningServiceError::TimedOut(self.timeouts.whole))??;
        serde_json::from_slice(&bytes)
            .map_err(|_| SigningServiceError::Malformed("it is not the expected JSON"))
    }

    fn request(
        &self,
        route: &str,
        key: &NamedKey,
        body: Option<Vec<u8>>,
    ) -> Result<Request<Full<Bytes>>, SigningServiceError> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let url = format!("{}/{route}/{}", self.base, key.key);
        let mut request = Request::builder().method(method).uri(&url);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &key.token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| SigningServiceError::TokenInvalid(key.key.to_string()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        request.body(body).map_err(|_| SigningServiceError::AddressInvalid(url))
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Bytes, SigningServiceError> {
        let answer = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                SigningServiceError::Unreachable(error.into())
            } else {
                SigningServiceError::Interrupted(error.into())
            }
        })?;
        if answer.status() != StatusCode::OK {
            return Err(SigningServiceError::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), MAX_RESPONSE_LEN).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                SigningServiceError::Malformed("it is too long")
            } else {
                SigningServiceError::Interrupted(error)
            }
        })
    }
}

/// Address and time limits.
impl fmt::Debug for SigningService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningService")
            .field("url", &self.base)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
