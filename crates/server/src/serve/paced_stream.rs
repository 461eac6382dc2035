//! A stream whose client has to keep pace: to send requests and to take answers within time limits.
//!
//! hyper limits the time of a header only, and a client that reads no answer not at all.

use super::ServeLimits;
use super::activity::Activity;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes of an answer that a client has to take within the time limit of writes, unless it takes the rest.
const MIN_PROGRESS: usize = 64 * 1024;

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its client does not keep pace.
///
/// | the service waits for | limit, from |
/// |---|---|
/// | the first byte | `first_byte_time`, the accept |
/// | the rest of a header | `header_time`, its first byte |
/// | the next request | `idle_time` or `authenticated_idle_time`, the last byte of the answer |
/// | the client to take an answer | `write_time`, the first byte that could not be sent |
///
/// The time of a body is limited where it is read.
pub(super) struct PacedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
    limits: ServeLimits,
    /// When the first byte of a header was received, and how many requests there had been.
    header_began: Option<(u64, Instant)>,
    last_write: Option<Instant>,
    read_timer: Pin<Box<Sleep>>,
    /// Bytes written since the client was found not to take what is sent.
    stalled: Option<usize>,
    write_timer: Pin<Box<Sleep>>,
}

impl PacedStream {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>, limits: ServeLimits) -> Self {
        // Both are set before they are used.
        let timer = || Box::pin(sleep(Duration::ZERO));
        Self {
            stream,
            activity,
            limits,
            header_began: None,
            last_write: None,
            read_timer: timer(),
            stalled: None,
            write_timer: timer(),
        }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// Until when the client has to send something, between requests.
    fn read_deadline(&self) -> Instant {
        let limits = &self.limits;
        match self.header_began {
            Some((requests, began)) if requests == self.activity.requests() => began + limits.header_time,
            _ if self.activity.requests() == 0 => self.activity.opened() + limits.first_byte_time,
            _ => {
                let idle = if self.activity.is_authenticated() {
                    limits.authenticated_idle_time
                } else {
                    limits.idle_time
                };
                let answered = self.activity.waiting_since().unwrap_or_else(Instant::now);
                self.last_write.map_or(answered, |written| written.max(answered)) + idle
            }
        }
    }

    /// The result of a write, or an error if the client does not take what is sent.
    fn paced(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(len)) => {
                self.last_write = Some(Instant::now());
                self.stalled = self.stalled.map(|taken| taken + len).filter(|taken| *taken < MIN_PROGRESS);
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                if self.stalled.is_none() {
                    self.stalled = Some(0);
                    self.write_timer.as_mut().reset(Instant::now() + self.limits.write_time);
                }
                ready!(self.write_timer.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.activity.in_request() {
            return read;
        }
        if read.is_ready() {
            let requests = this.activity.requests();
            let began = this.header_began.is_some_and(|(earlier, _)| earlier == requests);
            if !began && buffer.filled().len() > before {
                this.header_began = Some((requests, Instant::now()));
            }
            return read;
        }
        let deadline = this.read_deadline();
        if this.read_timer.deadline() != deadline {
            this.read_timer.as_mut().reset(deadline);
        }
        ready!(this.read_timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.paced(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.paced(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when everything it has was written.
        this.stalled = None;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
