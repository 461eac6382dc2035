//! The processes of a pair, as the process that starts them knows them.

use super::links::{Links, Party, PeerPort};
use super::part::{self, Ports, RegionPart, WitnessPart};
use super::process::Announcements;
use super::serve::Announced;
use crate::region::{ReadyFile, SimClock};
use regions::Side;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A region, as the pair knows it.
pub struct KnownRegion {
    side: Side,
    /// What it is told; the ports are those that it had last.
    part: Mutex<RegionPart>,
    /// The file that it reads this from.
    path: PathBuf,
    links: Arc<Links>,
    clock: Arc<SimClock>,
    /// Its addresses and credentials, as it announced them last.
    ready: watch::Sender<Option<ReadyFile>>,
}

/// The witness, as the pair knows it.
pub struct KnownWitness {
    part: Mutex<WitnessPart>,
    path: PathBuf,
    links: Arc<Links>,
}

impl KnownRegion {
    pub(super) fn new(part: RegionPart, path: PathBuf, links: Arc<Links>, clock: Arc<SimClock>) -> Self {
        let side = part.side();
        Self { side, part: Mutex::new(part), path, links, clock, ready: watch::Sender::new(None) }
    }

    /// Its addresses and credentials, as it announced them last, also after it has ended; `None` before its first start.
    pub fn ready(&self) -> Option<ReadyFile> {
        self.ready.borrow().clone()
    }

    /// Changes of these.
    pub fn changes(&self) -> watch::Receiver<Option<ReadyFile>> {
        self.ready.subscribe()
    }
}

impl Announcements for KnownRegion {
    fn arguments(&self) -> io::Result<Vec<OsString>> {
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        part.ahead_ms = u64::try_from(self.clock.ahead().as_millis()).unwrap_or(u64::MAX);
        part::write(&self.path, &*part)?;
        Ok(vec!["region".into(), "serve".into(), "--part".into(), self.path.clone().into()])
    }

    fn announced(&self, line: &str) -> bool {
        let Ok(Announced::Region(ready)) = serde_json::from_str(line) else { return false };
        let (rest, peer) = (address(&ready.rest_url), ready.peer_address);
        let port = |address: Option<SocketAddr>| address.map_or(0, |address| address.port());
        self.part.lock().unwrap_or_else(PoisonError::into_inner).ports = Ports {
            api: port(rest),
            control: port(address(&ready.control_url)),
            operator: port(address(&ready.operator_url)),
            peer: port(peer),
        };
        let party = Party::Region(self.side);
        self.links.set_target(party, PeerPort::Rest, rest);
        self.links.set_target(party, PeerPort::Peer, peer);
        self.ready.send_replace(Some(*ready));
        true
    }

    fn ended(&self) {
        for port in [PeerPort::Rest, PeerPort::Peer] {
            self.links.set_target(Party::Region(self.side), port, None);
        }
    }
}

impl KnownWitness {
    pub(super) const fn new(part: WitnessPart, path: PathBuf, links: Arc<Links>) -> Self {
        Self { part: Mutex::new(part), path, links }
    }
}

impl Announcements for KnownWitness {
    fn arguments(&self) -> io::Result<Vec<OsString>> {
        part::write(&self.path, &*self.part.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(vec!["region".into(), "witness".into(), "--part".into(), self.path.clone().into()])
    }

    fn announced(&self, line: &str) -> bool {
        let Ok(Announced::Witness(address)) = serde_json::from_str(line) else { return false };
        self.part.lock().unwrap_or_else(PoisonError::into_inner).port = address.port();
        self.links.set_target(Party::Witness, PeerPort::Peer, Some(address));
        true
    }

    fn ended(&self) {
        self.links.set_target(Party::Witness, PeerPort::Peer, None);
    }
}

/// The address in `http://ADDRESS`.
fn address(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.parse().ok()
}
