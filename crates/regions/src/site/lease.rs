//! The lease on writing: from the witness, or as a promise of the partner.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Site;
use crate::{Action, Epoch, Fence, Instant, LeaseReply, LeaseRequest, Now};

/// How long this site may rely on the partner not having the right to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    until: Option<Instant>,
    /// When each message that may still be answered was sent. A lease runs from then, not from its answer.
    sent: BTreeMap<u64, Instant>,
    /// Number of the next message.
    next: u64,
    next_renewal: Instant,
}

impl Lease {
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(super) fn remaining(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// Number of a message that is sent now. Answers that come after `lease` count for nothing.
    pub(super) fn next_ping(&mut self, now: Instant, lease: Duration) -> u64 {
        self.sent.retain(|_, sent| now.since(*sent) < lease);
        self.next += 1;
        self.sent.insert(self.next, now);
        self.next
    }

    /// The lease as granted in answer to this message; whether it is valid.
    pub(super) fn extend(&mut self, ping: u64, relied_on: Duration) -> bool {
        let Some(sent) = self.sent.remove(&ping) else { return false };
        self.extend_from(sent, relied_on);
        true
    }

    pub(super) fn extend_from(&mut self, sent: Instant, relied_on: Duration) {
        self.until = self.until.max(Some(sent.plus(relied_on)));
    }

    pub(super) fn forget(&mut self) {
        self.until = None;
        self.sent.clear();
    }
}

impl Site {
    /// Asks the witness for the lease on this site's epoch, when it is due.
    pub(super) fn renew_lease(&mut self, now: Instant) {
        let due = !self.lease.is_valid(now) || self.lease.next_renewal <= now;
        if self.config.fence == Fence::Witness && self.has_right() && due {
            self.lease.next_renewal = now.plus(self.config.lease / 6);
            self.ask_for_lease(now, self.record.epoch);
        }
    }

    pub(super) fn ask_for_lease(&mut self, now: Instant, epoch: Epoch) {
        let ping = self.lease.next_ping(now, self.config.lease);
        let (side, boot) = (self.side, self.boot);
        self.actions.push_back(Action::Ask(LeaseRequest { side, epoch, ping, boot, release: false }));
    }

    /// The witness has answered.
    pub fn handle_lease_reply(&mut self, now: Now, reply: LeaseReply) {
        if reply.epoch.owner() != self.side {
            self.learn(now, reply.epoch);
        }
        if reply.boot != self.boot || !reply.granted {
            return;
        }
        let wanted = self.seizing().or(self.has_right().then_some(self.record.epoch));
        // The answer to a request for an epoch that is no longer wanted.
        if wanted != Some(reply.epoch) || !self.lease.extend(reply.ping, self.config.lease_relied_on()) {
            return;
        }
        if !self.lease.is_valid(now.instant) {
            return;
        }
        match self.seizing() {
            Some(epoch) => self.complete_seizure(epoch),
            None => self.confirm(),
        }
    }

    /// The partner has answered a poll.
    pub(super) fn handle_heard(&mut self, now: Instant, (epoch, ping, promised): (Epoch, u64, bool)) {
        if !self.has_right() || epoch > self.record.epoch {
            return;
        }
        match self.config.fence {
            Fence::Witness if promised && epoch == self.record.epoch => {
                if self.lease.extend(ping, self.config.lease_relied_on()) && self.lease.is_valid(now) {
                    self.confirm();
                }
            }
            Fence::Witness => {}
            Fence::Operator | Fence::None => self.confirm(),
        }
    }

    /// Promises the partner, which has the right to write, not to take it for the duration of a lease.
    pub(super) fn promise(&mut self, now: Instant, epoch: Epoch) -> bool {
        if epoch.owner() == self.side || epoch != self.record.epoch || self.seizing().is_some() {
            return false;
        }
        self.promised_until = self.promised_until.max(now.plus(self.config.lease));
        true
    }
}
