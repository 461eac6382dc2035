//! How long answers take.

use crate::Instant;
use core::time::Duration;

/// Each power of two is divided into this many buckets: quantiles are at most 12.5 % too high.
const PARTS: u64 = 8;
const BUCKETS: usize = 240;
/// A window ends after this long …
const WINDOW: Duration = Duration::from_secs(5);
/// … or after this many answers.
const WINDOW_ANSWERS: u32 = 4096;
/// The quantiles used in every request are computed again after this many answers.
const REFRESH: u32 = 32;

/// Rolling quantiles over the last one to two windows, in microseconds.
pub(crate) struct Latency {
    now: Box<Window>,
    before: Box<Window>,
    started: Instant,
    since_refresh: u32,
    p95: Duration,
    p99: Duration,
}

struct Window {
    counts: [u32; BUCKETS],
    all: u32,
}

impl Window {
    fn empty() -> Box<Self> {
        Box::new(Self { counts: [0; BUCKETS], all: 0 })
    }
}

impl Latency {
    pub(crate) fn new() -> Self {
        Self {
            now: Window::empty(),
            before: Window::empty(),
            started: Instant::START,
            since_refresh: 0,
            p95: Duration::ZERO,
            p99: Duration::ZERO,
        }
    }

    pub(crate) fn record(&mut self, now: Instant, latency: Duration) {
        if self.now.all >= WINDOW_ANSWERS || (now.since(self.started) >= WINDOW && self.now.all >= REFRESH) {
            core::mem::swap(&mut self.now, &mut self.before);
            *self.now = Window { counts: [0; BUCKETS], all: 0 };
            self.started = now;
        }
        if let Some(count) = self.now.counts.get_mut(bucket(latency)) {
            *count = count.saturating_add(1);
            self.now.all = self.now.all.saturating_add(1);
        }
        self.since_refresh += 1;
        if self.since_refresh >= REFRESH || self.answers() <= REFRESH {
            (self.p95, self.p99) = (self.quantile(95), self.quantile(99));
            self.since_refresh = 0;
        }
    }

    /// Answers the quantiles rest on.
    pub(crate) const fn answers(&self) -> u32 {
        self.now.all.saturating_add(self.before.all)
    }

    /// The 95th percentile of a moment ago.
    pub(crate) const fn p95(&self) -> Duration {
        self.p95
    }

    /// The 99th percentile of a moment ago.
    pub(crate) const fn p99(&self) -> Duration {
        self.p99
    }

    /// The latency that `percent` of the answers did not exceed; zero without answers.
    pub(crate) fn quantile(&self, percent: u32) -> Duration {
        let wanted = (u64::from(self.answers()) * u64::from(percent)).div_ceil(100);
        let mut seen = 0_u64;
        for (i, (now, before)) in self.now.counts.iter().zip(&self.before.counts).enumerate() {
            seen += u64::from(*now) + u64::from(*before);
            if seen >= wanted && seen > 0 {
                return upper_bound(i);
            }
        }
        Duration::ZERO
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let index = match micros.checked_ilog2() {
        Some(log @ 3..) => u64::from(log - 2) * PARTS + ((micros >> (log - 3)) & (PARTS - 1)),
        _ => micros,
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_bound(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let next = bucket + 1;
    Duration::from_micros(if next <= PARTS { next } else { (PARTS + next % PARTS) << (next / PARTS - 1) })
}

/// A moving average of one unit's latency.
#[derive(Default)]
pub(crate) struct Average {
    nanos: u64,
    answers: u32,
}

impl Average {
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX) >> 3;
        self.nanos = if self.answers == 0 { nanos << 3 } else { self.nanos - (self.nanos >> 3) + nanos };
        self.answers = self.answers.saturating_add(1);
    }

    /// The average, once it rests on `least` answers.
    pub(crate) fn over(&self, least: u32) -> Option<Duration> {
        (self.answers >= least).then_some(Duration::from_nanos(self.nanos))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Average, BUCKETS, Latency, bucket, upper_bound};
    use crate::Instant;
    use core::time::Duration;

    #[test]
    fn every_latency_lies_below_its_buckets_bound_and_not_far() {
        for micros in (0..4000).chain((12..30).flat_map(|log| [(1_u64 << log) - 1, 1 << log, (1 << log) + 1]))
        {
            let latency = Duration::from_micros(micros);
            let bound = upper_bound(bucket(latency));
            assert!(bound > latency, "{micros}");
            assert!(bound <= latency.mul_f64(1.126) + Duration::from_micros(1), "{micros} {bound:?}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_follow_what_is_recent() {
        let at = |s| Instant::after_start(Duration::from_secs(s));
        let mut latency = Latency::new();
        for i in 1..=100 {
            latency.record(at(1), Duration::from_micros(i * 10));
        }
        assert!((990..1130).contains(&latency.quantile(99).as_micros()));
        assert!((500..570).contains(&latency.quantile(50).as_micros()));
        for second in [10, 20] {
            for _ in 0..100 {
                latency.record(at(second), Duration::from_millis(20));
            }
        }
        assert!(latency.quantile(1) >= Duration::from_millis(20));
        assert!(latency.p99() >= Duration::from_millis(20));
    }

    #[test]
    fn an_average_moves_an_eighth_of_the_way() {
        let mut average = Average::default();
        average.record(Duration::from_micros(80));
        average.record(Duration::from_micros(160));
        assert_eq!(average.over(2), Some(Duration::from_micros(90)));
        assert_eq!(average.over(3), None);
    }
}
