//! A command on its way: encoded once, kept for another try, classified when it comes back.

use crate::error::HostError;
use crate::link::{Outbox, ReplyFrame, encoded_len_hint};
use cluster::{Answer, Instant, RequestId};
use std::time::Duration;
use tokio::sync::oneshot;
use unit_api::{
    Command, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, Refusal, Request, UnitError, WKID_LEN, Wkid,
    decode_request, encode_request,
};
use zeroize::Zeroizing;

/// Where a key blob says which master key it is under.
const WKID_OFFSET: usize = 32;
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

/// A command that somebody waits for.
pub(crate) struct Call {
    /// The first copy's frame.
    frame: Zeroizing<Vec<u8>>,
    submitted: Instant,
    deadline: Instant,
    allowed: Duration,
    sender: oneshot::Sender<Result<ReplyFrame, HostError>>,
}

/// What a caller waits for.
pub(crate) type Outcome = oneshot::Receiver<Result<ReplyFrame, HostError>>;

/// A command's frame, as its first copy is sent.
pub(crate) fn encode(
    id: RequestId,
    command: &Command<'_>,
    allowed: Duration,
) -> Result<Zeroizing<Vec<u8>>, HostError> {
    let request = Request {
        number: number_of(id, 0),
        deadline_ms: millis(allowed),
        envelope: Envelope::plain(*command),
    };
    let mut frame = Zeroizing::new(vec![0; encoded_len_hint(&request)]);
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
    pub(crate) fn new(frame: Zeroizing<Vec<u8>>, now: Instant, allowed: Duration) -> (Self, Outcome) {
        let (sender, outcome) = oneshot::channel();
        (Self { frame, submitted: now, deadline: now.plus(allowed), allowed, sender }, outcome)
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) const fn allowed(&self) -> Duration {
        self.allowed
    }

    /// Queues a copy, with the time that is left.
    pub(crate) fn queue(&self, now: Instant, id: RequestId, attempt: u8, outbox: &Outbox) {
        let number = number_of(id, attempt);
        if self.submitted == now && attempt == 0 {
            return outbox.push_frame(number, &self.frame);
        }
        if let Some(first) = self.request() {
            let deadline_ms = millis(self.deadline.since(now));
            // It fitted once, and the numbers of a later copy are no longer by more than the limit leaves.
            let _ = outbox.push(&Request { number, deadline_ms, ..first });
        }
    }

    /// Ends the call. The caller may have gone.
    pub(crate) fn end(self, outcome: Result<ReplyFrame, HostError>) {
        let _ = self.sender.send(outcome);
    }

    /// What a refusal says of the unit that gave it.
    pub(crate) fn judge(&self, refusal: Refusal, ours: &Wkid) -> Answer {
        match refusal.unit_error() {
            Some(UnitError::WkNotInitialized) => Answer::NoMasterKey,
            Some(UnitError::WkidMismatch) if self.has_foreign_blob(ours) => Answer::Final,
            Some(UnitError::WkidMismatch) => Answer::WrongMasterKey,
            Some(UnitError::DeadlineExceeded) => Answer::Trouble,
            _ if refusal.is_retryable() => Answer::Trouble,
            _ => Answer::Final,
        }
    }

    /// A caller's foreign blob must not fence anybody: else one client could fence every unit.
    fn has_foreign_blob(&self, ours: &Wkid) -> bool {
        let wkid =
            |blob: &[u8]| blob.get(WKID_OFFSET..WKID_OFFSET + WKID_LEN).is_some_and(|wkid| wkid == ours);
        self.request().is_none_or(|request| blobs(&request.envelope.command).iter().any(|blob| !wkid(blob)))
    }

    fn request(&self) -> Option<Request<'_>> {
        self.frame.get(FRAME_HEADER_LEN..).and_then(|body| decode_request(body).ok())
    }
}

fn millis(left: Duration) -> u32 {
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// The key blobs of a command.
fn blobs<'a>(command: &Command<'a>) -> Vec<&'a [u8]> {
    match *command {
        Command::WrapKey { kek, key, .. } => vec![kek, key],
        Command::UnwrapKey { kek: blob, .. }
        | Command::Encrypt { key: blob, .. }
        | Command::Decrypt { key: blob, .. }
        | Command::Sign { key: blob, .. }
        | Command::Verify { key: blob, .. }
        | Command::Reencipher { blob } => vec![blob],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, copy_of, encode, number_of};
    use cluster::{Answer, Instant, RequestId};
    use engine::MacMechanism;
    use std::time::Duration;
    use unit_api::{Command, UnitError};

    #[test]
    fn numbers_name_the_copy() {
        assert_eq!(copy_of(number_of(RequestId(77), 3)), (RequestId(77), 3));
    }

    #[test]
    fn only_a_refused_blob_of_the_instance_casts_doubt_on_a_unit() {
        let ours = [5; 16];
        let judged = |key: &[u8], error: UnitError| {
            let command = Command::Sign { by: MacMechanism::AesCmac, key, data: &[] };
            let frame = encode(RequestId(1), &command, Duration::from_secs(1)).unwrap();
            let (call, _outcome) = Call::new(frame, Instant::START, Duration::from_secs(1));
            call.judge(error.into(), &ours)
        };
        let blob = |wkid: u8| [[0; 16], [0; 16], [wkid; 16], [0; 16]].concat();
        assert_eq!(judged(&blob(5), UnitError::WkidMismatch), Answer::WrongMasterKey);
        assert_eq!(judged(&blob(6), UnitError::WkidMismatch), Answer::Final);
        assert_eq!(judged(&[], UnitError::WkidMismatch), Answer::Final);
        assert_eq!(judged(&blob(5), UnitError::BlobError), Answer::Final);
        assert_eq!(judged(&blob(6), UnitError::WkNotInitialized), Answer::NoMasterKey);
        assert_eq!(judged(&blob(5), UnitError::ErrorState), Answer::Trouble);
    }
}
