//! One region of a pair.

mod action;
mod following;
mod handover;
mod lease;
mod status;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

pub use action::{Action, Cause, Copy, Event, Facts, Means, TakeOver, TakeOverRefused, WritesRefused};
pub use status::{PairState, SiteStatus};

use crate::{Epoch, Fence, FreezeId, Instant, Now, PairConfig, PeerMessage, Side, SiteRecord};
use following::FrontReport;
use handover::{Attempt, Frozen};
use lease::Lease;

/// One region of a pair: whether it may write, and what it does about its partner.
///
/// The caller carries actions out in the order in which they come; [`Action::Save`] is durable before the next one begins.
/// After a crash it makes a new `Site` from the last saved record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    config: PairConfig,
    side: Side,
    /// Random number of this start.
    boot: u64,
    record: SiteRecord,
    facts: Facts,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    /// Whether it is certain that no higher epoch exists.
    confirmed: bool,
    /// Whether the store accepts writes under the epoch of the record.
    taken_over: bool,
    lease: Lease,
    /// While this site stands still for the partner to take over.
    frozen: Option<Frozen>,
    /// Freezes since the start.
    freezes: u64,
    /// The last freeze that ended with giving the right away, with the partner's epoch.
    given: Option<(FreezeId, Epoch)>,
    /// The attempt of this site to get the right.
    attempt: Option<Attempt>,
    /// Attempts since the start.
    attempts: u64,
    /// Before this moment, this site attempts nothing by itself.
    no_attempt_before: Instant,
    /// When the partner was heard last, or the start of this site.
    heard: Instant,
    /// Whether the partner was heard since the start.
    ever_heard: bool,
    /// Until when this site has promised not to take the right to write.
    promised_until: Instant,
    /// Whether [`Action::Follow`] was given for the epoch of the record. It waits until the partner itself acts by that epoch:
    /// one that has got the lease and ended before it took over has nothing to follow, and this site has changes that the
    /// partner does not have.
    follows: bool,
    /// Whether the partner, which has the right to write, is lost.
    lost: bool,
    /// What fronts say about the partner, by number of the front.
    fronts: BTreeMap<u32, FrontReport>,
    /// Since when the home could take writing back.
    ready_since: Option<crate::WallTime>,
    next_poll: Instant,
}

impl Site {
    /// A site that starts now with the record that it saved last, or [`SiteRecord::NEW`].
    ///
    /// `boot` is a random number that no earlier start had.
    #[must_use]
    pub fn new(config: PairConfig, side: Side, record: SiteRecord, boot: u64, now: Now) -> Self {
        let promised_until = match config.fence {
            // It may have promised just before it ended.
            Fence::Witness => now.instant.plus(config.lease),
            Fence::Operator | Fence::None => now.instant,
        };
        let mut site = Self {
            config,
            side,
            boot,
            record,
            facts: Facts::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            confirmed: false,
            taken_over: false,
            lease: Lease::default(),
            frozen: None,
            freezes: 0,
            given: None,
            attempt: None,
            attempts: 0,
            no_attempt_before: now.instant,
            heard: now.instant,
            ever_heard: false,
            promised_until,
            follows: false,
            lost: record.lost_since.is_some(),
            fronts: BTreeMap::new(),
            ready_since: None,
            next_poll: now.instant,
        };
        if site.has_right() && site.config.fence == Fence::None {
            site.confirm();
        }
        site
    }

