//! Taking the right to write: given by the partner, or taken with a fence.

use super::{Action, Cause, Copy, Event, Means, Site, TakeOver, TakeOverRefused};
use crate::{
    Epoch, Fence, FreezeId, HandoverId, HandoverRefusal, Instant, LeaseRequest, Now, PeerMessage, StoreMark,
};

/// An attempt of this site to get the right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    cause: Cause,
    /// When it is given up.
    until: Instant,
    step: Step,
    /// Whether the right is taken although changes of the partner are missing here.
    accept_divergence: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The partner was asked to stand still.
    Asking(HandoverId),
    /// The partner stands still, and its last changes are being applied.
    CatchingUp(HandoverId, FreezeId),
    /// All is applied, and the partner was asked to give its right away, first at this moment.
    Committing(HandoverId, FreezeId, Instant),
    /// The lease is wanted from the witness.
    Seizing(Epoch),
}

/// Standing still for the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Frozen {
    handover: HandoverId,
    freeze: FreezeId,
    pub(super) until: Instant,
    /// The last change, once no write is under way.
    mark: Option<StoreMark>,
}

impl Site {
    /// Takes the right to write, on an operator's order: by a handover if the partner answers, else as the fence permits.
    /// Events tell the outcome.
    ///
    /// # Errors
    /// [`TakeOverRefused`]; nothing was changed.
    pub fn take_over(&mut self, now: Now, order: TakeOver) -> Result<(), TakeOverRefused> {
        let reached = self.reaches_partner(now.instant);
        if self.attempt.is_some() {
            return Err(TakeOverRefused::UnderWay);
        }
        if self.has_right() {
            if self.confirmed {
                return Err(TakeOverRefused::Writes);
            }
            if reached || self.config.fence == Fence::Witness {
                return Err(TakeOverRefused::WaitsForConfirmation);
            }
            if !order.partner_is_down {
                return Err(TakeOverRefused::PartnerMayWrite);
            }
            self.take(self.record.highest.next_of(self.side), Cause::Operator, Means::Fence);
            return Ok(());
        }
        if !self.facts.units_ready {
            return Err(TakeOverRefused::NoUnit);
        }
        match self.facts.copy {
            Copy::Complete => {}
            // The changes that are missing cannot be had from a partner that is not reached.
            Copy::Behind if !reached => {}
            Copy::Behind => return Err(TakeOverRefused::Behind),
            Copy::Incomplete => return Err(TakeOverRefused::NotCopied),
            Copy::Diverged if order.accept_divergence => {}
            Copy::Diverged => return Err(TakeOverRefused::Diverged),
        }
        match self.config.fence {
            _ if reached => {
                self.start_handover(now.instant, Cause::Operator);
                if let Some(attempt) = &mut self.attempt {
                    attempt.accept_divergence = order.accept_divergence;
                }
            }
            Fence::Witness => self.start_seizure(now.instant, Cause::Operator),
            Fence::Operator if !order.partner_is_down => return Err(TakeOverRefused::PartnerMayWrite),
            Fence::Operator | Fence::None => {
                self.take(self.record.highest.next_of(self.side), Cause::Operator, Means::Fence);
            }
        }
        Ok(())
    }

    pub(super) fn start_handover(&mut self, now: Instant, cause: Cause) {
        self.attempts += 1;
        let handover = HandoverId { boot: self.boot, number: self.attempts };
        let until = now.plus(self.config.freeze);
        self.attempt = Some(Attempt { cause, until, step: Step::Asking(handover), accept_divergence: false });
        self.send(PeerMessage::Freeze { handover });
    }

    pub(super) fn start_seizure(&mut self, now: Instant, cause: Cause) {
        let epoch = self.record.highest.next_of(self.side);
        // Both its own promise and the partner's lease may have to run out first.
        let until = now.plus(self.config.lease * 3);
        self.attempt = Some(Attempt { cause, until, step: Step::Seizing(epoch), accept_divergence: false });
    }

    /// The epoch that is wanted from the witness.
    pub(super) fn seizing(&self) -> Option<Epoch> {
        match self.attempt?.step {
            Step::Seizing(epoch) => Some(epoch),
            Step::Asking(_) | Step::CatchingUp(..) | Step::Committing(..) => None,
        }
    }

