//! One connection: its requests, and its orderly end.

use super::activity::{Activity, OfConnection};
use super::connections::Slot;
use super::paced_stream::PacedStream;
use super::{ServeLimits, stopped};
use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tower::ServiceExt as _;
use zeroize::Zeroizing;

/// Serves the requests of a connection until it ends. The slot is held as long as the stream is open.
pub(super) async fn connection(
    stream: TcpStream,
    slot: Slot,
    router: Router,
    limits: ServeLimits,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are small: waiting to fill a segment costs a client 40 ms.
    let _ = stream.set_nodelay(true);
    let activity = slot.activity();
    let unread = Arc::new(AtomicBool::new(false));
    let service = service_fn(|mut request: Request<Incoming>| {
        activity.begin_request();
        request.extensions_mut().insert(OfConnection(Arc::clone(activity)));
        // HTTP/1.1 has one request at a time, so one flag for the connection is enough.
        unread.store(!request.body().is_end_stream(), Ordering::Relaxed);
        let deadline = Instant::now() + limits.body_time;
        let body = |body| {
            let (activity, unread) = (Arc::clone(activity), Arc::clone(&unread));
            Body::new(TrackedBody { body, activity, unread, deadline, timer: None })
        };
        let answer = router.clone().oneshot(request.map(body));
        let (activity, unread) = (Arc::clone(activity), Arc::clone(&unread));
        let mut answering = Box::pin(async move {
            let mut answer = answer.await?;
            if unread.load(Ordering::Relaxed) {
                // The rest of the body is discarded, then the connection ends. A client that was not told would send its
                // next request on it and lose it. Source: RFC 9112 §9.6.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            activity.end_request();
            Ok::<_, Infallible>(answer)
        });
        // The handler begins at once. hyper looks for the client's end first otherwise, so that it would depend on chance
        // whether a request is carried out whose client sends it and hangs up.
        let begun = answering.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        Box::pin(async move {
            let answer = match begun {
                Poll::Ready(answer) => answer,
                Poll::Pending => answering.await,
            };
            // hyper reads during a request to notice its client's end, and not again once it has answered: the stream is
            // to be asked again now that the time of the next request counts.
            poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::Ready(())
            })
            .await;
            answer
        })
    });
    let paced = PacedStream::new(stream, Arc::clone(activity), limits);
    let mut connection =
        http1::Builder::new().max_buf_size(limits.header_len).serve_connection(TokioIo::new(paced), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    // Errors here are the client's: it went away, sent something else than HTTP, or did not keep pace.
    let refused_by_hyper = ended.as_ref().is_err_and(hyper::Error::is_parse);
    let is_too_slow = ended.is_err_and(|error| timed_out(&error));
    if refused_by_hyper || (unread.load(Ordering::Relaxed) && !is_too_slow) {
        let mut stream = connection.into_parts().io.into_inner().into_inner();
        let _ = timeout(limits.linger_time, linger(&mut stream, limits.linger_len)).await;
    }
}

/// Whether a connection ended because its client did not keep pace.
fn timed_out(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
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

/// Why a request's body was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client sends it too slowly.
    #[error("the body was not received in time")]
    TooSlow,
    /// The connection failed, or the body is not what its header says.
    #[error("the body was not received")]
    Broken(#[source] hyper::Error),
}

/// A request body that has to be received in time, and that notes when it was.
struct TrackedBody {
    body: Incoming,
    activity: Arc<Activity>,
    unread: Arc<AtomicBool>,
    deadline: Instant,
    /// Absent until the body is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.activity.receive_body();
                if frame.is_none() || self.body.is_end_stream() {
                    self.unread.store(false, Ordering::Relaxed);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
            }
            Poll::Pending => {
                self.activity.await_body();
                let deadline = self.deadline;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                timer.as_mut().poll(context).map(|()| Some(Err(BodyError::TooSlow)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
