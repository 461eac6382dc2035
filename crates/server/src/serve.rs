//! Connections: accepted, limited in number, time and length, and closed in an orderly way.
//!
//! A client that connects is served as long as the service has anything to work with: when there are too many
//! connections, those that wait longest for their clients make room, first the ones that have shown no credential.

mod activity;
mod connection;
mod connections;
mod hosts;
mod paced_stream;

pub use activity::mark_authenticated;

pub(crate) use connection::BodyError;

use crate::descriptors::Port;
use axum::Router;
use axum::middleware::from_fn_with_state;
use connection::connection;
use connections::Connections;
use hosts::{Hosts, check_host};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeLimits {
    /// Connections open at once. One more ends the one that has waited longest for its client; it waits itself while the
    /// service works on requests of all of them.
    pub connections: usize,
    /// Connections of one peer address without an authenticated request, at once. One more ends the one among them that has
    /// waited longest. Behind a proxy, or on the loopback interface, all clients have one address.
    pub strangers_per_peer: usize,
    /// From the start of the connection to the first byte.
    pub first_byte_time: Duration,
    /// From the first byte of a request to the end of its header.
    pub header_time: Duration,
    /// From the end of a request's header to the end of its body.
    pub body_time: Duration,
    /// For a client to take an answer, or 64 KiB of it.
    pub write_time: Duration,
    /// From an answer to the next request.
    pub idle_time: Duration,
    /// The same once a request was authenticated. Clients keep their connections for about a minute.
    pub authenticated_idle_time: Duration,
    /// Bytes of a request's header, approximately: data received together with its last bytes is parsed too.
    pub header_len: usize,
    /// For requests under way when the service stops.
    pub drain: Duration,
    /// For reading on after a request was refused before its end, so that its sender receives the answer.
    pub linger_time: Duration,
    /// Bytes read on after such a refusal.
    pub linger_len: usize,
}

impl ServeLimits {
    /// The limits of a port: its share of the descriptors that the process may have, three quarters of it for one peer.
    #[must_use]
    pub fn of(port: Port) -> Self {
        let connections = port.connections();
        Self {
            connections,
            strangers_per_peer: connections - connections / 4,
            first_byte_time: Duration::from_secs(5),
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            write_time: Duration::from_secs(5),
            idle_time: Duration::from_secs(5),
            authenticated_idle_time: Duration::from_secs(75),
            header_len: 32 * 1024,
            drain: Duration::from_secs(10),
            linger_time: Duration::from_secs(5),
            linger_len: 4 * 1024 * 1024,
        }
    }
}

/// The limits of the port of an API.
impl Default for ServeLimits {
    fn default() -> Self {
        Self::of(Port::Api)
    }
}

/// Serves HTTP/1.1 until `shutdown` is done, then lets requests under way end.
///
/// Requests for another host are refused with 421. A port on the loopback interface has the names and addresses of that
/// interface, and `hosts`; a port on another interface has `hosts`, or any name if there are none.
///
/// # Errors
/// The listener failed for good. A connection that fails ends alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    hosts: &[String],
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let hosts = Hosts::new(listener.local_addr()?.ip(), hosts);
    let router = router.layer(from_fn_with_state(Arc::new(hosts), check_host));
    let open = Arc::new(Connections::new(limits));
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    // A connection that was accepted and has no slot yet.
    let mut newcomer = None;
    let ended = loop {
        let slot = async {
            match &newcomer {
                Some((_, peer)) => open.admit(*peer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break Ok(()),
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            slot = slot => {
                let Some((stream, _)) = newcomer.take() else { continue };
                let activity = Arc::clone(slot.activity());
                activity.run_in(tasks.spawn(connection(stream, slot, router.clone(), limits, stopping.clone())));
            }
            accepted = listener.accept(), if newcomer.is_none() => match accepted {
                Ok((stream, peer)) => newcomer = Some((stream, peer.ip())),
                Err(error) if is_passing(&error) => {
                    // For example, no descriptor is left: wait for a connection to end instead of spinning.
                    open.make_room();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => break Err(error),
            },
        }
    };
    drop((listener, newcomer));
    stop.send_replace(true);
    let drained = async { while tasks.join_next().await.is_some() {} };
    // Connections that have not ended by then are cut off when the set is dropped.
    let _ = timeout(limits.drain, drained).await;
    ended
}

/// Whether the next accept may succeed after one has failed with this error.
fn is_passing(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the service was dropped, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}
