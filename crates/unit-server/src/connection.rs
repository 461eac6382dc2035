//! One connection of a host: frames in, frames out, in order.

use crate::server::{ServeError, Shared};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use unit_api::{
    CodecError, FRAME_HEADER_LEN, MAX_FRAME_LEN, Reply, UnitError, decode_request, encode_reply, split_frame,
};
use unit_core::REPLY_BUFFER_LEN;
use zeroize::{Zeroize, Zeroizing};

/// Room for one whole frame.
const INBOX_LEN: usize = FRAME_HEADER_LEN + MAX_FRAME_LEN;
/// Room for replies that wait to be written together, and for the unit to make one more.
const OUTBOX_LEN: usize = INBOX_LEN + REPLY_BUFFER_LEN;
/// How long a peer may take to send the rest of a frame, or to take replies.
pub(crate) const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// A byte stream from a host.
pub trait Connection: Read + Write {
    /// Bounds each following read; `None` lets it wait for ever. A read that takes longer fails with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) or [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// # Errors
    /// The operating system's.
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Bounds each following write, in the same way.
    ///
    /// # Errors
    /// The operating system's.
    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()>;
}

impl Connection for UnixStream {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_write_timeout(self, timeout)
    }
}

impl Connection for TcpStream {
    fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_write_timeout(self, timeout)
    }
}

/// Any reader and writer as a [`Connection`] without timeouts: for a host in the same process, which is trusted to finish
/// the frames it starts.
#[derive(Debug)]
pub struct Halves<R, W> {
    /// Bytes from the host.
    pub reader: R,
    /// Bytes to the host.
    pub writer: W,
}

impl<R: Read, W> Read for Halves<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl<R, W: Write> Write for Halves<R, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<R: Read, W: Write> Connection for Halves<R, W> {
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

/// Serves a connection until its peer closes it or breaks the frame format. A peer that breaks it, or leaves a frame half
/// sent for longer than `frame_timeout`, gets the reason in a reply with number 0.
///
/// Everything that has arrived is carried out before the replies go out in one write. The stream is closed on return.
pub(crate) fn serve(
    mut stream: impl Connection,
    shared: &Shared,
    frame_timeout: Duration,
) -> Result<(), ServeError> {
    stream.set_write_timeout(Some(frame_timeout))?;
    let mut inbox = Zeroizing::new(vec![0; INBOX_LEN]);
    let mut outbox = Zeroizing::new(vec![0; OUTBOX_LEN]);
    let mut filled = 0;
    // When the start of a frame arrived whose end has not.
    let mut half_since: Option<Instant> = None;
    let losses = shared.losses();
    loop {
        if let Some(since) = half_since {
            let left = frame_timeout.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(close_with(CodecError::Malformed, &mut stream, &mut outbox)?);
            }
            stream.set_read_timeout(Some(left))?;
        }
        let read = match inbox.get_mut(filled..).map(|room| stream.read(room)) {
            Some(Ok(0)) | None if filled == 0 => return Ok(()),
            Some(Ok(0)) | None => return Ok(close_with(CodecError::Malformed, &mut stream, &mut outbox)?),
            Some(Ok(read)) => read,
            Some(Err(e)) if is_timeout(&e) => continue,
            Some(Err(e)) => return Err(e.into()),
        };
        filled += read;
        let arrived = Instant::now();
        let batch =
            carry_out(inbox.get(..filled).unwrap_or_default(), arrived, shared, &mut stream, &mut outbox)?;
        // What was carried out may hold secrets; what remains is the start of the next frame.
        inbox.copy_within(batch.consumed..filled, 0);
        let remaining = filled - batch.consumed;
        inbox.get_mut(remaining..filled).unwrap_or_default().zeroize();
        filled = remaining;
        // When the token is lost, closing the connection moves all of the host's requests to other units at once. Refusing
        // them one by one would keep the unit in use until most of its replies of a second were refusals.
        if batch.broken || shared.losses() != losses {
            return Ok(());
        }
        if filled == 0 {
            if half_since.take().is_some() {
                stream.set_read_timeout(None)?;
            }
        } else if batch.consumed > 0 || half_since.is_none() {
            // From now, not from its arrival: the frames before it may have taken long.
            half_since = Some(Instant::now());
        }
    }
}

/// Whether a read ended without data because none has arrived.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Sends the peer the reason for which the connection is about to be closed.
fn close_with(reason: CodecError, stream: &mut impl Connection, outbox: &mut [u8]) -> io::Result<()> {
    let len = close_reason(reason, outbox);
    flush(stream, outbox, len).map(|_| ())
}

struct Batch {
    /// Bytes of whole frames that were carried out.
    consumed: usize,
    /// The peer broke the frame format and has been sent the reason.
    broken: bool,
}

