//! The witness: a lease on writing, in a third place.

use core::time::Duration;

use crate::{Epoch, Instant, LeaseReply, LeaseRequest};

/// What a witness keeps durably: the highest epoch that it has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WitnessRecord {
    /// The epoch.
    pub epoch: Epoch,
}

/// The lease on writing of one pair.
///
/// It is granted to one side at a time. The other side gets it, for a higher epoch, after it has run out or was given back;
/// from then on the lower epoch is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    record: WitnessRecord,
    lease: Duration,
    /// When the lease runs out.
    until: Instant,
}

impl Witness {
    /// A witness that starts now. The lease that it may have granted before its start counts as granted now.
    #[must_use]
    pub fn new(record: WitnessRecord, lease: Duration, now: Instant) -> Self {
        Self { record, lease, until: now.plus(lease) }
    }

    /// What has to be durable before the reply that was returned last is sent.
    #[must_use]
    pub const fn record(&self) -> WitnessRecord {
        self.record
    }

    /// How long the lease still runs.
    #[must_use]
    pub const fn remaining(&self, now: Instant) -> Duration {
        self.until.since(now)
    }

    /// Answers a request.
    pub fn handle_request(&mut self, now: Instant, request: LeaseRequest) -> LeaseReply {
        let LeaseRequest { side, epoch, ping, boot, release } = request;
        let held = self.record.epoch;
        let owner = held.owner();
        let granted = if epoch.owner() != side || !held.may_become(epoch) {
            false
        } else if release {
            if owner == side && epoch >= held {
                self.until = now;
            }
            false
        } else if epoch == held || (epoch > held && (owner == side || self.until <= now)) {
            self.record.epoch = epoch;
            self.until = now.plus(self.lease);
            true
        } else {
            false
        };
        LeaseReply { ping, boot, granted, epoch: self.record.epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::{Witness, WitnessRecord};
    use crate::{Epoch, Instant, LeaseRequest, Side};
    use core::time::Duration;

    const LEASE: Duration = Duration::from_secs(30);

    fn ask(epoch: u64) -> LeaseRequest {
        let epoch = Epoch::from_number(epoch);
        LeaseRequest { side: epoch.owner(), epoch, ping: 0, boot: 0, release: false }
    }

    fn witness() -> Witness {
        Witness::new(WitnessRecord { epoch: Epoch::FIRST }, LEASE, Instant::from_millis(0))
    }

    #[test]
    fn the_other_side_gets_the_lease_only_after_it_has_run_out() {
        let mut witness = witness();
        let at = Instant::from_millis;
        assert!(witness.handle_request(at(10_000), ask(1)).granted);
        assert!(!witness.handle_request(at(39_999), ask(2)).granted);
        assert!(witness.handle_request(at(40_000), ask(2)).granted);
        let late = witness.handle_request(at(40_001), ask(1));
        assert!(!late.granted && late.epoch.number() == 2);
    }

    #[test]
    fn a_lease_that_was_given_back_is_free() {
        let mut witness = witness();
        let at = Instant::from_millis;
        witness.handle_request(at(1), LeaseRequest { release: true, ..ask(1) });
        assert!(witness.handle_request(at(2), ask(2)).granted);
        // A repeated message gives nothing back that is not the sender's.
        witness.handle_request(at(3), LeaseRequest { release: true, ..ask(1) });
        assert!(!witness.handle_request(at(4), ask(3)).granted);
    }

    #[test]
    fn a_witness_that_starts_again_waits_for_the_lease_that_it_may_have_granted() {
        let at = Instant::from_millis;
        let mut witness = Witness::new(WitnessRecord { epoch: Epoch::FIRST }, LEASE, at(5));
        assert!(!witness.handle_request(at(30_004), ask(2)).granted);
        assert!(witness.handle_request(at(30_005), ask(2)).granted);
    }

    #[test]
    fn an_epoch_far_beyond_is_not_granted() {
        let mut witness = witness();
        assert!(!witness.handle_request(Instant::from_millis(0), ask(u64::MAX)).granted);
        assert_eq!(witness.record().epoch, Epoch::FIRST);
    }

    #[test]
    fn an_epoch_of_the_other_side_is_refused() {
        let request = LeaseRequest { side: Side::Standby, ..ask(1) };
        assert!(!witness().handle_request(Instant::from_millis(0), request).granted);
    }
}
