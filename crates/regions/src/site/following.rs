//! Watching the partner: whether it is lost, and whether the home could take writing back.

use core::time::Duration;

use super::{Action, Cause, Copy, Event, Means, Site};
use crate::{Epoch, Failback, Fence, Instant, Now, Side};

/// What a front says about the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FrontReport {
    at: Instant,
    /// For how long it has not reached the partner.
    unreachable_for: Duration,
}

impl Site {
    /// The front with this number has asked for the state of this site, and said for how long it has not reached the
    /// partner, and which epoch is the highest that it has seen.
    pub fn handle_front_report(&mut self, now: Now, front: u32, unreachable_for: Duration, highest: Epoch) {
        self.learn(now, highest);
        let at = now.instant;
        self.fronts.retain(|_, report| at.since(report.at) < self.config.lost_after);
        self.fronts.insert(front, FrontReport { at, unreachable_for });
    }

    /// The partner was heard.
    pub(super) fn hear(&mut self, now: Now) {
        self.heard = now.instant;
        self.ever_heard = true;
        if self.seizing().is_some() {
            self.fail_attempt(now, "the other region answers again");
        }
        if self.lost {
            self.lost = false;
            self.record.lost_since = None;
            self.actions.push_back(Action::Save(self.record));
            self.events.push_back(Event::Found);
        }
    }

    /// Decides whether the partner is lost, and whether that has lasted long enough to take over.
    pub(super) fn watch_partner(&mut self, now: Now) {
        if self.has_right() {
            return;
        }
        let lost_after = self.config.lost_after;
        if !self.lost
            && self.unheard_for(now.instant) >= lost_after
            && (!self.config.fronts_confirm_loss || self.fronts_confirm_loss(now.instant))
        {
            self.lost = true;
            self.record.lost_since = Some(now.wall);
            self.actions.push_back(Action::Save(self.record));
            self.events.push_back(Event::Lost);
        }
        let since = self.record.lost_since.filter(|_| self.lost);
        let is_time = since.is_some_and(|since| now.wall >= since.plus(self.config.write_after));
        if is_time
            && self.config.has_timer()
            && self.attempt.is_none()
            && now.instant >= self.no_attempt_before
            && self.facts.units_ready
            && matches!(self.facts.copy, Copy::Complete | Copy::Behind)
        {
            match self.config.fence {
                Fence::Witness => self.start_seizure(now.instant, Cause::Timer),
                Fence::None => self.take(self.record.highest.next_of(self.side), Cause::Timer, Means::Fence),
                // Refused by `PairConfig::check`.
                Fence::Operator => {}
            }
        }
    }

    fn fronts_confirm_loss(&self, now: Instant) -> bool {
        let lost_after = self.config.lost_after;
        self.fronts
            .values()
            .any(|report| now.since(report.at) < lost_after && report.unreachable_for >= lost_after)
    }

    /// Takes writing back when the home has been ready for long enough, and completes a handover that was interrupted.
    pub(super) fn watch_readiness(&mut self, now: Now) {
        let ready = !self.has_right()
            && self.facts.units_ready
            && self.facts.copy == Copy::Complete
            && self.reaches_partner(now.instant);
        if !ready {
            self.ready_since = None;
            return;
        }
        let since = *self.ready_since.get_or_insert(now.wall);
        if self.attempt.is_some() || now.instant < self.no_attempt_before {
            return;
        }
        // The right was given to this site, which ended before it had saved that.
        if self.record.highest > self.record.epoch && self.record.highest.owner() == self.side {
            self.start_handover(now.instant, Cause::Resumed);
        } else if let (Side::Home, Failback::AfterReady(pause)) = (self.side, self.config.failback)
            && now.wall >= since.plus(pause)
        {
            self.start_handover(now.instant, Cause::Failback);
        }
    }
}
