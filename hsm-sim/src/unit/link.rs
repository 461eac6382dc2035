//! One connection of a host: frames in, frames out, in order.

use super::orders::Conduct;
use super::process::Shared;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use unit_api::{
    CodecError, FRAME_HEADER_LEN, MAX_FRAME_LEN, Reply, UnitError, decode_request, encode_reply, split_frame,
};
use unit_core::REPLY_BUFFER_LEN;
use zeroize::{Zeroize, Zeroizing};

/// Room for one whole frame.
const INBOX_LEN: usize = FRAME_HEADER_LEN + MAX_FRAME_LEN;
/// Room for answers that wait for each other, and for the unit to make one more.
const OUTBOX_LEN: usize = INBOX_LEN + REPLY_BUFFER_LEN;
/// A peer that has not sent the rest of a frame, or takes no answers, for so long is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Serves a connection until its peer closes it or breaks the protocol; who breaks it, or leaves a frame half sent
/// for longer than `patience`, is told why.
///
/// Everything that has arrived is carried out before the answers go out in one write.
pub(super) fn serve(mut stream: UnixStream, shared: &Shared, patience: Duration) -> io::Result<()> {
    stream.set_write_timeout(Some(patience))?;
    let mut inbox = Zeroizing::new(vec![0; INBOX_LEN]);
    let mut outbox = Zeroizing::new(vec![0; OUTBOX_LEN]);
    let mut filled = 0;
    // Since when the start of a frame has been here without its end.
    let mut half_since: Option<Instant> = None;
    let losses = shared.losses();
    loop {
        if let Some(since) = half_since {
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                return part(CodecError::Malformed, &mut stream, &mut outbox);
            }
            stream.set_read_timeout(Some(left))?;
        }
        let read = match inbox.get_mut(filled..).map(|room| stream.read(room)) {
            Some(Ok(0)) | None if filled == 0 => return Ok(()),
            Some(Ok(0)) | None => return part(CodecError::Malformed, &mut stream, &mut outbox),
            Some(Ok(read)) => read,
            Some(Err(e)) if is_for_later(&e) => continue,
            Some(Err(e)) => return Err(e),
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
        // A host that loses a connection gives all that it has here to others, at once and for nothing. Refused one by one,
        // it would take until most of a second's answers are refusals before the host believes them.
        if batch.broken || shared.losses() != losses {
            return Ok(());
        }
        if filled == 0 {
            if half_since.take().is_some() {
                stream.set_read_timeout(None)?;
            }
        } else if batch.consumed > 0 || half_since.is_none() {
            // Not since it arrived: the unit may have been long over the frames before it.
            half_since = Some(Instant::now());
        }
    }
}

/// Whether nothing was read because nothing has come yet.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Tells the peer why the connection is about to be closed.
fn part(why: CodecError, stream: &mut UnixStream, outbox: &mut [u8]) -> io::Result<()> {
    let len = farewell(why, outbox);
    flush(stream, outbox, len).map(|_| ())
}

struct Batch {
    /// Bytes of whole frames that were carried out.
    consumed: usize,
    /// The peer broke the protocol and was told so.
    broken: bool,
}

fn carry_out(
    bytes: &[u8],
    arrived: Instant,
    shared: &Shared,
    stream: &mut UnixStream,
    outbox: &mut [u8],
) -> io::Result<Batch> {
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
                queued += farewell(error, outbox);
                broken = true;
                continue;
            }
        };
        if outbox.len() - queued < REPLY_BUFFER_LEN {
            queued = flush(stream, outbox, queued)?;
        }
        let reply = outbox.get_mut(queued..).unwrap_or_default();
        let (len, understood) = execute(body, arrived, shared, reply);
        queued += len;
        broken = !understood;
    }
    flush(stream, outbox, queued)?;
    Ok(Batch { consumed: bytes.len() - rest.len(), broken })
}

