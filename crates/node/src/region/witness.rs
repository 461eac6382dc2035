//! The witness of a pair: a lease on writing, in a third place.

use super::RegionTls;
use super::accept::{Known, WhenFull, accept};
use super::codec::{reply_to_wire, request_from_wire};
use super::frames::{read_frame, write_frame};
use super::time::Clocks;
use super::tls::is_client;
use kms::SystemClock;
use regions::{Epoch, Side, Witness, WitnessRecord};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tracing::info;
use wire::region::{Hello, LeaseRequest, MAX_MESSAGE_LEN, Purpose, VERSION, decode, encode};

const CONNECTIONS: usize = 16;
const HELLO_TIME: Duration = Duration::from_secs(5);
/// Longer than the pause between two renewals.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// What a witness is for.
#[derive(Clone, Debug)]
pub struct WitnessSettings {
    /// Name of the home region, for whose certificate the lease on odd epochs is.
    pub home: String,
    /// Name of the standby region.
    pub standby: String,
    /// Duration of a lease, the same as in the configuration of the pair.
    pub lease: Duration,
    /// The file with the highest epoch that was granted. Created if it does not exist.
    pub record: PathBuf,
    /// The witness's certificate.
    pub tls: RegionTls,
}

struct Shared {
    settings: WitnessSettings,
    clocks: Clocks,
    witness: Mutex<Witness>,
}

/// Serves the lease of one pair on `listener` until `stopped`.
///
/// # Errors
/// The record cannot be read.
pub async fn serve_witness(
    listener: TcpListener,
    settings: WitnessSettings,
    stopped: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let record = read_record(&settings.record)?;
    let clocks = Clocks::new(Arc::new(SystemClock));
    let witness = Mutex::new(Witness::new(record, settings.lease, clocks.now().instant));
    info!(epoch = record.epoch.number(), "the witness serves");
    let shared = Arc::new(Shared { settings, clocks, witness });
    let serve = move |stream, known| connection(stream, Arc::clone(&shared), known);
    accept(listener, (CONNECTIONS, WhenFull::ReplaceStranger), stopped, serve).await;
    Ok(())
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, known: Known) -> io::Result<()> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut stream = shared.settings.tls.accept(stream).await?;
    let side = match &shared.settings {
        settings if is_client(&stream, &settings.home) => Side::Home,
        settings if is_client(&stream, &settings.standby) => Side::Standby,
        _ => return Err(refused("the certificate is not one of the pair's regions")),
    };
    known.set();
    let hello = read_frame(&mut stream, MAX_MESSAGE_LEN, HELLO_TIME).await?;
    let hello: Hello = decode(&hello).map_err(io::Error::other)?;
    if hello != Hello::new(Purpose::Lease) {
        return Err(refused(&format!("a witness gives leases, by version {VERSION} of the protocol")));
    }
    loop {
        let request = read_frame(&mut stream, MAX_MESSAGE_LEN, IDLE_TIME).await?;
        let request: LeaseRequest = decode(&request).map_err(io::Error::other)?;
        let request = request_from_wire(&request);
        if request.side != side {
            return Err(refused("a region asks for the other one's lease"));
        }
        let reply = {
            let mut witness = shared.witness.lock().unwrap_or_else(PoisonError::into_inner);
            let before = witness.clone();
            let reply = witness.handle_request(shared.clocks.now().instant, request);
            if witness.record() != before.record()
                && let Err(error) = write_record(&shared.settings.record, witness.record())
            {
                // What is not durable is not granted.
                *witness = before;
                return Err(error);
            }
            reply
        };
        write_frame(&mut stream, &encode(&reply_to_wire(reply))).await?;
    }
}

/// The epoch in decimal digits.
fn read_record(path: &Path) -> io::Result<WitnessRecord> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let number = text.trim().parse().map_err(|_| {
                let why = format!("{} does not hold the number of an epoch", path.display());
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?;
            Ok(WitnessRecord { epoch: Epoch::from_number(number) })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(WitnessRecord { epoch: Epoch::FIRST }),
        Err(error) => Err(error),
    }
}

/// Replaces the file as a whole, durably.
fn write_record(path: &Path, record: WitnessRecord) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{}", record.epoch)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{read_record, write_record};
    use regions::{Epoch, WitnessRecord};

    #[test]
    fn the_highest_epoch_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        assert_eq!(read_record(&path).unwrap().epoch, Epoch::FIRST);
        write_record(&path, WitnessRecord { epoch: Epoch::from_number(4) }).unwrap();
        assert_eq!(read_record(&path).unwrap().epoch.number(), 4);
        std::fs::write(&path, "none").unwrap();
        assert!(read_record(&path).is_err());
    }
}
