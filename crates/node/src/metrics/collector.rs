//! Metrics that are read from the node when they are asked for.

use super::WeakNode;
use crate::backup::BackupFigures;
use crate::node::Shared;
use crate::ports::UnitEntry;
use crate::region::RegionFigures;
use crate::unit_audit::{AuditCounts, UnitAudit};
use host::{Host, RetryStats, UnitView};
use keystore::{CommitStats, FLUSH_BOUNDS};
use kms::InvocationStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use unit_api::VerificationPattern;

#[derive(Debug)]
pub(super) struct NodeCollector(pub(super) WeakNode);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnitLabels {
    unit: u16,
    zone: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnitStateLabels {
    unit: u16,
    zone: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnitReasonLabels {
    unit: u16,
    zone: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(node) = self.0.upgrade() else { return Ok(()) };
        build(&mut encoder)?;
        readiness(&node, &mut encoder)?;
        if let Some(host) = node.host() {
            let snapshot = host.snapshot();
            units(&snapshot.units, &mut encoder)?;
            master_keys(&host, &snapshot.units, &mut encoder)?;
            retries(&snapshot.retries, &mut encoder)?;
        }
        if let Some(region) = &node.parts.region {
            pair(&region.figures(), &mut encoder)?;
        }
        if let Some(audit) = &node.parts.unit_audit {
            unit_audit(audit, &node.parts.directory.units(), &mut encoder)?;
        }
        if let Some(backups) = &node.parts.backups {
            backup_ages(&backups.figures(), &mut encoder)?;
        }
        if let Ok(kms) = node.kms() {
            invocations(kms.invocation_stats(), &mut encoder)?;
        }
        if let Some(stats) = node.parts.store.commit_stats() {
            commits(&stats, &mut encoder)?;
        }
        Ok(())
    }
}

fn build(encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let labels = BuildLabels { version: env!("CARGO_PKG_VERSION") };
    let mut build =
        encoder.encode_descriptor("build_info", "Version of the program", None, MetricType::Gauge)?;
    ConstGauge::new(1_i64).encode(build.encode_family(&labels)?)
}

fn readiness(node: &Shared, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let ready = ConstGauge::new(i64::from(crate::health::readiness(node).is_ok()));
    let help = "Whether the node serves keys";
    ready.encode(encoder.encode_descriptor("ready", help, None, ready.metric_type())?)
}

/// One gauge or counter for each unit.
fn units(units: &[UnitView], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "1 for the state that the host gives the unit";
    let mut states = encoder.encode_descriptor("unit_state", help, None, MetricType::Gauge)?;
    for unit in units {
        let labels = UnitStateLabels { unit: unit.number, zone: unit.zone.clone(), state: unit.state };
        ConstGauge::new(1_i64).encode(states.encode_family(&labels)?)?;
    }
    let gauges: [UnitMetric<f64>; 4] = [
        ("unit_in_use", "Whether the unit gets work", |unit| f64::from(u8::from(unit.in_use))),
        ("unit_outstanding_commands", "Commands that the unit has not answered yet", |unit| {
            f64::from(unit.outstanding)
        }),
        ("unit_latency_median_seconds", "Median latency of recent commands", |unit| unit.p50.as_secs_f64()),
        ("unit_latency_p99_seconds", "99th percentile of the latency of recent commands", |unit| {
            unit.p99.as_secs_f64()
        }),
    ];
    for (name, help, value) in gauges {
        let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for unit in units {
            ConstGauge::new(value(unit)).encode(gauge.encode_family(&labels(unit))?)?;
        }
    }
    let counters: [UnitMetric<u64>; 3] = [
        ("unit_served_commands", "Commands that the unit has answered", |unit| unit.served),
        ("unit_failed_commands", "Commands that failed through a fault of the unit", |unit| unit.failed),
        ("unit_fences", "Times that the host fenced the unit", |unit| unit.fences),
    ];
    for (name, help, value) in counters {
        let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for unit in units {
            ConstCounter::new(value(unit)).encode(counter.encode_family(&labels(unit))?)?;
        }
    }
    Ok(())
}

/// Ejections by reason, and whether each unit holds a master key of the instance.
fn master_keys(
    host: &Host,
    units: &[UnitView],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let help = "Times that the host ejected the unit";
    let mut ejections = encoder.encode_descriptor("unit_ejections", help, None, MetricType::Counter)?;
    for unit in units {
        for (cause, count) in unit.ejections {
            let labels =
                UnitReasonLabels { unit: unit.number, zone: unit.zone.clone(), reason: cause.name() };
            ConstCounter::new(count).encode(ejections.encode_family(&labels)?)?;
        }
    }
    let (current, next) = (host.pattern(), host.next_pattern());
    let help = "Whether the unit reports a master key of the instance";
    let mut gauge = encoder.encode_descriptor("unit_has_master_key", help, None, MetricType::Gauge)?;
    for unit in units {
        let legal = |held: &VerificationPattern| {
            held.is_of_same_key(&current) || next.is_some_and(|next| held.is_of_same_key(&next))
        };
        let holds = i64::from(unit.pattern.as_ref().is_some_and(legal));
        ConstGauge::new(holds).encode(gauge.encode_family(&labels(unit))?)?;
    }
    Ok(())
}

fn retries(stats: &RetryStats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    for (name, help, count) in [
        ("host_commands", "Commands that the host was given", stats.requests),
        ("host_retries", "Copies sent after a unit refused, lost or did not answer a command", stats.retries),
        ("host_hedges", "Copies sent because the first one took long", stats.hedges),
    ] {
        let counter = ConstCounter::new(count);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
    }
    for (name, help, millis) in [
        ("host_retry_budget_tokens", "Retries that the budget has left", stats.retry_budget_millis),
        ("host_hedge_budget_tokens", "Hedges that the budget has left", stats.hedge_budget_millis),
    ] {
        let gauge = ConstGauge::new(f64::from(millis) / 1000.0);
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
    }
    Ok(())
}

/// Fetched audit records of each unit, and what was missed.
fn unit_audit(
    audit: &UnitAudit,
    units: &[UnitEntry],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let counted: Vec<_> = units.iter().map(|unit| (unit, audit.counts(unit))).collect();
    type Count = (&'static str, &'static str, fn(&AuditCounts) -> u64);
    let counters: [Count; 4] = [
        ("unit_audit_records", "Audit records that were fetched from the unit", |counts| counts.fetched),
        (
            "unit_audit_missed_records",
            "Audit records that the unit overwrote before they were fetched",
            |counts| counts.missed,
        ),
        (
            "unit_audit_breaks",
            "Times that the unit's audit records did not continue those before",
            |counts| counts.breaks,
        ),
        ("unit_audit_failed_fetches", "Fetches of audit records that failed", |counts| counts.failures),
    ];
    for (name, help, value) in counters {
        let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (unit, counts) in &counted {
            let labels = UnitLabels { unit: unit.number, zone: unit.zone.clone() };
            ConstCounter::new(value(counts)).encode(counter.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn invocations(stats: InvocationStats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let versions = ConstGauge::new(i64::try_from(stats.versions_to_rotate).unwrap_or(i64::MAX));
    let help = "Key versions in use that have used half of their AES-GCM invocations";
    let name = "key_versions_to_rotate";
    versions.encode(encoder.encode_descriptor(name, help, None, versions.metric_type())?)?;
    let refused = ConstCounter::new(stats.refused);
    let help = "Wraps refused because the key version has no AES-GCM invocations left";
    refused.encode(encoder.encode_descriptor("wraps_over_limit", help, None, refused.metric_type())?)
}

/// Backups of each instance.
fn backup_ages(figures: &[BackupFigures], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Age of the newest tested backup, or time since the first was due";
    let mut ages = encoder.encode_descriptor("backup_age_seconds", help, None, MetricType::Gauge)?;
    for figures in figures {
        ConstGauge::new(figures.age_seconds).encode(ages.encode_family(&super::of(figures.instance))?)?;
    }
    type Counted = (&'static str, &'static str, fn(&BackupFigures) -> u64);
    let counters: [Counted; 2] = [
        ("backups_made", "Backups that were made and tested", |figures| figures.made),
        ("backups_failed", "Backups that were not made, or failed their test", |figures| figures.failed),
    ];
    for (name, help, value) in counters {
        let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for figures in figures {
            ConstCounter::new(value(figures)).encode(counter.encode_family(&super::of(figures.instance))?)?;
        }
    }
    Ok(())
}

/// Name, help text and value of a metric of units.
type UnitMetric<T> = (&'static str, &'static str, fn(&UnitView) -> T);

fn labels(unit: &UnitView) -> UnitLabels {
    UnitLabels { unit: unit.number, zone: unit.zone.clone() }
}

/// The region's part in a pair.
fn pair(figures: &RegionFigures, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let flag = |flag| f64::from(u8::from(flag));
    let gauges = [
        ("region_writes", "Whether the region may write", flag(figures.writes)),
        ("region_epoch", "The right to write that the region acts by", figures.epoch),
        ("region_connected", "Whether changes of the other region are coming in", flag(figures.is_connected)),
        (
            "region_ready",
            "Whether the loss of the other region would be survived now",
            flag(figures.is_ready),
        ),
        ("region_diverged", "Whether the data differ from the other region's", flag(figures.is_diverged)),
        ("region_lag_revisions", "Changes of the other region that are not here", figures.lag_revisions),
        ("region_lag_seconds", "For how long the region has not had everything", figures.lag_seconds),
    ];
    for (name, help, value) in gauges {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
    }
    Ok(())
}

fn commits(stats: &CommitStats, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let changes = ConstCounter::new(stats.changes);
    let help = "Transactions and changes of leases that the keystore has committed";
    changes.encode(encoder.encode_descriptor("keystore_commits", help, None, changes.metric_type())?)?;
    let failed = ConstGauge::new(i64::from(stats.failure.is_some()));
    let help = "Whether the keystore has stopped committing after a failure";
    failed.encode(encoder.encode_descriptor("keystore_failed", help, None, failed.metric_type())?)?;
    let help = "Time of a flush of the keystore to stable storage";
    let mut flush = encoder.encode_descriptor("keystore_flush_seconds", help, None, MetricType::Histogram)?;
    let within: u64 = stats.flush_buckets.iter().sum();
    let bounds = FLUSH_BOUNDS.iter().map(std::time::Duration::as_secs_f64).chain([f64::INFINITY]);
    let counts = stats.flush_buckets.iter().copied().chain([stats.flushes.saturating_sub(within)]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
    flush.encode_histogram::<NoLabelSet>(stats.flush_time.as_secs_f64(), stats.flushes, &buckets, None)
}
