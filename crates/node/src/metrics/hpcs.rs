//! The two metrics of Hyper Protect Crypto Services, with its names and attributes.
//!
//! Source: IBM Cloud documentation, "Monitoring operational metrics" of Hyper Protect Crypto Services.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use server::observe::AnsweredRequest;
use server::rest::{Instance, ServiceKind};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Both metrics are about the requests of this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Parts of the window that are dropped one at a time.
const SLICES: u32 = 6;

/// Requests of the last 60 seconds to instances that the node serves.
#[derive(Debug)]
pub(super) struct HpcsWindow {
    instances: BTreeMap<Uuid, Instance>,
    started: Instant,
    requests: Mutex<BTreeMap<RequestKey, Counts>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RequestKey {
    instance: Uuid,
    /// Method and route.
    api: String,
    status: u16,
}

/// Requests in each slice of the window, by the slice's number since the start.
#[derive(Debug, Default)]
struct Counts(BTreeMap<u64, (u64, Duration)>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HpcsLabels {
    ibm_hpcs_api: String,
    ibm_hpcs_response_code: u16,
    ibm_resource_type: &'static str,
    ibm_scope: String,
    ibm_ctype: &'static str,
    ibm_location: String,
    ibm_service_name: &'static str,
    ibm_resource: String,
    ibm_service_instance: String,
    ibm_service_instance_name: String,
    ibm_resource_group_name: &'static str,
}

impl HpcsWindow {
    pub(super) fn new(instances: &[Instance]) -> Self {
        Self {
            instances: instances.iter().map(|instance| (instance.id.0, instance.clone())).collect(),
            started: Instant::now(),
            requests: Mutex::default(),
        }
    }

    pub(super) fn answered(&self, request: &AnsweredRequest<'_>, now: Instant) {
        let Some(instance) = request.instance.filter(|instance| self.instances.contains_key(instance)) else {
            return;
        };
        let api = format!("{} {}", request.method, request.route);
        let key = RequestKey { instance, api, status: request.status };
        let slice = self.slice(now);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = requests.entry(key).or_default();
        counts.forget(slice);
        let (count, time) = counts.0.entry(slice).or_default();
        *count += 1;
        *time += request.elapsed;
    }

    fn slice(&self, now: Instant) -> u64 {
        let slice = WINDOW / SLICES;
        now.saturating_duration_since(self.started).as_secs() / slice.as_secs()
    }

    /// Number and mean latency of the requests of each kind.
    fn read(&self, now: Instant) -> Vec<(RequestKey, u64, Duration)> {
        let slice = self.slice(now);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|_, counts| {
            counts.forget(slice);
            !counts.0.is_empty()
        });
        let sum = |counts: &Counts| {
            counts
                .0
                .values()
                .fold((0, Duration::ZERO), |(n, time), (more, longer)| (n + more, time + *longer))
        };
        let mean =
            |(count, time): (u64, Duration)| (count, time / u32::try_from(count).unwrap_or(u32::MAX).max(1));
        requests
            .iter()
            .map(|(key, counts)| {
                let (count, mean) = mean(sum(counts));
                (key.clone(), count, mean)
            })
            .collect()
    }

    fn labels(&self, key: &RequestKey) -> Option<HpcsLabels> {
        let instance = self.instances.get(&key.instance)?;
        Some(HpcsLabels {
            ibm_hpcs_api: key.api.clone(),
            ibm_hpcs_response_code: key.status,
            ibm_resource_type: "instance",
            ibm_scope: format!("a/{}", instance.account),
            ibm_ctype: "local",
            ibm_location: instance.region.clone(),
            ibm_service_name: match instance.kind {
                ServiceKind::KeyProtect => "kms",
                ServiceKind::HyperProtect => "hs-crypto",
            },
            ibm_resource: key.instance.to_string(),
            ibm_service_instance: key.instance.to_string(),
            ibm_service_instance_name: key.instance.to_string(),
            ibm_resource_group_name: "default",
        })
    }
}

impl Counts {
    /// Drops what is older than the window.
    fn forget(&mut self, now: u64) {
        let oldest = now.saturating_sub(u64::from(SLICES) - 1);
        self.0 = self.0.split_off(&oldest);
    }
}

impl Collector for HpcsWindow {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let requests = self.read(Instant::now());
        let mut number = encoder.encode_descriptor(
            "ibm_hpcs_api_request_gauge",
            "API requests of the last 60 seconds",
            None,
            MetricType::Gauge,
        )?;
        for (key, count, _) in &requests {
            let Some(labels) = self.labels(key) else { continue };
            ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX))
                .encode(number.encode_family(&labels)?)?;
        }
        let mut latency = encoder.encode_descriptor(
            "ibm_hpcs_api_latency_gauge",
            "Mean latency of the API requests of the last 60 seconds, in milliseconds",
            None,
            MetricType::Gauge,
        )?;
        for (key, _, mean) in &requests {
            let Some(labels) = self.labels(key) else { continue };
            ConstGauge::new(mean.as_secs_f64() * 1000.0).encode(latency.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{HpcsWindow, WINDOW};
    use kms::InstanceId;
    use server::observe::AnsweredRequest;
    use server::rest::{Instance, ServiceKind};
    use std::time::Duration;
    use uuid::Uuid;

    #[test]
    fn requests_of_the_last_minute_are_counted_and_averaged() {
        let id = Uuid::from_u128(7);
        let (region, account) = ("us-south".to_owned(), "acc".to_owned());
        let kind = ServiceKind::HyperProtect;
        let window = HpcsWindow::new(&[Instance { id: InstanceId(id), region, account, kind }]);
        let request = |instance: Uuid, milliseconds| {
            let elapsed = Duration::from_millis(milliseconds);
            AnsweredRequest::new("rest", "GET", "/keys", Some(instance), 200, elapsed)
        };
        let start = window.started;
        window.answered(&request(id, 10), start);
        window.answered(&request(id, 30), start + Duration::from_secs(30));
        window.answered(&request(Uuid::from_u128(8), 1), start);
        let read = |after| {
            let found = window.read(start + after);
            found.into_iter().map(|(key, count, mean)| (key.api, count, mean.as_millis())).collect::<Vec<_>>()
        };
        assert_eq!(read(Duration::from_secs(31)), [("GET /keys".to_owned(), 2, 20)]);
        assert_eq!(read(WINDOW + Duration::from_secs(1)), [("GET /keys".to_owned(), 1, 30)]);
        assert_eq!(read(WINDOW * 2), []);
    }
}
