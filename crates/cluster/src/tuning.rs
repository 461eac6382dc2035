//! The numbers of the policy, each with its unit and what it is for.

use core::time::Duration;

/// Most units a cluster has: sets of units are 64-bit masks.
pub const MAX_UNITS: usize = 64;
/// Most requests that wait for a unit; one more is refused.
pub const MAX_WAITING: usize = 4096;
/// Most tries of one request, hedges and lost ones among them. Also what bounds a request that kills its units.
pub const MAX_TRIES: u8 = 3;

/// How often a unit in use proves that it still has the master key.
pub(crate) const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// When an unanswered probe, status or proof is late.
pub(crate) const TALK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a unit in use says again who it is and what its registers hold.
pub(crate) const STATUS_PERIOD: Duration = Duration::from_secs(30);
/// How often a fenced unit is looked at again.
pub(crate) const FENCED_PERIOD: Duration = Duration::from_secs(1);
/// First probe of an ejected unit, and first reconnection; doubles.
pub(crate) const FIRST_PROBE: Duration = Duration::from_millis(250);
/// Longest pause between probes of an ejected unit.
pub(crate) const LONGEST_PROBE: Duration = Duration::from_secs(5);
/// Longest pause between reconnections: a unit that answers again must be eligible within 3 s.
pub(crate) const LONGEST_RECONNECT: Duration = Duration::from_secs(2);
/// Late probes in a row that eject a unit.
pub(crate) const LATE_PROBES: u32 = 3;
/// Late probes in a row after which the connection itself is given up: it may be half open.
pub(crate) const SILENT_PROBES: u32 = 8;
/// Good probes in a row that end an ejection.
pub(crate) const GOOD_PROBES: u32 = 2;

/// How long a unit takes to get its whole share after admission.
pub(crate) const ADMISSION_RAMP: Duration = Duration::from_secs(10);
/// The same after an ejection.
pub(crate) const RECOVERY_RAMP: Duration = Duration::from_secs(3);
/// Share at the start of a ramp, in hundredths.
pub(crate) const FIRST_SHARE: u64 = 10;

/// Try time-outs in a row that eject a unit.
pub(crate) const TIMEOUTS_IN_ROW: u32 = 3;
/// Time out for the first ejection; doubles with each, [`MAX_EJECTION_LEVEL`] times at most.
pub(crate) const FIRST_EJECTION: Duration = Duration::from_millis(500);
/// See [`FIRST_EJECTION`].
pub(crate) const MAX_EJECTION_LEVEL: u32 = 5;
/// Time without trouble that takes one doubling back.
pub(crate) const EJECTION_DECAY: Duration = Duration::from_secs(60);
/// Answers before a unit is judged by its latency or its errors.
pub(crate) const MIN_ANSWERS: u32 = 20;
/// A unit is slow at this many times the best peer's average …
pub(crate) const SLOW_FACTOR: u32 = 5;
/// … and above this …
pub(crate) const SLOW_FLOOR: Duration = Duration::from_millis(10);
/// … for this long without a break: a stall of the whole machine makes every answer of a moment slow.
pub(crate) const SLOW_FOR: Duration = Duration::from_millis(500);

/// The nearest unit is used until it has this many more requests under way than the least loaded one.
pub(crate) const ZONE_SLACK: u32 = 4;
/// Above this many candidates, the better of two at random is used.
pub(crate) const FEW_CANDIDATES: u32 = 8;

/// Least and greatest try time-out of a fast command. A percentile swollen by one slow unit must not let requests wait
/// for another, silent one.
pub(crate) const FAST_TIMEOUT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// The same of a medium command.
pub(crate) const MEDIUM_TIMEOUT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Try time-out of a fast command before there are [`MIN_ANSWERS`].
pub(crate) const UNKNOWN_TIMEOUT: Duration = Duration::from_millis(250);
/// The same of a medium command.
pub(crate) const UNKNOWN_MEDIUM_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection on which a copy is overdue for this long is given up: its unit has lost the copy, and would be taken for
/// ever busier.
pub(crate) const ABANDONED: Duration = Duration::from_secs(30);
/// Least and greatest wait before a hedge.
pub(crate) const HEDGE_WAIT: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// Pause before the same unit is tried again, and before a retry that found no budget asks again.
pub(crate) const SAME_UNIT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(5), Duration::from_millis(50));
/// Retry budget: thousandths of a token per request, and most thousandths.
pub(crate) const RETRY_BUDGET: (u32, u32) = (200, 100_000);
/// Hedge budget, likewise.
pub(crate) const HEDGE_BUDGET: (u32, u32) = (50, 50_000);
/// Units lost within this time of each other count as several failing at once.
pub(crate) const LOSS_WINDOW: Duration = Duration::from_secs(1);
