//! The processes of a pair from the inside: a region, and the witness. Each ends with the process that started it.

use super::certificates::CertificatesError;
use super::part::{self, PartError, RegionPart, WitnessPart};
use crate::output;
use crate::region::{MemberError, PairMember, ReadyFile, Region, UpError, UpOptions};
use keystore::Accepted;
use node::region::{WitnessSettings, serve_witness};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A line on the standard output of a process of a pair.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Announced {
    /// A region serves, or its units have changed.
    Region(Box<ReadyFile>),
    /// The witness serves at this address.
    Witness(SocketAddr),
}

/// Why a process of a pair does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It does not know its part.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The region's part is refused.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The certificates are refused.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// The region did not start.
    #[error(transparent)]
    Region(#[from] Box<UpError>),
    /// A port, the witness's record or the standard output cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves the region that the file `path` describes, until `stopped` or the end of standard input.
///
/// # Errors
/// [`ServeError`].
pub async fn region(path: &Path, stopped: impl Future<Output = ()>) -> Result<(), ServeError> {
    end_with_parent();
    let ended = end_of_input();
    let part: RegionPart = part::read(path)?;
    let member = PairMember::of(&part)?;
    let [older, missing, other] = part.accepted;
    let options = UpOptions {
        rotation: part.switches()?.rotation,
        data: part.data,
        wanted: part.wanted,
        port: 0,
        faults: part.faults,
        hosts: part.hosts,
        backup_dir: part.backup_dir,
        ready_file: None,
        accepted: Accepted::default().older(older).missing(missing).other(other),
        program: None,
        pair: Some(Box::new(member)),
    };
    let mut stop = std::pin::pin!(async {
        tokio::select! {
            _ = ended => {}
            () = stopped => {}
        }
    });
    let region = tokio::select! {
        region = Region::start(options) => region.map_err(Box::new)?,
        // Units end with the process that started them.
        () = &mut stop => return Ok(()),
    };
    if announce(&Announced::Region(Box::new(region.ready()))).is_ok() {
        stop.await;
    }
    region.stop().await;
    Ok(())
}

/// Serves the witness that the file `path` describes, until `stopped` or the end of standard input.
///
/// # Errors
/// [`ServeError`].
pub async fn witness(path: &Path, stopped: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
    end_with_parent();
    let ended = end_of_input();
    let part: WitnessPart = part::read(path)?;
    let settings = WitnessSettings {
        lease: part.lease(),
        home: part.home,
        standby: part.standby,
        record: part.record,
        tls: part.tls.read()?,
    };
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, part.port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
    };
    announce(&Announced::Witness(listener.local_addr()?))?;
    let stop = async {
        tokio::select! {
            _ = ended => {}
            () = stopped => {}
        }
    };
    serve_witness(listener, settings, stop).await?;
    Ok(())
}

/// Writes a line to the process that started this one.
///
/// # Errors
/// That process has ended.
pub fn announce(announced: &Announced) -> io::Result<()> {
    let line = zeroize::Zeroizing::new(serde_json::to_string(announced)?);
    output::print(&line).map_err(io::Error::other)
}

/// Resolves at the end of standard input. In a thread of its own: a runtime would wait for the read when it stops.
#[must_use]
pub fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    end
}

/// Has the system end this process with its parent, even while it is busy.
#[cfg(target_os = "linux")]
fn end_with_parent() {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        tracing::warn!(%error, "the process may outlive the one that started it");
    }
}

#[cfg(not(target_os = "linux"))]
const fn end_with_parent() {}
