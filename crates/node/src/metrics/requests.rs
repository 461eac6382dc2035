//! Requests: their number, codes and latencies.

use super::hpcs::HpcsWindow;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use server::observe::{AnsweredRequest, RequestObserver};
use server::rest::Instance;
use std::sync::Arc;
use std::time::Instant;

/// Upper bounds of the latency buckets, in seconds.
const BOUNDS: [f64; 12] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0];

/// Counts requests.
pub(crate) struct NodeObserver {
    latency: Family<RequestLabels, Histogram, LatencyHistogram>,
    hpcs: Arc<HpcsWindow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    api: &'static str,
    method: String,
    route: String,
    code: u16,
}

#[derive(Clone, Copy, Debug)]
struct LatencyHistogram;

impl MetricConstructor<Histogram> for LatencyHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BOUNDS)
    }
}

impl NodeObserver {
    pub(super) fn new(instances: &[Instance]) -> Self {
        Self {
            latency: Family::new_with_constructor(LatencyHistogram),
            hpcs: Arc::new(HpcsWindow::new(instances)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "request_duration_seconds",
            "Time from the end of a request's header to the start of its answer",
            self.latency.clone(),
        );
    }

    pub(super) fn register_hpcs(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(&self.hpcs)));
    }
}

impl RequestObserver for NodeObserver {
    fn answered(&self, request: &AnsweredRequest<'_>) {
        let labels = RequestLabels {
            api: request.api,
            method: request.method.to_owned(),
            route: request.route.to_owned(),
            code: request.status,
        };
        self.latency.get_or_create(&labels).observe(request.elapsed.as_secs_f64());
        self.hpcs.answered(request, Instant::now());
    }
}
