//! One connection to one unit, for commands to that unit alone.

use crate::endpoint::Endpoint;
use crate::link::{self, Arrived, CloseReason, Inbox, Outbox, ReplyFrame};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use unit_api::{Envelope, MAX_PIPELINED, Request};

/// Why a call over one connection gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No connection could be made.
    #[error("no connection to the crypto unit at {endpoint}")]
    Connect {
        /// Endpoint of the unit.
        endpoint: Endpoint,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The connection ended first. Whether the command was carried out is unknown.
    #[error("the connection ended before the answer came")]
    Lost {
        /// Reason of the end.
        source: CloseReason,
    },
    /// No answer in time. Whether the command was carried out is unknown.
    #[error("the crypto unit gave no answer within {0:?}")]
    DeadlineExceeded(Duration),
    /// The command does not fit a frame.
    #[error("the command does not fit a frame of {} bytes", unit_api::MAX_FRAME_LEN)]
    RequestTooLong,
}

impl LinkError {
    /// Whether the same call may succeed later. After [`Self::Lost`] and [`Self::DeadlineExceeded`] an administrative
    /// command may have been carried out: look at the unit's status before sending it again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::RequestTooLong)
    }
}

/// One connection to one unit: ceremonies, administrative commands, inspection. Calls may overlap.
///
/// Nothing is repeated and nothing reconnects: for another try, make another client.
pub struct UnitClient {
    shared: Arc<Shared>,
    slots: Semaphore,
    task: AbortHandle,
}

struct Shared {
    outbox: Outbox,
    next_number: AtomicU64,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    waiters: BTreeMap<u64, oneshot::Sender<ReplyFrame>>,
    closed: Option<CloseReason>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, inbox: &mut Inbox) -> Result<(), CloseReason> {
        let mut pending = self.pending();
        while let Some(Arrived { number, frame, .. }) = inbox.next()? {
            // The caller may have stopped waiting; the frame is wiped then.
            if let Some(waiter) = pending.waiters.remove(&number) {
                let _ = waiter.send(frame);
            }
        }
        Ok(())
    }
}

impl UnitClient {
    /// Connects to a unit.
    ///
    /// # Errors
    /// [`LinkError::Connect`].
    pub async fn connect(endpoint: impl Into<Endpoint>) -> Result<Self, LinkError> {
        let endpoint = endpoint.into();
        let (reader, writer) = match endpoint.connect().await {
            Ok(stream) => stream.into_split(),
            Err(source) => return Err(LinkError::Connect { endpoint, source }),
        };
        let shared = Arc::new(Shared {
            outbox: Outbox::new(writer),
            next_number: AtomicU64::new(1),
            pending: Mutex::default(),
        });
        let runs = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let reason = link::run(reader, &runs.outbox, |inbox| runs.hand_out(inbox)).await;
            let mut pending = runs.pending();
            pending.closed = Some(reason);
            pending.waiters.clear();
        });
        Ok(Self { shared, slots: Semaphore::new(MAX_PIPELINED), task: task.abort_handle() })
    }

    /// Sends one command and waits for its answer, `deadline` at most. Refusals are answers: see
    /// [`ReplyFrame::response`].
    ///
    /// # Errors
    /// No answer: [`LinkError`].
    pub async fn call(&self, envelope: &Envelope<'_>, deadline: Duration) -> Result<ReplyFrame, LinkError> {
        tokio::time::timeout(deadline, self.exchange(envelope, deadline))
            .await
            .unwrap_or(Err(LinkError::DeadlineExceeded(deadline)))
    }

    async fn exchange(&self, envelope: &Envelope<'_>, deadline: Duration) -> Result<ReplyFrame, LinkError> {
        let lost =
            |reason: Option<CloseReason>| LinkError::Lost { source: reason.unwrap_or(CloseReason::Ours) };
        let Ok(_slot) = self.slots.acquire().await else { return Err(lost(None)) };
        let number = self.shared.next_number.fetch_add(1, Ordering::Relaxed);
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let (sender, answer) = oneshot::channel();
        let alone = {
            let mut pending = self.shared.pending();
            if let Some(reason) = &pending.closed {
                return Err(lost(Some(reason.clone())));
            }
            pending.waiters.insert(number, sender);
            pending.waiters.len() == 1
        };
        let waiting = Waiting { shared: &self.shared, number };
        let request = Request { number, deadline_ms, envelope: *envelope };
        self.shared.outbox.push(&request).map_err(|_| LinkError::RequestTooLong)?;
        if alone {
            self.shared.outbox.write_now();
        } else {
            self.shared.outbox.write_soon();
        }
        let answer = answer.await.map_err(|_| lost(self.shared.pending().closed.clone()));
        drop(waiting);
        answer
    }
}

impl Drop for UnitClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forgets the waiter of a call that is given up.
struct Waiting<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.pending().waiters.remove(&self.number);
    }
}
