//! The operator's address.

use super::{alive, readiness};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write as _;
use std::sync::Arc;

/// Media type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One thing that has to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Its name: one word.
    pub name: &'static str,
    /// `Err` is what is wrong, for people.
    pub outcome: Result<(), String>,
}

/// What the operator's address shows.
pub trait OperatorSource: Send + Sync + 'static {
    /// Whether calls can be served now; `Err` is the reason why not.
    fn readiness(&self) -> Result<(), String>;

    /// All checks.
    fn checks(&self) -> Vec<HealthCheck>;

    /// Metrics in Prometheus' text format, version 0.0.4.
    fn metrics(&self) -> String;
}

/// `/livez`, `/readyz`, `/healthz` and `/metrics`.
pub fn operator_router(source: Arc<dyn OperatorSource>) -> Router {
    Router::new()
        .route("/livez", get(async || alive()))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(source)
}

type Source = State<Arc<dyn OperatorSource>>;

async fn readyz(State(source): Source) -> Response {
    readiness(source.readiness())
}

async fn metrics(State(source): Source) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], source.metrics()).into_response()
}

async fn healthz(State(source): Source, RawQuery(query): RawQuery) -> Response {
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    let checks = source.checks();
    let healthy = checks.iter().all(|check| check.outcome.is_ok());
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report(&checks, verbose)).into_response()
}

/// One line for each failed check, and with `verbose` for the others too; then the result.
fn report(checks: &[HealthCheck], verbose: bool) -> String {
    let mut text = String::new();
    for HealthCheck { name, outcome } in checks {
        // Writing to a string does not fail.
        let _ = match outcome {
            Err(why) => writeln!(text, "[-] {name}: {why}"),
            Ok(()) if verbose => writeln!(text, "[+] {name}"),
            Ok(()) => Ok(()),
        };
    }
    let healthy = checks.iter().all(|check| check.outcome.is_ok());
    text.push_str(if healthy { "ok\n" } else { "failed\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::{HealthCheck, report};

    #[test]
    fn failed_checks_are_always_named_and_others_on_demand() {
        let good = HealthCheck { name: "keystore", outcome: Ok(()) };
        let bad = HealthCheck { name: "units", outcome: Err("no crypto unit serves".to_owned()) };
        assert_eq!(report(std::slice::from_ref(&good), false), "ok\n");
        assert_eq!(report(std::slice::from_ref(&good), true), "[+] keystore\nok\n");
        assert_eq!(report(&[good, bad], false), "[-] units: no crypto unit serves\nfailed\n");
    }
}
