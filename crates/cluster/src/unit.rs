//! One unit as the cluster knows it.

use crate::budget::Failures;
use crate::latency::{Average, Latency};
use crate::{Ejection, Health, Instant, UnitNumber, tuning};
use core::time::Duration;
use unit_api::{UnitId, VerificationPattern, Wkid};

/// The connection to a unit.
pub(crate) enum Link {
    /// No connection; the next attempt is due at this moment.
    Down { retry_at: Instant },
    /// Being opened; abandoned at this moment.
    Connecting { give_up_at: Instant },
    /// The connection is open.
    Up,
}

/// What the unit itself is being asked, one thing at a time.
pub(crate) enum Talk {
    /// Nothing until this moment.
    Idle { until: Instant },
    /// Who it is and what its registers hold.
    Status { late_at: Instant },
    /// To open the instance's secret and answer a challenge.
    Proof { late_at: Instant },
    /// To answer a challenge.
    Probe { late_at: Instant },
}

/// The domain of a module that a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Serial number and instance of the module.
    pub unit: UnitId,
    /// Index of the domain in its module.
    pub domain_index: u32,
}

pub(crate) struct Unit {
    pub(crate) number: UnitNumber,
    pub(crate) zone: String,
    /// In the host's own zone.
    pub(crate) local: bool,
    pub(crate) health: Health,
    pub(crate) since: Instant,
    pub(crate) link: Link,
    pub(crate) talk: Talk,
    /// When it must say again who it is.
    pub(crate) status_at: Instant,
    /// What it said last.
    pub(crate) identity: Option<Identity>,
    pub(crate) pattern: Option<VerificationPattern>,
    /// The master key that it has proved over this connection.
    pub(crate) admitted: Option<Wkid>,
    /// Its master key seemed to change in the middle of a proof, and it was asked again who it is.
    pub(crate) asked_again: bool,
    /// Tries under way.
    pub(crate) outstanding: u32,
    /// When it was last used, in sends of the cluster.
    pub(crate) last_used: u64,
    pub(crate) served: u64,
    pub(crate) failed: u64,
    /// How often it was ejected, by cause.
    pub(crate) ejections: [(Ejection, u64); 5],
    pub(crate) fences: u64,
    pub(crate) latency: Latency,
    pub(crate) average: Average,
    pub(crate) failures: Failures,
    /// Since when its average has been that of a slow unit.
    pub(crate) slow_since: Option<Instant>,
    pub(crate) timeouts_in_row: u32,
    pub(crate) late_probes: u32,
    pub(crate) good_probes: u32,
    /// Probes or connections tried since it was last in use: what their pauses grow with.
    pub(crate) attempts: u32,
    /// How often it was ejected lately.
    pub(crate) level: u32,
    pub(crate) last_trouble: Instant,
    pub(crate) last_lost: Option<Instant>,
}

impl Unit {
    pub(crate) fn new(number: UnitNumber, zone: String, local: bool, now: Instant) -> Self {
        Self {
            number,
            zone,
            local,
            health: Health::Checking,
            since: now,
            link: Link::Down { retry_at: now },
            talk: Talk::Idle { until: now },
            status_at: now,
            identity: None,
            pattern: None,
            admitted: None,
            asked_again: false,
            outstanding: 0,
            last_used: 0,
            served: 0,
            failed: 0,
            ejections: Ejection::ALL.map(|cause| (cause, 0)),
            fences: 0,
            latency: Latency::new(),
            average: Average::default(),
            failures: Failures::default(),
            slow_since: None,
            timeouts_in_row: 0,
            late_probes: 0,
            good_probes: 0,
            attempts: 0,
            level: 0,
            last_trouble: now,
            last_lost: None,
        }
    }

    /// Has the unit connected, or asked, at this moment.
    pub(crate) const fn talk_at(&mut self, now: Instant) {
        match &mut self.link {
            Link::Down { retry_at } => *retry_at = now,
            Link::Connecting { .. } => {}
            Link::Up => self.talk = Talk::Idle { until: now },
        }
    }

