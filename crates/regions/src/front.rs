//! The front: which region gets the requests of clients.

use core::time::Duration;

use crate::{Epoch, Instant, Side};

/// What a site tells a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteAnswer {
    /// The epoch that the site acts by.
    pub epoch: Epoch,
    /// Whether it can use keys.
    pub serves: bool,
    /// Whether it follows its partner and believes it to be lost.
    pub partner_lost: bool,
}

/// Configuration of a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrontConfig {
    /// Probes in a row that fail before a site counts as unreachable.
    pub failures: u32,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self { failures: 3 }
    }
}

/// Which region gets the requests. It asks both sites again and again, and tells each for how long it has not reached the
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Front {
    config: FrontConfig,
    started: Instant,
    home: Probed,
    standby: Probed,
    route: Option<Side>,
    /// The highest epoch that any site has shown.
    highest: Epoch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Probed {
    answer: Option<SiteAnswer>,
    /// When it answered last.
    answered: Option<Instant>,
    failures: u32,
}

impl Front {
    /// A front that has asked no site yet.
    #[must_use]
    pub fn new(config: FrontConfig, now: Instant) -> Self {
        Self {
            config,
            started: now,
            home: Probed::default(),
            standby: Probed::default(),
            route: None,
            highest: Epoch::FIRST,
        }
    }

    /// The outcome of a probe of a site: its answer, or none.
    pub fn handle_probe(&mut self, now: Instant, side: Side, answer: Option<SiteAnswer>) {
        let probed = match side {
            Side::Home => &mut self.home,
            Side::Standby => &mut self.standby,
        };
        match answer {
            Some(answer) => {
                *probed = Probed { answer: Some(answer), answered: Some(now), failures: 0 };
                self.highest = self.highest.max(answer.epoch);
            }
            None => probed.failures = probed.failures.saturating_add(1),
        }
        self.decide();
    }

    /// The region that gets the requests; `None` until one can serve them.
    #[must_use]
    pub const fn route(&self) -> Option<Side> {
        self.route
    }

    /// The highest epoch that any site has shown.
    #[must_use]
    pub const fn highest(&self) -> Epoch {
        self.highest
    }

    /// For how long the front has not reached a site.
    #[must_use]
    pub fn unreachable_for(&self, now: Instant, side: Side) -> Duration {
        let probed = self.probed(side);
        match probed.failures {
            0 if probed.answered.is_some() => Duration::ZERO,
            _ => now.since(probed.answered.unwrap_or(self.started)),
        }
    }

    const fn probed(&self, side: Side) -> &Probed {
        match side {
            Side::Home => &self.home,
            Side::Standby => &self.standby,
        }
    }

    /// The last answer of a site that still counts as reachable.
    fn current(&self, side: Side) -> Option<SiteAnswer> {
        let probed = self.probed(side);
        probed.answer.filter(|_| probed.failures < self.config.failures)
    }

    fn decide(&mut self) {
        let owner = self.highest.owner();
        let of_owner = self.current(owner);
        let of_other = self.current(owner.other());
        // The owner of the highest epoch, once it knows itself.
        if of_owner.is_some_and(|answer| answer.epoch == self.highest && answer.serves) {
            self.route = Some(owner);
            return;
        }
        // Its partner, if it agrees that the owner is lost.
        if of_other.is_some_and(|answer| answer.serves && answer.partner_lost) {
            self.route = Some(owner.other());
            return;
        }
        // While the right to write moves, requests stay where they are served.
        let stays = self.route.and_then(|side| self.current(side)).is_some_and(|answer| answer.serves);
        if !stays && of_owner.is_none() && of_other.is_none() {
            // Nothing is reachable: a request had better fail at the owner than find no region.
            self.route = self.route.map(|_| owner);
        }
    }
}
