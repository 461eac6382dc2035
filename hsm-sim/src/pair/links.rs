//! The links between regions, witness and front: relays that carry every connection, and the faults that stop them.

mod relay;

pub use relay::{Passage, Relay};

use regions::Side;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The home or the standby.
    Region(Side),
    /// The witness.
    Witness,
    /// The front, which clients connect to.
    Front,
}

/// A port of a party that others connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerPort {
    /// For the partner, or for those who ask the witness: mutual TLS.
    Peer,
    /// The Key Protect API.
    Rest,
}

/// The connections from one party to a port of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Who connects.
    pub from: Party,
    /// Who is connected to.
    pub to: Party,
    /// The port.
    pub port: PeerPort,
}

const HOME: Party = Party::Region(Side::Home);
const STANDBY: Party = Party::Region(Side::Standby);

/// Every route that there is, with a witness.
const ROUTES: [Route; 8] = [
    route(HOME, STANDBY, PeerPort::Peer),
    route(STANDBY, HOME, PeerPort::Peer),
    route(HOME, Party::Witness, PeerPort::Peer),
    route(STANDBY, Party::Witness, PeerPort::Peer),
    route(Party::Front, HOME, PeerPort::Peer),
    route(Party::Front, STANDBY, PeerPort::Peer),
    route(Party::Front, HOME, PeerPort::Rest),
    route(Party::Front, STANDBY, PeerPort::Rest),
];

const fn route(from: Party, to: Party, port: PeerPort) -> Route {
    Route { from, to, port }
}

/// What stops messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFaults {
    /// Links that are cut, each in the direction from its first party to its second one.
    pub cut: BTreeSet<(Party, Party)>,
    /// Regions that reach nothing outside and cannot be reached.
    pub isolated: BTreeSet<Side>,
    /// Regions whose processes are dead: as if their power was off, nothing is answered or refused.
    pub lost: BTreeSet<Side>,
}

impl LinkFaults {
    /// What is carried on a connection that `from` opened to `to`.
    #[must_use]
    pub fn passage(&self, from: Party, to: Party) -> Passage {
        let is_dark = |party| match party {
            Party::Region(side) => self.isolated.contains(&side) || self.lost.contains(&side),
            Party::Witness | Party::Front => false,
        };
        let dark = is_dark(from) || is_dark(to);
        let is_open = |from, to| !dark && !self.cut.contains(&(from, to));
        Passage { forth: is_open(from, to), back: is_open(to, from) }
    }
}

/// All relays of a pair.
pub struct Links {
    relays: Vec<(Route, Relay)>,
    faults: Mutex<LinkFaults>,
}

/// There is no link between two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLink;

