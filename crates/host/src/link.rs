//! Frames over one connection, both ways: any pair of byte streams will do.
//!
//! What is queued goes out in one write, and as much as there is comes in with one read. A caller whose request is
//! alone on the connection writes it itself and saves a change of task; requests that meet are left to the
//! connection's task, which then finds several to write at once.

use crate::wipe::WipedBuf;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use unit_api::{
    CodecError, FRAME_HEADER_LEN, MAX_FRAME_LEN, Refusal, Reply, Request, Response, UnitError, decode_reply,
    encode_request, split_frame,
};
use zeroize::{Zeroize, Zeroizing};

/// Room to start with, in bytes: dozens of ordinary frames.
const BUFFER_LEN: usize = 16 * 1024;
/// Least room for a read, in bytes.
const READ_LEN: usize = 4 * 1024;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The unit closed it, between two frames.
    #[error("the unit closed the connection")]
    Closed,
    /// The unit closed it in the middle of a frame.
    #[error("the unit closed the connection in the middle of a frame")]
    CutShort,
    /// The operating system reported this.
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    /// What came is no frame.
    #[error("the unit sent what is no reply: {0}")]
    Malformed(CodecError),
    /// The unit said why it is about to close.
    #[error("the unit gave up the connection: {0}")]
    Refused(Refusal),
    /// The unit did not answer, and was given up.
    #[error("the unit did not answer")]
    Silent,
    /// We closed it.
    #[error("the connection was closed on this side")]
    Ours,
}

/// A unit's answer, with the buffer it came in. Wiped when dropped.
pub struct ReplyFrame(Zeroizing<Vec<u8>>);

impl ReplyFrame {
    fn new(body: &[u8]) -> Self {
        Self(Zeroizing::new(body.to_vec()))
    }

    /// The response, or why the unit refused.
    ///
    /// # Errors
    /// The unit's refusal.
    pub fn response(&self) -> Result<Response<'_>, Refusal> {
        // The frame was decoded once when it arrived, so this error does not occur.
        decode_reply(&self.0).map_err(|_| UnitError::FrameMalformed)?.result
    }

    /// The reply as it came, without its length bytes, to be decoded elsewhere.
    #[must_use]
    pub fn into_body(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// The answer's kind alone: a response may hold secrets.
impl std::fmt::Debug for ReplyFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplyFrame({:?})", self.response())
    }
}

/// A frame that is queued and not yet wholly written.
struct Queued {
    number: u64,
    left: usize,
    started: bool,
}

/// Outgoing frames: queued here, and written by the caller or the connection's task, whichever comes first.
pub(crate) struct Outbox(Mutex<OutboxState>);

struct OutboxState {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    queue: WipedBuf,
    frames: VecDeque<Queued>,
    /// The connection's task, once it has been polled.
    task: Option<Waker>,
    failed: Option<io::ErrorKind>,
}

