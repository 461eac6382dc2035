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
        match answer.filter(|answer| self.highest.may_become(answer.epoch)) {
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

#[cfg(test)]
mod tests {
    use super::{Front, FrontConfig, SiteAnswer};
    use crate::{Epoch, Instant, Side};
    use core::time::Duration;

    const HOME: Side = Side::Home;
    const STANDBY: Side = Side::Standby;

    const fn answer(epoch: u64) -> Option<SiteAnswer> {
        Some(SiteAnswer { epoch: Epoch::from_number(epoch), serves: true, partner_lost: false })
    }

    fn lost(epoch: u64) -> Option<SiteAnswer> {
        answer(epoch).map(|answer| SiteAnswer { partner_lost: true, ..answer })
    }

    /// Routes after each of these probes, one a second.
    fn routes(probes: &[(Side, Option<SiteAnswer>)]) -> Vec<Option<Side>> {
        let mut front = Front::new(FrontConfig::default(), Instant::from_millis(0));
        let mut routes = Vec::new();
        for (second, (side, answer)) in (1..).zip(probes) {
            front.handle_probe(Instant::from_millis(second * 1000), *side, *answer);
            routes.push(front.route());
        }
        routes
    }

    #[test]
    fn a_front_that_has_reached_nothing_routes_nowhere() {
        assert_eq!(routes(&[(HOME, None), (STANDBY, None), (STANDBY, answer(1))]), [None; 3]);
    }

    #[test]
    fn requests_move_only_if_the_standby_agrees_that_the_home_is_lost() {
        let found = routes(&[
            (HOME, answer(1)),
            (HOME, None),
            (HOME, None),
            (HOME, None),
            (STANDBY, answer(1)),
            (STANDBY, lost(1)),
            (HOME, answer(1)),
        ]);
        let home = Some(HOME);
        assert_eq!(found, [home, home, home, home, home, Some(STANDBY), home]);
    }

    #[test]
    fn a_probe_that_fails_now_and_then_moves_nothing() {
        let mut probes = vec![(HOME, answer(1)), (STANDBY, lost(1))];
        for _ in 0..5 {
            probes.extend([(HOME, None), (HOME, None), (HOME, answer(1))]);
        }
        assert!(routes(&probes).iter().all(|route| *route == Some(HOME)));
    }

    #[test]
    fn the_higher_epoch_wins_and_an_older_answer_changes_nothing() {
        let probes = [(HOME, answer(1)), (STANDBY, answer(2)), (HOME, answer(1)), (HOME, lost(1))];
        // The home does not know yet that the standby has taken over; from what it believes to be lost, only its partner takes.
        assert_eq!(routes(&probes[..3]), [Some(HOME), Some(STANDBY), Some(STANDBY)]);
        assert_eq!(routes(&probes)[3], Some(STANDBY));
    }

    #[test]
    fn an_answer_with_an_epoch_far_beyond_is_none() {
        let probes = [(HOME, answer(1)), (STANDBY, answer(u64::MAX - 1)), (HOME, answer(1))];
        assert_eq!(routes(&probes), [Some(HOME); 3]);
    }

    #[test]
    fn requests_stay_while_the_right_to_write_moves() {
        // The home has given epoch 2 away; the standby does not act by it yet.
        let probes = [(HOME, answer(1)), (STANDBY, answer(1)), (HOME, answer(2)), (STANDBY, answer(2))];
        assert_eq!(routes(&probes), [Some(HOME), Some(HOME), Some(HOME), Some(STANDBY)]);
    }

    #[test]
    fn with_both_unreachable_requests_go_to_the_owner() {
        let mut probes = vec![(HOME, answer(1)), (STANDBY, lost(1))];
        probes.extend([(HOME, None); 3]);
        assert_eq!(routes(&probes).pop(), Some(Some(STANDBY)));
        probes.extend([(STANDBY, None); 3]);
        assert_eq!(routes(&probes).pop(), Some(Some(HOME)));
    }

    #[test]
    fn a_site_is_unreachable_since_its_last_answer() {
        let at = Instant::from_millis;
        let mut front = Front::new(FrontConfig::default(), at(1000));
        assert_eq!(front.unreachable_for(at(3000), HOME), Duration::from_secs(2), "since the start");
        front.handle_probe(at(4000), HOME, answer(1));
        assert_eq!(front.unreachable_for(at(9000), HOME), Duration::ZERO);
        front.handle_probe(at(9000), HOME, None);
        assert_eq!(front.unreachable_for(at(9000), HOME), Duration::from_secs(5));
    }
}