    pub(super) fn complete_seizure(&mut self, epoch: Epoch) {
        if let Some(attempt) = self.attempt {
            self.take(epoch, attempt.cause, Means::Fence);
        }
    }

    /// Repeats what may have been lost on the way, or gives up.
    pub(super) fn continue_attempt(&mut self, now: Now) {
        let Some(attempt) = self.attempt else { return };
        if now.instant >= attempt.until {
            let why = match attempt.step {
                Step::Seizing(_) => "the witness does not give the lease",
                Step::Asking(_) => "the other region does not stand still",
                Step::CatchingUp(..) => "the last changes could not be applied in time",
                Step::Committing(..) => "the other region does not answer",
            };
            self.fail_attempt(now, why);
            return;
        }
        match attempt.step {
            Step::Asking(handover) => self.send(PeerMessage::Freeze { handover }),
            Step::Committing(handover, freeze, _) => self.send(PeerMessage::Commit { handover, freeze }),
            Step::CatchingUp(..) => {}
            Step::Seizing(epoch) if self.promised_until <= now.instant => {
                self.ask_for_lease(now.instant, epoch);
            }
            Step::Seizing(_) => {}
        }
    }

    /// Gives the attempt up, if there is one.
    pub(super) fn fail_attempt(&mut self, now: Now, why: &'static str) {
        let Some(attempt) = self.attempt.take() else { return };
        self.no_attempt_before = now.instant.plus(self.config.freeze);
        match attempt.step {
            Step::Asking(handover) | Step::CatchingUp(handover, _) | Step::Committing(handover, ..) => {
                self.send(PeerMessage::Cancel { handover });
            }
            Step::Seizing(epoch) => {
                // A grant may be on its way, and no one waits for it.
                let (side, boot) = (self.side, self.boot);
                let ping = 0;
                self.actions.push_back(Action::Ask(LeaseRequest { side, epoch, ping, boot, release: true }));
            }
        }
        self.events.push_back(Event::AttemptFailed { why });
    }

    /// The partner asks this site to stand still.
    pub(super) fn handle_freeze(&mut self, now: Instant, handover: HandoverId) {
        if self.attempt.is_some() {
            self.send(PeerMessage::Refused { handover, why: HandoverRefusal::TakingOver });
            return;
        }
        if self.follows && self.record.highest == self.record.epoch {
            // The partner has the right and acts by it: the message is left over from before.
            return;
        }
        if self.has_right() && !self.confirmed {
            self.send(PeerMessage::Refused { handover, why: HandoverRefusal::NotReady });
            return;
        }
        match self.frozen {
            Some(frozen) if frozen.handover == handover => {
                if let Some(mark) = frozen.mark {
                    self.send(PeerMessage::Frozen { handover, freeze: frozen.freeze, mark });
                }
            }
            // An earlier attempt that has arrived late.
            Some(frozen)
                if frozen.handover.boot == handover.boot && frozen.handover.number > handover.number => {}
            _ => {
                self.freezes += 1;
                let freeze = FreezeId { boot: self.boot, number: self.freezes };
                let until = now.plus(self.config.freeze);
                self.frozen = Some(Frozen { handover, freeze, until, mark: None });
                self.actions.push_back(Action::Freeze(handover));
                self.events.push_back(Event::Froze);
            }
        }
    }

    /// [`Action::Freeze`] was carried out: no write is under way, and this is the last change.
    pub fn handle_frozen(&mut self, handover: HandoverId, mark: StoreMark) {
        if let Some(frozen) = self.frozen.as_mut().filter(|frozen| frozen.handover == handover) {
            frozen.mark = Some(mark);
            let freeze = frozen.freeze;
            self.send(PeerMessage::Frozen { handover, freeze, mark });
        }
    }

    /// Writes on if the partner has not taken over in time.
    pub(super) fn end_freeze(&mut self, now: Instant) {
        if self.frozen.is_some_and(|frozen| frozen.until <= now) {
            self.thaw();
        }
    }