impl Outbox {
    pub(crate) fn new(writer: impl AsyncWrite + Send + 'static) -> Self {
        Self(Mutex::new(OutboxState {
            writer: Box::pin(writer),
            queue: WipedBuf::new(BUFFER_LEN),
            frames: VecDeque::new(),
            task: None,
            failed: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request, encoded straight into the buffer that is written.
    ///
    /// # Errors
    /// [`CodecError::NoRoom`] for a request that makes no frame.
    pub(crate) fn push(&self, request: &Request<'_>) -> Result<(), CodecError> {
        let mut state = self.lock();
        let room = request.frame_len_hint();
        let len = match encode_request(request, state.queue.spare(room)) {
            Ok(len) => len,
            Err(_) => {
                let spare = state.queue.spare(FRAME_HEADER_LEN + MAX_FRAME_LEN);
                // A failed attempt leaves its beginning behind.
                encode_request(request, spare).inspect_err(|_| spare.zeroize())?
            }
        };
        state.queue.filled(len);
        state.frames.push_back(Queued { number: request.number, left: len, started: false });
        Ok(())
    }

    /// Queues a frame that is encoded already.
    pub(crate) fn push_frame(&self, number: u64, frame: &[u8]) {
        let mut state = self.lock();
        for (to, from) in state.queue.spare(frame.len()).iter_mut().zip(frame) {
            *to = *from;
        }
        state.queue.filled(frame.len());
        state.frames.push_back(Queued { number, left: frame.len(), started: false });
    }

    /// Writes what the socket takes at once; the connection's task does the rest.
    pub(crate) fn write_now(&self) {
        let mut state = self.lock();
        // Without a waker of its own this poll may take the place of the task's, which is why the task is woken
        // whenever anything is left to do.
        let left = match state.poll_write(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => return,
            Poll::Ready(Err(_)) | Poll::Pending => state.task.clone(),
        };
        drop(state);
        if let Some(task) = left {
            task.wake();
        }
    }

    /// Has the connection's task write, together with what others queue until it runs.
    pub(crate) fn write_soon(&self) {
        let task = self.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Numbers of the frames of which not a byte was written.
    pub(crate) fn unsent(&self) -> Vec<u64> {
        self.lock().frames.iter().filter(|frame| !frame.started).map(|frame| frame.number).collect()
    }

    /// For the connection's task: writes, and is called again when there is more to write. Ready on failure alone.
    fn poll_run(&self, cx: &mut Context<'_>) -> Poll<io::ErrorKind> {
        let mut state = self.lock();
        if state.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        match state.poll_write(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl OutboxState {
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::ErrorKind>> {
        if let Some(error) = self.failed {
            return Poll::Ready(Err(error));
        }
        if self.queue.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.queue.is_empty() {
            match self.writer.as_mut().poll_write(cx, self.queue.live()) {
                Poll::Ready(Ok(0)) => return self.fail(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(len)) => self.written(len),
                Poll::Ready(Err(error)) => return self.fail(error.kind()),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self.writer.as_mut().poll_flush(cx) {
            Poll::Ready(Err(error)) => self.fail(error.kind()),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn fail(&mut self, error: io::ErrorKind) -> Poll<Result<(), io::ErrorKind>> {
        self.failed = Some(error);
        Poll::Ready(Err(error))
    }

    fn written(&mut self, mut len: usize) {
        self.queue.consume(len);
        while let Some(frame) = self.frames.front_mut() {
            if len < frame.left {
                frame.left -= len;
                frame.started |= len > 0;
                return;
            }
            len -= frame.left;
            self.frames.pop_front();
        }
    }
}

/// A reply that has come in whole.
pub(crate) struct Arrived {
    /// The request's number, never 0.
    pub(crate) number: u64,
    /// Why the unit refused, if it did.
    pub(crate) refusal: Option<Refusal>,
    /// The reply itself.
    pub(crate) frame: ReplyFrame,
}

/// The way in: bytes become frames here.
pub(crate) struct Inbox(WipedBuf);

impl Inbox {
    /// The next whole reply, if there is one.
    ///
    /// # Errors
    /// What a unit in order never sends.
    pub(crate) fn next(&mut self) -> Result<Option<Arrived>, CloseReason> {
        let Some((body, _)) = split_frame(self.0.live()).map_err(CloseReason::Malformed)? else {
            return Ok(None);
        };
        let Reply { number, result } = decode_reply(body).map_err(CloseReason::Malformed)?;
        let ending = result.map(|_| ());
        if number == 0 {
            return Err(match ending {
                Err(refusal) => CloseReason::Refused(refusal),
                Ok(()) => CloseReason::Malformed(CodecError::Malformed),
            });
        }
        let len = body.len();
        let frame = ReplyFrame::new(body);
        self.0.consume(FRAME_HEADER_LEN + len);
        Ok(Some(Arrived { number, refusal: ending.err(), frame }))
    }
}

/// Runs a connection to its end: writes what is queued in `outbox`, and gives `on_replies` the inbox whenever something
/// came.
pub(crate) async fn run(
    mut reader: impl AsyncRead + Unpin,
    outbox: &Outbox,
    mut on_replies: impl FnMut(&mut Inbox) -> Result<(), CloseReason>,
) -> CloseReason {
    let mut inbox = Inbox(WipedBuf::new(BUFFER_LEN));
    poll_fn(|cx| {
        if let Poll::Ready(error) = outbox.poll_run(cx) {
            return Poll::Ready(CloseReason::Io(error));
        }
        loop {
            let mut read = ReadBuf::new(inbox.0.spare(READ_LEN));
            let len = match Pin::new(&mut reader).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => read.filled().len(),
                Poll::Ready(Err(error)) => return Poll::Ready(CloseReason::Io(error.kind())),
                Poll::Pending => return Poll::Pending,
            };
            if len == 0 {
                let between = inbox.0.is_empty();
                return Poll::Ready(if between { CloseReason::Closed } else { CloseReason::CutShort });
            }
            inbox.0.filled(len);
            if let Err(reason) = on_replies(&mut inbox) {
                return Poll::Ready(reason);
            }
        }
    })
    .await
}