fn carry_out(
    bytes: &[u8],
    arrived: Instant,
    shared: &Shared,
    stream: &mut impl Connection,
    outbox: &mut [u8],
) -> Result<Batch, ServeError> {
    let mut rest = bytes;
    let mut queued = 0;
    let mut broken = false;
    while !broken {
        let body = match split_frame(rest) {
            Ok(Some((body, after))) => {
                rest = after;
                body
            }
            Ok(None) => break,
            Err(error) => {
                queued = flush(stream, outbox, queued)?;
                queued += close_reason(error, outbox);
                broken = true;
                continue;
            }
        };
        if outbox.len() - queued < REPLY_BUFFER_LEN {
            queued = flush(stream, outbox, queued)?;
        }
        let reply = outbox.get_mut(queued..).unwrap_or_default();
        let (len, is_request) = execute(body, arrived, shared, reply)?;
        queued += len;
        broken = !is_request;
    }
    flush(stream, outbox, queued)?;
    Ok(Batch { consumed: bytes.len() - rest.len(), broken })
}

/// Carries out one frame. Returns the reply's length, and `false` if the frame was not a request.
fn execute(
    body: &[u8],
    arrived: Instant,
    shared: &Shared,
    reply: &mut [u8],
) -> Result<(usize, bool), ServeError> {
    let mut unit = shared.unit()?;
    if let Some(hook) = &shared.before_command {
        hook();
    }
    let waited_ms = u32::try_from(arrived.elapsed().as_millis()).unwrap_or(u32::MAX);
    let len = unit.handle_request(body, waited_ms, reply);
    drop(unit);
    let request = decode_request(body).ok();
    if let Some(request) = &request {
        let took_us = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        let command = request.envelope.command.name();
        tracing::trace!(request = request.number, command, waited_ms, took_us, "command answered");
    }
    // The unit replies with number 0 to anything that is not a request; no request has that number.
    Ok((len, request.is_some_and(|request| request.number != 0)))
}

/// Writes the reason for closing into `outbox` and returns its length.
fn close_reason(error: CodecError, outbox: &mut [u8]) -> usize {
    let why = match error {
        CodecError::TooLong { .. } => UnitError::FrameTooLong,
        CodecError::Malformed | CodecError::NoRoom => UnitError::FrameMalformed,
    };
    encode_reply(&Reply { number: 0, result: Err(why.into()) }, outbox).unwrap_or(0)
}

fn flush(stream: &mut impl Connection, outbox: &mut [u8], queued: usize) -> io::Result<usize> {
    let answers = outbox.get_mut(..queued).unwrap_or_default();
    let written = stream.write_all(answers).and_then(|()| stream.flush());
    answers.zeroize();
    written.map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::serve;
    use crate::{RootManufacturer, ServeError, UnitConfig, UnitServer};
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;
    use unit_api::{Reply, UnitError, decode_reply, split_frame};

    const PATIENCE: Duration = Duration::from_millis(300);
    /// The first bytes of a frame of 256.
    const HALF: [u8; 7] = [0, 0, 1, 0, 1, 2, 3];

    /// Serves one end of a pair on a thread while `peer` uses the other.
    fn served(peer: impl FnOnce(UnixStream)) -> Result<(), ServeError> {
        let folder = tempfile::tempdir().unwrap();
        let root = Arc::new(RootManufacturer::generate("test root").unwrap());
        let server = UnitServer::open(&UnitConfig::new(folder.path(), root)).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| serve(ours, &server.shared, PATIENCE));
            peer(theirs);
            serving.join().unwrap()
        })
    }

    /// The reason that the peer gets before the connection is closed.
    fn reason(mut stream: &UnixStream) -> Option<UnitError> {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let (body, rest) = split_frame(&answer).unwrap()?;
        assert!(rest.is_empty());
        let Reply { number: 0, result: Err(why) } = decode_reply(body).unwrap() else { return None };
        why.unit_error()
    }

    #[test]
    fn half_a_frame_is_closed_with_a_reason_after_the_timeout() {
        served(|mut peer| {
            peer.write_all(&HALF).unwrap();
            assert_eq!(reason(&peer), Some(UnitError::FrameMalformed));
        })
        .unwrap();
    }

    #[test]
    fn half_a_frame_before_the_end_of_the_stream_is_closed_with_a_reason_at_once() {
        served(|mut peer| {
            peer.write_all(&HALF).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reason(&peer), Some(UnitError::FrameMalformed));
        })
        .unwrap();
    }

    #[test]
    fn a_peer_that_closes_between_frames_gets_no_reason() {
        served(|peer| {
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reason(&peer), None);
        })
        .unwrap();
    }

    #[test]
    fn a_frame_that_arrives_byte_by_byte_is_bounded_by_the_timeout() {
        served(|mut peer| {
            peer.write_all(&[0, 0, 1, 0]).unwrap();
            // One byte at a time, each well within the time that a whole frame may take.
            peer.set_read_timeout(Some(PATIENCE / 6)).unwrap();
            let closed = (0..200).any(|_| peer.write_all(&[1]).is_err() || peer.read(&mut [0]).is_ok());
            assert!(closed, "the frame was waited for");
        })
        .unwrap();
    }
}