/// Carries out one frame; `false` when it was no request.
fn execute(body: &[u8], arrived: Instant, shared: &Shared, reply: &mut [u8]) -> (usize, bool) {
    let mut unit = shared.unit();
    slow_down(&shared.conduct);
    let waited_ms = u32::try_from(arrived.elapsed().as_millis()).unwrap_or(u32::MAX);
    let len = unit.handle_request(body, waited_ms, reply);
    drop(unit);
    // The unit answers what is no request with number 0, which no request bears.
    (len, decode_request(body).is_ok_and(|request| request.number != 0))
}

/// A slow unit is slow to everybody: the caller holds the unit meanwhile.
fn slow_down(conduct: &Conduct) {
    let by = conduct.slow_by();
    if !by.is_zero() {
        std::thread::sleep(by);
    }
}

/// Writes the reason for closing into `outbox` and returns its length.
fn farewell(error: CodecError, outbox: &mut [u8]) -> usize {
    let why = match error {
        CodecError::TooLong { .. } => UnitError::FrameTooLong,
        CodecError::Malformed | CodecError::NoRoom => UnitError::FrameMalformed,
    };
    encode_reply(&Reply { number: 0, result: Err(why.into()) }, outbox).unwrap_or(0)
}

fn flush(stream: &mut UnixStream, outbox: &mut [u8], queued: usize) -> io::Result<usize> {
    let answers = outbox.get_mut(..queued).unwrap_or_default();
    let written = stream.write_all(answers);
    answers.zeroize();
    written.map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::serve;
    use crate::unit::process::{Shared, UnitOptions};
    use std::io::{self, Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};
    use unit_api::{Reply, UnitError, decode_reply, split_frame};

    const PATIENCE: Duration = Duration::from_millis(300);
    /// The first bytes of a frame of 256.
    const HALF: [u8; 7] = [0, 0, 1, 0, 1, 2, 3];

    /// Serves one end of a pair on a thread while `peer` does what it likes with the other.
    fn served(peer: impl FnOnce(UnixStream)) -> io::Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let options = UnitOptions {
            state: folder.path().to_owned(),
            socket: folder.path().join("unused"),
            factory: None,
            serial: "SIM00001".to_owned(),
            domain_index: None,
            instance: None,
            engine: None,
            supervised: false,
        };
        let shared = Shared::new(&options).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| serve(ours, &shared, PATIENCE));
            peer(theirs);
            serving.join().unwrap()
        })
    }

    /// What the peer is told before the connection is closed.
    fn reason(mut stream: &UnixStream) -> Option<UnitError> {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let (body, rest) = split_frame(&answer).unwrap()?;
        assert!(rest.is_empty());
        let Reply { number: 0, result: Err(why) } = decode_reply(body).unwrap() else { return None };
        why.unit_error()
    }

    #[test]
    fn half_a_frame_is_waited_for_and_then_closed_with_a_reason() {
        served(|mut peer| {
            peer.write_all(&HALF).unwrap();
            assert_eq!(reason(&peer), Some(UnitError::FrameMalformed));
        })
        .unwrap();
    }

    #[test]
    fn half_a_frame_and_no_more_to_come_is_closed_with_a_reason_at_once() {
        served(|mut peer| {
            peer.write_all(&HALF).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reason(&peer), Some(UnitError::FrameMalformed));
        })
        .unwrap();
    }

    #[test]
    fn a_peer_that_is_done_is_told_nothing() {
        served(|peer| {
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reason(&peer), None);
        })
        .unwrap();
    }

    #[test]
    fn a_frame_that_comes_in_drops_does_not_hold_a_connection_for_long() {
        served(|mut peer| {
            let began = Instant::now();
            peer.write_all(&[0, 0, 1, 0]).unwrap();
            // A byte now and then, each well within the time that a whole frame may take.
            peer.set_read_timeout(Some(PATIENCE / 6)).unwrap();
            let closed = (0..200).any(|_| peer.write_all(&[1]).is_err() || peer.read(&mut [0]).is_ok());
            assert!(closed && began.elapsed() < 20 * PATIENCE, "{:?}", began.elapsed());
        })
        .unwrap();
    }
}
