//! Connections: accepted, limited, timed, and let go in good order.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// What connections may take. A limit that is reached makes others wait, not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// Connections open at once; more wait in the listener's queue.
    pub connections: usize,
    /// From the end of one answer, or the connection, to the end of the next request's header. Also how long an idle
    /// connection is kept; clients keep theirs for about a minute.
    pub header_time: Duration,
    /// Bytes of a request's header, about: what came in one piece with the last of them is looked at too.
    pub header_len: usize,
    /// For calls under way when the service stops.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_time: Duration::from_secs(75),
            header_len: 32 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves HTTP/1.1 until `shutdown` is done, then lets calls under way end.
///
/// # Errors
/// The listener is broken for good. A single connection that fails ends alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let ended = loop {
        let accepted = async {
            // The slot comes first: without one, clients wait in the listener's queue.
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((slot, listener.accept().await))
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accepted => {
                let (slot, stream) = match accepted {
                    Ok((slot, Ok((stream, _)))) => (slot, stream),
                    Ok((_, Err(error))) if is_passing(&error) => {
                        // Out of descriptors, say: wait for a connection to end rather than spin.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                    Ok((_, Err(error))) | Err(error) => break Err(error),
                };
                let (router, stopping) = (router.clone(), stopping.clone());
                connections.spawn(async move {
                    connection(stream, router, limits, stopping).await;
                    drop(slot);
                });
            }
        }
    };
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Whoever is not done by then is cut off when the set is dropped.
    let _ = tokio::time::timeout(limits.drain, drained).await;
    ended
}

/// Whether a failed accept says nothing about the next one.
fn is_passing(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: ServeLimits,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are small: waiting to fill a segment costs a client 40 ms.
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size(limits.header_len)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    // Errors here are the client's: it went away, or sent what is no HTTP.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the service is gone altogether, which is as good a reason.
    let _ = stopping.wait_for(|stop| *stop).await;
}
