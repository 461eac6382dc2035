//! Metrics of a node, in Prometheus' text format. `docs/metrics.md` lists them.

mod collector;
mod hpcs;
mod requests;

pub(crate) use requests::NodeObserver;

use crate::node::Shared;
use collector::NodeCollector;
use kms::InstanceId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::{Arc, Weak};

/// Begins the name of every metric but those that HPCS has named.
const PREFIX: &str = "hsm";

/// What the node counts. Everything else is read when metrics are asked for.
pub(crate) struct Metrics {
    pub(crate) requests: Arc<NodeObserver>,
    pub(crate) jobs: JobMetrics,
}

/// What background jobs count.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobMetrics {
    claimed: Family<JobLabels, Gauge>,
    sweeps: Counter,
    purged: Family<InstanceLabels, Counter>,
    processed: Family<InstanceLabels, Counter>,
    rotation: Family<InstanceLabels, Gauge>,
    rotation_total: Family<InstanceLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    job: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceLabels {
    instance: String,
}

fn of(instance: InstanceId) -> InstanceLabels {
    InstanceLabels { instance: instance.to_string() }
}

impl JobMetrics {
    pub(crate) fn claimed(&self, job: &'static str, claimed: bool) {
        self.claimed.get_or_create(&JobLabels { job }).set(claimed.into());
    }

    /// A sweep of all instances has ended.
    pub(crate) fn swept(&self) {
        self.sweeps.inc();
    }

    pub(crate) fn purged(&self, instance: InstanceId, keys: usize) {
        self.purged.get_or_create(&of(instance)).inc_by(keys as u64);
    }

    /// This node has processed so many key versions of a rotation.
    pub(crate) fn processed(&self, instance: InstanceId, key_versions: u64) {
        self.processed.get_or_create(&of(instance)).inc_by(key_versions);
    }

    /// How far the present phase of a rotation is; zeros while none is under way.
    pub(crate) fn rotation(&self, instance: InstanceId, done: u64, total: u64) {
        self.rotation.get_or_create(&of(instance)).set(done.try_into().unwrap_or(i64::MAX));
        self.rotation_total.get_or_create(&of(instance)).set(total.try_into().unwrap_or(i64::MAX));
    }

    fn register(&self, registry: &mut Registry) {
        let JobMetrics { claimed, sweeps, purged, processed, rotation, rotation_total } = self.clone();
        registry.register("job_claimed", "Whether this node holds the claim on a background job", claimed);
        registry.register("sweeps", "Searches for lapsed keys that this node has completed", sweeps);
        registry.register("purged_keys", "Lapsed keys that this node has purged", purged);
        registry.register(
            "rotation_processed_key_versions",
            "Key versions of rotations that this node has processed",
            processed,
        );
        registry.register(
            "rotation_done_key_versions",
            "Key versions that the present phase of a rotation has processed, on all nodes",
            rotation,
        );
        registry.register(
            "rotation_total_key_versions",
            "Key versions that existed when the present phase of a rotation began",
            rotation_total,
        );
    }
}

impl Metrics {
    pub(crate) fn new(instances: &[server::rest::Instance]) -> Self {
        Self { requests: Arc::new(NodeObserver::new(instances)), jobs: JobMetrics::default() }
    }
}

/// All metrics of a node as text.
pub(crate) fn text(node: &Arc<Shared>) -> String {
    let mut registry = Registry::default();
    node.metrics.requests.register_hpcs(&mut registry);
    let own = registry.sub_registry_with_prefix(PREFIX);
    node.metrics.requests.register(own);
    node.metrics.jobs.register(own);
    own.register_collector(Box::new(NodeCollector(Arc::downgrade(node))));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

/// A node that may be gone.
type WeakNode = Weak<Shared>;
