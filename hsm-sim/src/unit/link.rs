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
/// A peer that leaves a frame half sent, or takes no answers, for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves a connection until its peer closes it or breaks the protocol.
///
/// Everything that has arrived is carried out before the answers go out in one write.
pub(super) fn serve(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut inbox = Zeroizing::new(vec![0; INBOX_LEN]);
    let mut outbox = Zeroizing::new(vec![0; OUTBOX_LEN]);
    let mut filled = 0;
    loop {
        stream.set_read_timeout((filled > 0).then_some(PATIENCE))?;
        let read = match inbox.get_mut(filled..).map(|room| stream.read(room)) {
            Some(Ok(0)) | None => return Ok(()),
            Some(Ok(read)) => read,
            Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
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
        if batch.broken {
            return Ok(());
        }
    }
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
