//! The port of a region for its partner and for the front.

use super::FRONT;
use super::accept::{Known, WhenFull, accept};
use super::codec::{answer_to_wire, holding_to_wire, message_from_wire, position_from_wire};
use super::frames::{read_frame, write_frame};
use super::site::Region;
use super::source::replicate;
use super::tls::is_client;
use kms::replica::ReplicaState;
use regions::Epoch;
use std::io;
use std::sync::Weak;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use wire::region::{Hello, MAX_MESSAGE_LEN, PeerMessage, Probe, Purpose, VERSION, decode, encode};

/// Connections at once. A partner and a few fronts have a handful.
const CONNECTIONS: usize = 64;
/// For the first frame.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// Between two frames: partner and front send one each second.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Serves partner and front until `stopped`.
pub(super) async fn serve(
    listener: TcpListener,
    region: Weak<Region>,
    stopped: impl Future<Output = ()> + Send,
) {
    let serve = move |stream, known| connection(stream, region.clone(), known);
    accept(listener, (CONNECTIONS, WhenFull::ReplaceStranger), stopped, serve).await;
}

async fn connection(stream: TcpStream, region: Weak<Region>, known: Known) -> io::Result<()> {
    let (tls, partner) = {
        let Some(region) = region.upgrade() else { return Ok(()) };
        (region.settings.tls.clone(), region.settings.partner.name.clone())
    };
    let mut stream = tls.accept(stream).await?;
    if is_client(&stream, &partner) || is_client(&stream, FRONT) {
        known.set();
    }
    let hello: Hello = read(&mut stream, HELLO_TIME).await?;
    if hello.version != VERSION {
        return Err(refused(format!("the other side speaks version {} of the protocol", hello.version)));
    }
    match hello.purpose {
        Purpose::Messages if is_client(&stream, &partner) => messages(&mut stream, &region).await,
        Purpose::Replicate { from } if is_client(&stream, &partner) => {
            let from = match from {
                Some(from) => {
                    Some(position_from_wire(&from).ok_or_else(|| refused("a position that is none"))?)
                }
                None => None,
            };
            replicate(&mut stream, &region, from).await
        }
        Purpose::Holding if is_client(&stream, &partner) => holding(&mut stream, &region).await,
        Purpose::Probe if is_client(&stream, FRONT) => probes(&mut stream, &region).await,
        Purpose::Lease => Err(refused("a lease is the business of the witness")),
        Purpose::Messages | Purpose::Replicate { .. } | Purpose::Holding | Purpose::Probe => {
            Err(refused("the certificate is not for this purpose"))
        }
    }
}

async fn messages(stream: &mut TlsStream<TcpStream>, region: &Weak<Region>) -> io::Result<()> {
    loop {
        let message: PeerMessage = read(stream, IDLE_TIME).await?;
        let message = message_from_wire(&message).ok_or_else(|| refused("a digest that is none"))?;
        let Some(region) = region.upgrade() else { return Ok(()) };
        region.handle(|site, now| site.handle_message(now, message));
    }
}

async fn holding(stream: &mut TlsStream<TcpStream>, region: &Weak<Region>) -> io::Result<()> {
    let Some(region) = region.upgrade() else { return Ok(()) };
    let state = ReplicaState::read(&region.store(), HELLO_TIME).await.map_err(io::Error::other)?;
    write_frame(stream, &encode(&holding_to_wire(state))).await
}

async fn probes(stream: &mut TlsStream<TcpStream>, region: &Weak<Region>) -> io::Result<()> {
    loop {
        let probe: Probe = read(stream, IDLE_TIME).await?;
        let Some(region) = region.upgrade() else { return Ok(()) };
        let unreachable_for = Duration::from_millis(probe.partner_unreachable_ms);
        let highest = Epoch::from_number(probe.highest);
        // One front per pair; several would be told apart by their certificates.
        region.handle(|site, now| site.handle_front_report(now, 0, unreachable_for, highest));
        let answer = region.answer();
        write_frame(stream, &encode(&answer_to_wire(answer))).await?;
    }
}

async fn read<T: serde::de::DeserializeOwned>(
    stream: &mut TlsStream<TcpStream>,
    within: Duration,
) -> io::Result<T> {
    let frame = read_frame(stream, MAX_MESSAGE_LEN, within).await?;
    decode(&frame).map_err(|error| refused(error.to_string()))
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}
