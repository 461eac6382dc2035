//! A command under way: encoded once, kept for retries, and the classification of its answer.

use crate::error::HostError;
use crate::link::{Outbox, ReplyFrame};
use cluster::{Answer, Instant, RequestId};
use std::time::Duration;
use tokio::sync::oneshot;
use unit_api::{
    Command, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, Refusal, Request, UnitError, Variants,
    decode_request, encode_request,
};
use zeroize::Zeroizing;

/// A frame's number is its request's and, in the last bits, which copy it is.
const ATTEMPT_BITS: u32 = 8;

/// The frame's number of a copy. Numbers of the host's own exchanges have the highest bit instead.
pub(crate) const fn number_of(id: RequestId, attempt: u8) -> u64 {
    (id.0 << ATTEMPT_BITS) | attempt as u64
}

/// The reverse of [`number_of`].
pub(crate) const fn copy_of(number: u64) -> (RequestId, u8) {
    (RequestId(number >> ATTEMPT_BITS), number.to_le_bytes()[0])
}

/// A command that a caller waits for.
pub(crate) struct Call {
    frames: Frames,
    submitted: Instant,
    deadline: Instant,
    allowed: Duration,
    sender: oneshot::Sender<Result<ReplyFrame, HostError>>,
}

/// The frame of the first copy, in each variant.
pub(crate) struct Frames {
    first: Zeroizing<Vec<u8>>,
    second: Option<Zeroizing<Vec<u8>>>,
}

impl Frames {
    pub(crate) fn encode(
        id: RequestId,
        variants: &Variants<'_>,
        allowed: Duration,
    ) -> Result<Self, HostError> {
        let second = variants.second.map(|variant| encode(id, &variant.command, allowed)).transpose()?;
        Ok(Self { first: encode(id, &variants.first.command, allowed)?, second })
    }

    fn of(&self, variant: u8) -> &Zeroizing<Vec<u8>> {
        self.second.as_ref().filter(|_| variant > 0).unwrap_or(&self.first)
    }
}

/// Receives the outcome of a call.
pub(crate) type Outcome = oneshot::Receiver<Result<ReplyFrame, HostError>>;

/// A command's frame, as its first copy is sent.
fn encode(id: RequestId, command: &Command<'_>, allowed: Duration) -> Result<Zeroizing<Vec<u8>>, HostError> {
    let request = Request {
        number: number_of(id, 0),
        deadline_ms: millis(allowed),
        envelope: Envelope::plain(*command),
    };
    let mut frame = Zeroizing::new(vec![0; request.frame_len_hint()]);
    let len = match encode_request(&request, &mut frame) {
        Ok(len) => len,
        Err(_) => {
            frame = Zeroizing::new(vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN]);
            encode_request(&request, &mut frame).map_err(|_| HostError::RequestTooLong)?
        }
    };
    frame.truncate(len);
    Ok(frame)
}

impl Call {
    pub(crate) fn new(frames: Frames, now: Instant, allowed: Duration) -> (Self, Outcome) {
        let (sender, outcome) = oneshot::channel();
        (Self { frames, submitted: now, deadline: now.plus(allowed), allowed, sender }, outcome)
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) const fn allowed(&self) -> Duration {
        self.allowed
    }

    /// Queues a copy of one variant, with the time that is left.
    pub(crate) fn queue(&self, now: Instant, id: RequestId, attempt: u8, variant: u8, outbox: &Outbox) {
        let number = number_of(id, attempt);
        let frame = self.frames.of(variant);
        if self.submitted == now && attempt == 0 {
            return outbox.push_frame(number, frame);
        }
        if let Some(first) = frame.get(FRAME_HEADER_LEN..).and_then(|body| decode_request(body).ok()) {
            let deadline_ms = millis(self.deadline.since(now));
            // The first copy fitted a frame, and the longer numbers of a later copy stay within what the limit leaves.
            let _ = outbox.push(&Request { number, deadline_ms, ..first });
        }
    }

    /// Ends the call. Its caller may have dropped it.
    pub(crate) fn end(self, outcome: Result<ReplyFrame, HostError>) {
        let _ = self.sender.send(outcome);
    }
}

/// What a refusal says about the unit.
pub(crate) fn classify(refusal: Refusal) -> Answer {
    match refusal.unit_error() {
        Some(UnitError::WkNotInitialized) => Answer::NoMasterKey,
        _ if refusal.is_key_mismatch() => Answer::WrongMasterKey,
        Some(UnitError::DeadlineExceeded) => Answer::Trouble,
        _ if refusal.is_retryable() => Answer::Trouble,
        _ => Answer::Final,
    }
}

fn millis(left: Duration) -> u32 {
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::{classify, copy_of, number_of};
    use cluster::{Answer, RequestId};
    use unit_api::UnitError;

    #[test]
    fn numbers_name_the_copy() {
        assert_eq!(copy_of(number_of(RequestId(77), 3)), (RequestId(77), 3));
    }

    #[test]
    fn refusals_are_classified() {
        for (error, answer) in [
            (UnitError::WkidMismatch, Answer::WrongMasterKey),
            (UnitError::WkNotInitialized, Answer::NoMasterKey),
            (UnitError::BlobError, Answer::Final),
            (UnitError::ErrorState, Answer::Trouble),
            (UnitError::DeadlineExceeded, Answer::Trouble),
        ] {
            assert_eq!(classify(error.into()), answer, "{error:?}");
        }
    }
}
