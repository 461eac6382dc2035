//! What is logged and measured of every request, whatever its API.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{Instrument as _, debug, info_span};
use uuid::Uuid;

/// Names a request in logs; taken from the request or drawn at random, and returned.
const CORRELATION_ID: HeaderName = HeaderName::from_static("correlation-id");
/// Other spelling of [`CORRELATION_ID`], accepted in requests.
const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const MAX_CORRELATION_ID_LEN: usize = 128;
/// Route of requests that match none.
const NO_ROUTE: &str = "unmatched";
/// Last segments of a route that say what is done. Any other value would make metrics unbounded.
const ACTIONS: [&str; 7] = ["wrap", "unwrap", "rewrap", "rotate", "enable", "disable", "restore"];

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AnsweredRequest<'a> {
    /// Module of the API: `rest`, `iam`, `tke` or `health`.
    pub api: &'static str,
    /// HTTP method; `other` for one that no API uses.
    pub method: &'a str,
    /// Template of the path, with the action in place of `{action}`; `unmatched` for an unknown path.
    pub route: &'a str,
    /// Instance that the request names, which need not exist.
    pub instance: Option<Uuid>,
    /// HTTP status of the answer.
    pub status: u16,
    /// From the end of the request's header to the start of the answer.
    pub elapsed: Duration,
}

impl<'a> AnsweredRequest<'a> {
    /// A request with these facts.
    #[must_use]
    pub const fn new(
        api: &'static str,
        method: &'a str,
        route: &'a str,
        instance: Option<Uuid>,
        status: u16,
        elapsed: Duration,
    ) -> Self {
        Self { api, method, route, instance, status, elapsed }
    }
}

/// Receives every request after it was answered.
pub trait RequestObserver: Send + Sync + 'static {
    /// Called once for each request.
    fn answered(&self, request: &AnsweredRequest<'_>);
}

struct Observation {
    api: &'static str,
    observer: Arc<dyn RequestObserver>,
}

/// Adds a span, a correlation id and an observer to all routes of an API and to its fallback.
///
/// Everything that is logged while a request is processed is in the span `request`, which has its correlation id.
pub fn observed(router: Router, api: &'static str, observer: Arc<dyn RequestObserver>) -> Router {
    router.layer(from_fn_with_state(Arc::new(Observation { api, observer }), observe))
}

async fn observe(State(observation): State<Arc<Observation>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = method(request.method());
    let route = route(&request);
    let instance = instance(&request);
    let id = correlation_id(request.headers());
    let api = observation.api;
    let span = info_span!("request", correlation_id = id.to_str().unwrap_or_default(), api, method, route);
    let mut response = async {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        let elapsed = began.elapsed();
        debug!(status, elapsed_us = elapsed.as_micros(), "request answered");
        observation.observer.answered(&AnsweredRequest {
            api,
            method,
            route: &route,
            instance,
            status,
            elapsed,
        });
        response
    }
    .instrument(span)
    .await;
    response.headers_mut().insert(CORRELATION_ID, id);
    response
}

/// The request's correlation id if it is printable and not too long, else a new one.
fn correlation_id(headers: &HeaderMap) -> HeaderValue {
    let mut given = [CORRELATION_ID, X_CORRELATION_ID].into_iter().filter_map(|name| headers.get(name));
    let is_good =
        |id: &&HeaderValue| !id.is_empty() && id.len() <= MAX_CORRELATION_ID_LEN && id.to_str().is_ok();
    given.find(is_good).cloned().unwrap_or_else(|| {
        // A UUID is visible ASCII.
        HeaderValue::try_from(Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none"))
    })
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn route(request: &Request) -> String {
    let Some(matched) = request.extensions().get::<MatchedPath>() else { return NO_ROUTE.to_owned() };
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    match matched.as_str().strip_suffix("{action}") {
        Some(prefix) if ACTIONS.contains(&last) => format!("{prefix}{last}"),
        _ => matched.as_str().to_owned(),
    }
}

/// The instance in Key Protect's header, or in the path of the customers' tools.
fn instance(request: &Request) -> Option<Uuid> {
    let text = match request.headers().get("bluemix-instance") {
        Some(header) => header.to_str().ok()?,
        None => request.uri().path().strip_prefix("/v1/tke/")?.split('/').next()?,
    };
    Uuid::try_parse(text).ok()
}
