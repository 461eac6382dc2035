//! What the processes of a pair are told, in files that only their user can read.

use super::certificates::CertificateFiles;
use super::profile::{Profile, SwitchError, Switches};
use crate::files;
use crate::region::{Identity, Wanted};
use clap::ValueEnum;
use regions::Side;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Another process, as a region or a witness is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// Name, which its certificate is for.
    pub name: String,
    /// Where it is reached: a relay.
    pub address: SocketAddr,
}

/// Ports of a region, the same after a restart; 0 for any free one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Key Protect API, token service and administration.
    pub api: u16,
    /// Control API.
    pub control: u16,
    /// Health and metrics.
    pub operator: u16,
    /// For the partner and the front.
    pub peer: u16,
}

/// What a region of a pair is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct RegionPart {
    /// Instances and credentials, which are those of the other region too; the name of this region.
    pub identity: Identity,
    /// Name of the home.
    pub home: String,
    /// The profile, and what was set beside it.
    pub profile: String,
    /// Switches, `name=value`.
    pub set: Vec<String>,
    /// Data directory of this region.
    pub data: PathBuf,
    /// Data directory of the pair, with the customer's keys and the manufacturer.
    pub shared: PathBuf,
    /// Units and engines that were requested.
    pub wanted: Wanted,
    /// Whether faults and clock changes are allowed.
    pub faults: Option<bool>,
    /// Names under which the ports are addressed.
    pub hosts: Vec<String>,
    /// Folder for backups, with a folder for each region in it.
    pub backup_dir: Option<PathBuf>,
    /// Deviations of the keystore from its pin that are accepted: older, missing, other.
    pub accepted: [bool; 3],
    /// Ports that it had before, so that its addresses stay.
    pub ports: Ports,
    /// The other region.
    pub partner: PeerAddress,
    /// The witness, if there is one.
    pub witness: Option<PeerAddress>,
    /// Certificate of this region.
    pub tls: CertificateFiles,
    /// How far the clock is ahead of real time, at least.
    pub ahead_ms: u64,
}

/// What a witness is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessPart {
    /// Name of the home.
    pub home: String,
    /// Name of the standby.
    pub standby: String,
    /// Duration of a lease.
    pub lease_ms: u64,
    /// File with the highest epoch that was granted.
    pub record: PathBuf,
    /// Certificate of the witness.
    pub tls: CertificateFiles,
    /// Port, 0 for any free one.
    pub port: u16,
}

/// Why a process does not know its part.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// OS error, or what is wrong with the content.
        source: io::Error,
    },
    /// The profile is unknown.
    #[error("there is no profile `{0}`")]
    Profile(String),
    /// The switches are refused.
    #[error(transparent)]
    Switch(#[from] SwitchError),
}

impl RegionPart {
    /// Which side of the pair the region is.
    #[must_use]
    pub fn side(&self) -> Side {
        if self.identity.region == self.home { Side::Home } else { Side::Standby }
    }

    /// The switches of the pair.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn switches(&self) -> Result<Switches, PartError> {
        let profile = Profile::from_str(&self.profile, false);
        let mut switches = profile.map_err(|_| PartError::Profile(self.profile.clone()))?.switches();
        for switch in &self.set {
            switches.set(switch)?;
        }
        Ok(switches)
    }
}

impl WitnessPart {
    /// Duration of a lease.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// Reads a part.
///
/// # Errors
/// [`PartError::Unreadable`].
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, PartError> {
    let content = zeroize::Zeroizing::new(std::fs::read(path).map_err(unreadable(path))?);
    serde_json::from_slice(&content).map_err(|e| unreadable(path)(e.into()))
}

/// Writes a part.
///
/// # Errors
/// The operating system's.
pub fn write(path: &Path, part: &impl Serialize) -> io::Result<()> {
    files::write_private(path, &zeroize::Zeroizing::new(serde_json::to_vec_pretty(part)?))
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> PartError {
    move |source| PartError::Unreadable { path: path.to_owned(), source }
}