impl Links {
    /// Opens every relay on a free port of the loopback interface. Nothing is carried until the targets are known.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn open(has_witness: bool) -> io::Result<Self> {
        let mut relays = Vec::new();
        for route in ROUTES.into_iter().filter(|route| has_witness || route.to != Party::Witness) {
            relays.push((route, Relay::bind().await?));
        }
        Ok(Self { relays, faults: Mutex::default() })
    }

    /// The address at which `route.from` reaches `route.to`; `None` if it has no reason to.
    #[must_use]
    pub fn address(&self, route: Route) -> Option<SocketAddr> {
        self.relays.iter().find(|(found, _)| *found == route).map(|(_, relay)| relay.address())
    }

    /// Sets the address of a party's own port; `None` while nothing listens there.
    pub fn set_target(&self, to: Party, port: PeerPort, target: Option<SocketAddr>) {
        for (_, relay) in self.relays.iter().filter(|(route, _)| route.to == to && route.port == port) {
            relay.set_target(target);
        }
    }

    /// Changes the faults, and carries or stops messages accordingly.
    pub fn change(&self, change: impl FnOnce(&mut LinkFaults)) {
        let mut faults = self.locked();
        change(&mut faults);
        for (route, relay) in &self.relays {
            relay.set_passage(faults.passage(route.from, route.to));
        }
    }

    /// Stops messages from `from` to `to`, and the other way too unless `one_way`.
    ///
    /// # Errors
    /// [`NoLink`].
    pub fn cut(&self, from: Party, to: Party, one_way: bool) -> Result<(), NoLink> {
        self.check(from, to)?;
        self.change(|faults| {
            faults.cut.insert((from, to));
            if !one_way {
                faults.cut.insert((to, from));
            }
        });
        Ok(())
    }

    /// Carries messages between two parties again, in both directions.
    ///
    /// # Errors
    /// [`NoLink`].
    pub fn mend(&self, one: Party, other: Party) -> Result<(), NoLink> {
        self.check(one, other)?;
        self.change(|faults| faults.cut.retain(|cut| *cut != (one, other) && *cut != (other, one)));
        Ok(())
    }

    /// The present faults.
    #[must_use]
    pub fn faults(&self) -> LinkFaults {
        self.locked().clone()
    }

    fn check(&self, one: Party, other: Party) -> Result<(), NoLink> {
        let joins =
            |route: &Route| (route.from, route.to) == (one, other) || (route.from, route.to) == (other, one);
        if self.relays.iter().any(|(route, _)| joins(route)) { Ok(()) } else { Err(NoLink) }
    }

    fn locked(&self) -> MutexGuard<'_, LinkFaults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `home`, `standby`, `witness` or `front`.
impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(side) => side.fmt(f),
            Self::Witness => f.write_str("witness"),
            Self::Front => f.write_str("front"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HOME, LinkFaults, Links, NoLink, Party, Passage, PeerPort, STANDBY, route};
    use regions::Side;

    const OPEN: Passage = Passage { forth: true, back: true };
    const SHUT: Passage = Passage { forth: false, back: false };

    #[test]
    fn a_region_that_is_isolated_or_lost_is_out_of_reach() {
        for faults in [
            LinkFaults { isolated: [Side::Home].into(), ..LinkFaults::default() },
            LinkFaults { lost: [Side::Home].into(), ..LinkFaults::default() },
        ] {
            for other in [STANDBY, Party::Witness, Party::Front] {
                assert_eq!((faults.passage(HOME, other), faults.passage(other, HOME)), (SHUT, SHUT));
            }
            assert_eq!(faults.passage(Party::Front, STANDBY), OPEN);
            assert_eq!(faults.passage(STANDBY, Party::Witness), OPEN);
        }
    }

    #[test]
    fn a_link_cut_one_way_carries_messages_the_other_way() {
        let faults = LinkFaults { cut: [(HOME, STANDBY)].into(), ..LinkFaults::default() };
        assert_eq!(faults.passage(HOME, STANDBY), Passage { forth: false, back: true });
        assert_eq!(faults.passage(STANDBY, HOME), Passage { forth: true, back: false });
        assert_eq!(faults.passage(Party::Front, HOME), OPEN);
    }

    #[tokio::test]
    async fn only_links_that_exist_are_cut() {
        let links = Links::open(false).await.unwrap();
        assert_eq!(links.cut(HOME, Party::Witness, false), Err(NoLink));
        assert_eq!(links.cut(Party::Front, Party::Front, false), Err(NoLink));
        assert_eq!(links.address(route(HOME, Party::Witness, PeerPort::Peer)), None);
        links.cut(Party::Front, STANDBY, false).unwrap();
        links.cut(STANDBY, HOME, true).unwrap();
        assert_eq!(links.faults().cut.len(), 3);
        // In whichever order the parties are named.
        links.mend(STANDBY, Party::Front).unwrap();
        links.mend(HOME, STANDBY).unwrap();
        assert_eq!(links.faults(), LinkFaults::default());

        let links = Links::open(true).await.unwrap();
        links.cut(Party::Witness, HOME, false).unwrap();
        assert_eq!(links.cut(Party::Witness, Party::Front, false), Err(NoLink));
    }
}
