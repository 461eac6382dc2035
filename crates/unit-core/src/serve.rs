//! Serving frames.

use crate::env::Env;
use crate::unit::Unit;
use unit_api::{
    FRAME_HEADER_LEN, MAX_FRAME_LEN, Refusal, Reply, Request, Response, UnitError, decode_request,
    encode_reply,
};
use zeroize::Zeroize;

/// Length of a buffer for replies, in bytes: one frame, and working space of the same length.
pub const REPLY_BUFFER_LEN: usize = FRAME_HEADER_LEN + 2 * MAX_FRAME_LEN;

impl<E: Env> Unit<E> {
    /// Carries out the request in a frame's body and writes the reply, a whole frame, to the start of `reply`.
    ///
    /// `waited_ms` is how long the request has waited since it arrived, by the caller's clock: a request that has waited
    /// for its deadline is refused with [`UnitError::DeadlineExceeded`] and changes nothing. `reply` is
    /// [`REPLY_BUFFER_LEN`] bytes; its second half is working space, zeroized before the return. `body` and the frame may
    /// hold secrets; the caller wipes them.
    ///
    /// Returns the frame's length. A body that is no request, or has number 0, is answered with number 0 and
    /// [`UnitError::FrameMalformed`], a body above the limit with [`UnitError::FrameTooLong`]. After a reply with number 0
    /// the caller closes the connection, since the position in the stream is unknown. Returns 0, and nothing was carried
    /// out, if `reply` is too short for any reply.
    pub fn handle_request(&mut self, body: &[u8], waited_ms: u32, reply: &mut [u8]) -> usize {
        let frame_len = (FRAME_HEADER_LEN + MAX_FRAME_LEN).min(reply.len() / 2);
        let (frame, scratch) = reply.split_at_mut(frame_len);
        if frame.len() < MIN_FRAME_LEN {
            return 0;
        }
        match readable(body) {
            Ok(request) => self.answer(&request, waited_ms, frame, scratch),
            Err(refusal) => write(frame, 0, Err(refusal)),
        }
    }

    fn answer(
        &mut self,
        request: &Request<'_>,
        waited_ms: u32,
        frame: &mut [u8],
        scratch: &mut [u8],
    ) -> usize {
        if waited_ms >= request.deadline_ms {
            return write(frame, request.number, Err(UnitError::DeadlineExceeded.into()));
        }
        let result = self.execute(&request.envelope, scratch);
        let used = result.as_ref().map_or(0, Response::borrowed_len);
        let written = write(frame, request.number, result);
        // After a refused command the working space is zero already.
        if let Some(used) = scratch.get_mut(..used) {
            used.zeroize();
        }
        written
    }
}

/// Room for every reply without variable-length bytes.
const MIN_FRAME_LEN: usize = 256;

fn readable(body: &[u8]) -> Result<Request<'_>, Refusal> {
    if body.len() > MAX_FRAME_LEN {
        return Err(UnitError::FrameTooLong.into());
    }
    match decode_request(body) {
        Ok(request) if request.number != 0 => Ok(request),
        _ => Err(UnitError::FrameMalformed.into()),
    }
}

fn write(frame: &mut [u8], number: u64, result: Result<Response<'_>, Refusal>) -> usize {
    encode_reply(&Reply { number, result }, frame).unwrap_or_else(|_| {
        frame.zeroize();
        let refused = Reply { number, result: Err(UnitError::ResponseTooLong.into()) };
        encode_reply(&refused, frame).unwrap_or_default()
    })
}