    /// The next thing to carry out.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next thing that has happened, for logs and timelines.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due. Waiting times by the calendar are looked at then.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let frozen = self.frozen.as_ref().map(|frozen| frozen.until);
        frozen.map_or(self.next_poll, |until| until.min(self.next_poll))
    }

    /// The epoch that this site acts by.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    /// This site's part in the pair.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Whether a write may begin now. Ask [`Self::may_acknowledge`] before it is acknowledged.
    ///
    /// # Errors
    /// [`WritesRefused`].
    pub fn may_write(&self, now: Instant) -> Result<Epoch, WritesRefused> {
        if !self.has_right() {
            return Err(WritesRefused::Follows { lost: self.lost });
        }
        if let Some(frozen) = &self.frozen {
            return Err(WritesRefused::Frozen { remaining: frozen.until.since(now) });
        }
        self.check_right(now)?;
        Ok(self.record.epoch)
    }

    /// Whether a write that began under this epoch may be acknowledged now. Also while this site stands still: it tells its
    /// partner the last change only after every write under way has ended.
    #[must_use]
    pub fn may_acknowledge(&self, now: Instant, epoch: Epoch) -> bool {
        self.has_right() && self.record.epoch == epoch && self.check_right(now).is_ok()
    }

    /// Whether the right to write can be relied on.
    fn check_right(&self, now: Instant) -> Result<(), WritesRefused> {
        if !self.confirmed {
            return Err(WritesRefused::Unconfirmed);
        }
        if self.config.fence == Fence::Witness && !self.lease.is_valid(now) {
            return Err(WritesRefused::NoLease);
        }
        if !self.taken_over {
            return Err(WritesRefused::TakingOver);
        }
        Ok(())
    }

    /// Whether keys may be used here: not before this site knows that it has the right to write, or follows the one that
    /// has it.
    #[must_use]
    pub fn may_use(&self) -> bool {
        if self.has_right() { self.confirmed } else { self.facts.copy.is_usable() }
    }

    /// Whether this site follows its partner, and its data and units would let it take over.
    #[must_use]
    pub fn could_take_over(&self) -> bool {
        !self.has_right() && self.facts.units_ready && self.facts.copy == Copy::Complete
    }

    /// Tells the site what it cannot see itself.
    pub fn handle_facts(&mut self, now: Now, facts: Facts) {
        self.facts = facts;
        self.watch_readiness(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.end_freeze(now.instant);
        if now.instant < self.next_poll {
            return;
        }
        self.next_poll = now.instant.plus(self.config.poll);
        let ping = self.lease.next_ping(now.instant, self.config.lease);
        self.send(PeerMessage::Poll { epoch: self.record.epoch, ping, boot: self.boot });
        self.renew_lease(now.instant);
        self.continue_attempt(now);
        self.watch_partner(now);
        self.watch_readiness(now);
    }

    /// A message of the partner has arrived.
    pub fn handle_message(&mut self, now: Now, message: PeerMessage) {
        self.hear(now);
        match message {
            PeerMessage::Poll { epoch, ping, boot } => {
                self.hear_epoch(now, epoch);
                let promised = self.promise(now.instant, epoch);
                self.send(PeerMessage::Heard { epoch: self.record.epoch, ping, boot, promised });
            }
            PeerMessage::Heard { epoch, ping, boot, promised } => {
                self.hear_epoch(now, epoch);
                if boot == self.boot {
                    self.handle_heard(now.instant, (epoch, ping, promised));
                }
            }
            PeerMessage::Freeze { handover } => self.handle_freeze(now.instant, handover),
            PeerMessage::Frozen { handover, freeze, mark } => {
                self.handle_partner_frozen(handover, freeze, mark);
            }
            PeerMessage::Refused { handover, why } => self.handle_refused(now, handover, why),
            PeerMessage::Commit { handover, freeze } => {
                self.handle_commit(now.instant, handover, freeze);
            }
            PeerMessage::Committed { handover, epoch } => self.handle_committed(now, handover, epoch),
            PeerMessage::Cancel { handover } => self.handle_cancel(handover),
        }
    }

    /// [`Action::TakeOver`] was carried out: the store accepts writes under this epoch.
    pub fn handle_taken_over(&mut self, epoch: Epoch) {
        if self.record.epoch == epoch && !self.taken_over {
            self.taken_over = true;
            self.events.push_back(Event::Writes { epoch });
        }
    }

    /// Whether this site has the right to write. Not if it had a higher one that is no longer in its record: see
    /// [`SiteRecord::highest`].
    fn has_right(&self) -> bool {
        self.record.epoch.owner() == self.side && self.record.highest == self.record.epoch
    }

    fn send(&mut self, message: PeerMessage) {
        self.actions.push_back(Action::Send(message));
    }

    /// Takes notice of the epoch that the partner acts by.
    fn hear_epoch(&mut self, now: Now, epoch: Epoch) {
        if !self.record.highest.may_become(epoch) {
            return;
        }
        self.learn(now, epoch);
        if self.has_right() || self.follows || self.attempt.is_some() {
            return;
        }
        if epoch == self.record.epoch && epoch.owner() != self.side {
            self.follows = true;
            self.actions.push_back(Action::Follow { epoch, replace: true });
        } else if epoch.owner() == self.side && epoch > self.record.epoch {
            // The partner waits for this site to take over. Either may have changes that the other one needs: an epoch that
            // neither has taken, only got the lease for, says nothing about whose data are newer.
            self.follows = true;
            self.actions.push_back(Action::Follow { epoch, replace: false });
        }
    }

    /// Takes notice of an epoch. A higher one of the partner ends what this site was about.
    pub(super) fn learn(&mut self, now: Now, epoch: Epoch) {
        if epoch <= self.record.highest || !self.record.highest.may_become(epoch) {
            return;
        }
        let had_right = self.has_right();
        self.record.highest = epoch;
        if epoch.owner() == self.side {
            // This site's own, and not in its record. If it followed, then it never knew, and will take a higher one. If not, it
            // has lost its record: its data may be old, and it must not write before it has those of the partner.
            if had_right {
                self.stop_writing();
                self.events.push_back(Event::SteppedDown { epoch });
            } else {
                self.actions.push_back(Action::Save(self.record));
            }
            return;
        }
        self.fail_attempt(now, "the partner has a higher epoch");
        self.follow(epoch);
        if had_right {
            self.events.push_back(Event::SteppedDown { epoch });
        }
    }

    /// Recognises the partner's right.
    fn follow(&mut self, epoch: Epoch) {
        self.record.epoch = epoch;
        self.record.highest = self.record.highest.max(epoch);
        self.stop_writing();
    }

    fn stop_writing(&mut self) {
        self.record.lost_since = None;
        self.lost = false;
        self.confirmed = false;
        self.taken_over = false;
        self.frozen = None;
        self.lease.forget();
        self.ready_since = None;
        self.follows = false;
        self.actions.push_back(Action::StopFollowing);
        self.actions.push_back(Action::Save(self.record));
    }

    /// Takes the right to write. What makes it safe has been done.
    fn take(&mut self, epoch: Epoch, cause: Cause, means: Means) {
        self.attempt = None;
        self.record = SiteRecord { epoch, highest: self.record.highest.max(epoch), lost_since: None };
        self.lost = false;
        self.frozen = None;
        self.taken_over = false;
        self.follows = false;
        self.actions.push_back(Action::StopFollowing);
        self.actions.push_back(Action::Save(self.record));
        self.confirmed = false;
        self.confirm();
        self.events.push_back(Event::TookOver { epoch, cause, means });
    }

    /// It is certain that no higher epoch exists.
    fn confirm(&mut self) {
        if !self.confirmed {
            self.confirmed = true;
            if !self.taken_over {
                self.actions.push_back(Action::TakeOver(self.record.epoch));
            }
        }
    }

    /// Whether the partner was heard within the last three polls.
    fn reaches_partner(&self, now: Instant) -> bool {
        self.ever_heard && self.unheard_for(now) < self.config.poll * 3
    }

    fn unheard_for(&self, now: Instant) -> Duration {
        now.since(self.heard)
    }
}
