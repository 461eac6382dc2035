//! Connections: accepted, limited in number, time and length, and closed in an orderly way.

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

/// Limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeLimits {
    /// Connections open at once. More wait in the listener's queue; they do not fail.
    pub connections: usize,
    /// From the start of the connection, or the end of an answer, to the end of the next request's header. So it is also
    /// how long an idle connection is kept; clients keep theirs for about a minute.
    pub header_time: Duration,
    /// Bytes of a request's header, approximately: data received together with its last bytes is parsed too.
    pub header_len: usize,
    /// For requests under way when the service stops.
    pub drain: Duration,
    /// For reading on after a request was refused before its end, so that its sender receives the answer.
    pub linger_time: Duration,
    /// Bytes read on after such a refusal.
    pub linger_len: usize,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_time: Duration::from_secs(75),
            header_len: 32 * 1024,
            drain: Duration::from_secs(10),
            linger_time: Duration::from_secs(5),
            linger_len: 4 * 1024 * 1024,
        }
    }
}

/// Serves HTTP/1.1 until `shutdown` is done, then lets requests under way end.
///
/// # Errors
/// The listener failed for good. A connection that fails ends alone.
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
                        // For example, no file descriptor is left: wait for a connection to end instead of spinning.
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
    // Connections that have not ended by then are cut off when the set is dropped.
    let _ = timeout(limits.drain, drained).await;
    ended
}

/// Whether the next accept may succeed after one has failed with this error.
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
    let unread = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        // HTTP/1.1 has one request at a time, so one flag for the connection is enough.
        unread.store(!request.body().is_end_stream(), Ordering::Relaxed);
        let body = |body| Body::new(TrackedBody { body, unread: Arc::clone(&unread) });
        let answer = router.clone().oneshot(request.map(body));
        let unread = Arc::clone(&unread);
        Box::pin(async move {
            let mut answer = answer.await?;
            if unread.load(Ordering::Relaxed) {
                // The rest of the body is discarded, then the connection ends. A client that was not told would send its
                // next request on it and lose it. Source: RFC 9112 §9.6.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_len)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    // Errors here are the client's: it went away, or sent something else than HTTP.
    let refused_by_hyper = ended.is_err_and(|error| error.is_parse());
    if refused_by_hyper || unread.load(Ordering::Relaxed) {
        let mut stream = connection.into_parts().io.into_inner();
        let _ = timeout(limits.linger_time, linger(&mut stream, limits.linger_len)).await;
    }
}

/// Reads and discards what a client is still sending after it was refused, until it closes the connection.
///
/// The answer has been sent and the sending side is closed. Closing the receiving side with unread data would make TCP
/// reset the connection, and the reset can overtake the answer. Source: RFC 9112 §9.6.
async fn linger(stream: &mut TcpStream, mut len: usize) {
    // It may be key material.
    let mut buffer = Zeroizing::new([0; 4096]);
    while len > 0 {
        match stream.read(&mut buffer[..]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => len = len.saturating_sub(read),
        }
    }
}

/// A request body that notes when it has been read to its end.
struct TrackedBody {
    body: Incoming,
    unread: Arc<AtomicBool>,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.unread.store(false, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the service was dropped, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}