    fn thaw(&mut self) {
        self.frozen = None;
        self.events.push_back(Event::Thawed);
    }

    pub(super) fn handle_cancel(&mut self, handover: HandoverId) {
        if self.frozen.is_some_and(|frozen| frozen.handover == handover) {
            self.thaw();
        }
    }

    pub(super) fn handle_partner_frozen(&mut self, handover: HandoverId, freeze: FreezeId, mark: StoreMark) {
        if let Some(attempt) = &mut self.attempt
            && attempt.step == Step::Asking(handover)
        {
            attempt.step = Step::CatchingUp(handover, freeze);
            self.actions.push_back(Action::CatchUp { handover, mark });
        }
    }

    /// [`Action::CatchUp`] was carried out: whether this site has every change of the partner.
    pub fn handle_caught_up(&mut self, now: Now, handover: HandoverId, has_all: bool) {
        let Some(Attempt { step, accept_divergence, .. }) = &mut self.attempt else { return };
        let Step::CatchingUp(id, freeze) = *step else { return };
        if id != handover {
            return;
        }
        if has_all {
            *accept_divergence = false;
        }
        if has_all || *accept_divergence {
            *step = Step::Committing(handover, freeze, now.instant);
            self.send(PeerMessage::Commit { handover, freeze });
        } else {
            self.fail_attempt(now, "the data of the two regions differ");
        }
    }

    /// The partner has applied everything and asks for the right.
    pub(super) fn handle_commit(&mut self, now: Instant, handover: HandoverId, freeze: FreezeId) {
        if let Some((given, epoch)) = self.given
            && given == freeze
        {
            if self.record.epoch == epoch {
                self.promised_until = self.promised_until.max(now.plus(self.config.lease));
                self.send(PeerMessage::Committed { handover, epoch });
            }
            return;
        }
        let still = self.frozen.is_some_and(|it| it.freeze == freeze && it.mark.is_some() && now < it.until);
        if !still {
            self.send(PeerMessage::Refused { handover, why: HandoverRefusal::Late });
            return;
        }
        let own = self.has_right().then_some(self.record.epoch);
        let epoch = self.record.highest.next_of(self.side.other());
        self.given = Some((freeze, epoch));
        // The partner may still ask for this attempt, and believe the answer.
        self.promised_until = self.promised_until.max(now.plus(self.config.lease));
        self.follow(epoch);
        self.send(PeerMessage::Committed { handover, epoch });
        if let (Fence::Witness, Some(epoch)) = (self.config.fence, own) {
            let (side, boot) = (self.side, self.boot);
            self.actions.push_back(Action::Ask(LeaseRequest { side, epoch, ping: 0, boot, release: true }));
        }
        self.events.push_back(Event::GaveAway { epoch });
    }

    pub(super) fn handle_committed(&mut self, now: Now, handover: HandoverId, epoch: Epoch) {
        let Some(Attempt { cause, step: Step::Committing(id, _, sent), accept_divergence, .. }) =
            self.attempt
        else {
            return;
        };
        // The partner refuses to take the right back for the duration of a lease only.
        if id != handover
            || epoch.owner() != self.side
            || epoch < self.record.highest
            || now.instant.since(sent) >= self.config.lease_relied_on()
        {
            return;
        }
        self.lease.extend_from(sent, self.config.lease_relied_on());
        self.take(epoch, cause, if accept_divergence { Means::Fence } else { Means::Handover });
    }

    pub(super) fn handle_refused(&mut self, now: Now, handover: HandoverId, why: HandoverRefusal) {
        let Some(attempt) = self.attempt else { return };
        let is_this = match attempt.step {
            Step::Asking(id) | Step::CatchingUp(id, _) | Step::Committing(id, ..) => id == handover,
            Step::Seizing(_) => false,
        };
        if is_this {
            self.fail_attempt(
                now,
                match why {
                    HandoverRefusal::NotReady => {
                        "the other region has just started, and is not ready to hand over"
                    }
                    HandoverRefusal::TakingOver => "the other region is taking over itself",
                    HandoverRefusal::Late => "the other region no longer stands still",
                },
            );
        }
    }
}
