//! What keeps retries from making trouble worse.

use crate::Instant;

/// Tokens that requests earn and that extra tries cost.
pub(crate) struct Budget {
    /// In thousandths.
    tokens: u32,
    per_request: u32,
    most: u32,
}

impl Budget {
    /// A full budget of `(thousandths per request, most thousandths)`.
    pub(crate) const fn full((per_request, most): (u32, u32)) -> Self {
        Self { tokens: most, per_request, most }
    }

    /// Tokens left, in thousandths.
    pub(crate) const fn tokens(&self) -> u32 {
        self.tokens
    }

    pub(crate) fn earn(&mut self) {
        self.tokens = self.most.min(self.tokens + self.per_request);
    }

    /// Pays for one try, if there is enough.
    pub(crate) const fn spend(&mut self) -> bool {
        match self.tokens.checked_sub(1000) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

/// How often requests were sent again, and what the budgets have left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryStats {
    /// Requests submitted.
    pub requests: u64,
    /// Copies sent after another unit had refused, lost or not answered the request.
    pub retries: u64,
    /// Copies sent because the first one took long.
    pub hedges: u64,
    /// Tokens left in the retry budget, in thousandths; a retry that is not free costs 1000.
    pub retry_budget_millis: u32,
    /// Tokens left in the hedge budget, likewise.
    pub hedge_budget_millis: u32,
}

/// How many of the answers of the last one to two seconds were bad.
#[derive(Default)]
pub(crate) struct Failures {
    second: u64,
    now: Counts,
    before: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    all: u32,
    bad: u32,
}

impl Failures {
    pub(crate) fn record(&mut self, now: Instant, bad: bool) {
        let second = now.nanos() / 1_000_000_000;
        if second > self.second {
            self.before = if second == self.second + 1 { self.now } else { Counts::default() };
            self.now = Counts::default();
            self.second = second;
        }
        self.now.all = self.now.all.saturating_add(1);
        self.now.bad = self.now.bad.saturating_add(u32::from(bad));
    }

    /// Whether at least half of at least `least` answers were bad.
    pub(crate) const fn at_least_half(&self, least: u32) -> bool {
        let (all, bad) = (self.now.all + self.before.all, self.now.bad + self.before.bad);
        all >= least && bad >= all - bad
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Failures};
    use crate::Instant;
    use core::time::Duration;

    #[test]
    fn a_budget_pays_a_fifth_of_the_requests_and_a_burst() {
        let mut budget = Budget::full((200, 3000));
        assert_eq!((0..9).filter(|_| budget.spend()).count(), 3);
        let paid = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert_eq!(paid, 200);
    }

    #[test]
    fn failures_are_forgotten_after_two_seconds() {
        let at = |ms| Instant::after_start(Duration::from_millis(ms));
        let mut failures = Failures::default();
        (0..10).for_each(|_| failures.record(at(900), true));
        (0..10).for_each(|_| failures.record(at(1100), false));
        assert!(failures.at_least_half(20));
        assert!(!failures.at_least_half(21));
        failures.record(at(2000), false);
        assert!(!failures.at_least_half(1));
    }
}