    /// The master key that it shows.
    pub(crate) fn wkid(&self) -> Option<Wkid> {
        self.pattern.map(|pattern| pattern.wkid())
    }

    /// The same, of a unit that has proved a master key over this connection; one that has not may come to have any.
    pub(crate) fn known_wkid(&self) -> Option<Wkid> {
        self.wkid().filter(|_| self.admitted.is_some())
    }

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    /// When there is something to do for this unit even if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        let link = match &self.link {
            // A unit that is to get nothing is not called either.
            Link::Down { .. } if matches!(self.health, Health::Draining) => return None,
            Link::Down { retry_at: at } | Link::Connecting { give_up_at: at } => return Some(*at),
            Link::Up => match &self.talk {
                Talk::Idle { .. } if matches!(self.health, Health::Draining) => None,
                Talk::Idle { until: at }
                | Talk::Status { late_at: at }
                | Talk::Proof { late_at: at }
                | Talk::Probe { late_at: at } => Some(*at),
            },
        };
        let warm = match self.health {
            Health::Warming { since, ramp } => Some(since.plus(ramp)),
            _ => None,
        };
        link.into_iter().chain(warm).min()
    }

    /// The unit's share at `now`, in hundredths.
    pub(crate) fn share(&self, now: Instant) -> u64 {
        let Health::Warming { since, ramp } = self.health else { return 100 };
        let (elapsed, ramp) = (now.since(since).as_millis(), ramp.as_millis().max(1));
        let grown = u64::try_from(elapsed * 100 / ramp).unwrap_or(100).min(100);
        tuning::FIRST_SHARE + (100 - tuning::FIRST_SHARE) * grown / 100
    }

    /// The next doubling of a pause that starts at [`tuning::FIRST_PROBE`].
    pub(crate) fn next_pause(&mut self, longest: Duration) -> Duration {
        let pause = tuning::FIRST_PROBE.saturating_mul(1 << self.attempts.min(8)).min(longest);
        self.attempts = self.attempts.saturating_add(1);
        pause
    }

    /// How long the unit is out this time.
    pub(crate) fn next_ejection(&mut self, now: Instant) -> Duration {
        let quiet = now.since(self.last_trouble).as_secs() / tuning::EJECTION_DECAY.as_secs();
        self.level = self.level.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX));
        let out = tuning::FIRST_EJECTION.saturating_mul(1 << self.level.min(tuning::MAX_EJECTION_LEVEL));
        self.level = (self.level + 1).min(tuning::MAX_EJECTION_LEVEL);
        self.last_trouble = now;
        out
    }

    /// Forgets what the unit is judged by: it is given a fresh start.
    pub(crate) fn clear_record(&mut self) {
        self.average.clear();
        self.failures.clear();
        self.slow_since = None;
        (self.timeouts_in_row, self.late_probes, self.good_probes, self.attempts) = (0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Unit;
    use crate::{Health, Instant, UnitNumber};
    use core::time::Duration;

    #[test]
    fn a_share_grows_from_a_tenth_to_the_whole() {
        let at = |ms| Instant::after_start(Duration::from_millis(ms));
        let mut unit = Unit::new(UnitNumber(1), String::new(), true, Instant::START);
        unit.health = Health::Warming { since: at(1000), ramp: Duration::from_secs(10) };
        assert_eq!([1000, 6000, 11_000, 99_000].map(|ms| unit.share(at(ms))), [10, 55, 100, 100]);
        unit.health = Health::Eligible;
        assert_eq!(unit.share(at(0)), 100);
    }

    #[test]
    fn ejections_double_and_decay() {
        let at = |s| Instant::after_start(Duration::from_secs(s));
        let mut unit = Unit::new(UnitNumber(1), String::new(), true, Instant::START);
        let out: Vec<_> = (0..7).map(|_| unit.next_ejection(at(1)).as_millis()).collect();
        assert_eq!(out, [500, 1000, 2000, 4000, 8000, 16_000, 16_000]);
        assert_eq!(unit.next_ejection(at(1 + 180)).as_millis(), 2000);
    }
}
