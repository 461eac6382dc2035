//! Connections to the partner and to the witness. What cannot be sent now is lost: the state machine sends it again.

use super::codec::{holding_from_wire, message_to_wire, reply_from_wire, request_to_wire};
use super::frames::{read_frame, write_frame};
use super::site::Region;
use super::{PairSettings, Place, RegionTls};
use kms::replica::ReplicaState;
use regions::{LeaseRequest, PeerMessage};
use std::io;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;
use wire::region::{Hello, MAX_MESSAGE_LEN, Purpose, decode, encode};

/// Before another attempt to connect.
const PAUSE: Duration = Duration::from_millis(300);
/// For the witness, or the partner, to answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// Messages that may wait for the connection.
pub(super) const QUEUE: usize = 32;

/// Whose data the partner has.
pub(super) async fn ask_holding(settings: &PairSettings) -> io::Result<ReplicaState> {
    let (tls, partner) = (&settings.tls, &settings.partner);
    let mut stream = tls.connect(&partner.address, &partner.name).await?;
    write_frame(&mut stream, &encode(&Hello::new(Purpose::Holding))).await?;
    let answer = read_frame(&mut stream, MAX_MESSAGE_LEN, ANSWER_TIME).await?;
    let answer = decode(&answer).map_err(io::Error::other)?;
    holding_from_wire(&answer).ok_or_else(|| io::Error::other("the other region names a store that is none"))
}

/// Sends messages to the partner as long as there is someone who sends them.
pub(super) async fn send_messages(tls: RegionTls, partner: Place, mut messages: mpsc::Receiver<PeerMessage>) {
    while let Some(first) = messages.recv().await {
        if let Err(error) = send_over_one_connection(&tls, &partner, first, &mut messages).await {
            debug!(partner = %partner.name, %error, "the other region cannot be reached");
            discard(&mut messages).await;
        }
    }
}

async fn send_over_one_connection(
    tls: &RegionTls,
    partner: &Place,
    first: PeerMessage,
    messages: &mut mpsc::Receiver<PeerMessage>,
) -> io::Result<()> {
    let mut stream = tls.connect(&partner.address, &partner.name).await?;
    write_frame(&mut stream, &encode(&Hello::new(Purpose::Messages))).await?;
    let mut next = Some(first);
    while let Some(message) = next {
        write_frame(&mut stream, &encode(&message_to_wire(message))).await?;
        next = messages.recv().await;
    }
    Ok(())
}

/// Asks the witness as long as there is someone who wants to.
pub(super) async fn ask_witness(
    tls: RegionTls,
    witness: Place,
    region: Weak<Region>,
    mut requests: mpsc::Receiver<LeaseRequest>,
) {
    while let Some(first) = requests.recv().await {
        if let Err(error) = ask_over_one_connection(&tls, &witness, &region, first, &mut requests).await {
            debug!(witness = %witness.name, %error, "the witness cannot be reached");
            discard(&mut requests).await;
        }
    }
}

async fn ask_over_one_connection(
    tls: &RegionTls,
    witness: &Place,
    region: &Weak<Region>,
    first: LeaseRequest,
    requests: &mut mpsc::Receiver<LeaseRequest>,
) -> io::Result<()> {
    let mut stream = tls.connect(&witness.address, &witness.name).await?;
    write_frame(&mut stream, &encode(&Hello::new(Purpose::Lease))).await?;
    let mut next = Some(first);
    while let Some(request) = next {
        write_frame(&mut stream, &encode(&request_to_wire(request))).await?;
        let reply = read_frame(&mut stream, MAX_MESSAGE_LEN, ANSWER_TIME).await?;
        let reply = decode(&reply).map_err(io::Error::other)?;
        let Some(region) = region.upgrade() else { return Ok(()) };
        region.handle(|site, now| site.handle_lease_reply(now, reply_from_wire(&reply)));
        next = requests.recv().await;
    }
    Ok(())
}

/// Drops what has waited, which is old by the time there is a connection.
async fn discard<T>(queue: &mut mpsc::Receiver<T>) {
    sleep(PAUSE).await;
    let _ = timeout(Duration::ZERO, async { while queue.recv().await.is_some() {} }).await;
}
