//! The receiving end of replication.

use super::codec::position_to_wire;
use super::frames::{read_frame, write_frame};
use super::given_up::GivenUp;
use super::outgoing::ask_holding;
use super::site::{CopyState, Region};
use crate::node::{Shared, Store};
use kms::replica::{Applied, Event, MAX_EVENT_LEN, Replica, ReplicaError, ReplicaOptions, ReplicaState};
use regions::Copy;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};
use wire::region::{Hello, Purpose, encode};
use wire::text::error_chain;

/// Before another attempt to connect.
const PAUSE: Duration = Duration::from_millis(300);
/// Between two events: the source reports its newest revision each second.
const EVENT_TIME: Duration = Duration::from_secs(10);
/// For fronts to notice that the partner gets the requests, after a handover.
const GRACE: Duration = Duration::from_secs(2);
/// Events that may wait to be applied.
const QUEUE: usize = 16;

/// Why following has to begin again.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("the other region cannot be reached")]
    Link(#[source] io::Error),
    #[error("a change of the other region was not applied")]
    Replica(#[from] ReplicaError),
    #[error("this region has changes that the other one does not have, and keeps them")]
    OwnChanges,
}

/// Follows the partner until it is stopped. With `replace`, what this store has and the partner has not is given up.
pub(super) async fn follow(region: Weak<Region>, node: Weak<Shared>, replace: bool) {
    let (mut logged, mut copy_all) = (String::new(), false);
    loop {
        let (Some(region), Some(node)) = (region.upgrade(), node.upgrade()) else { return };
        match follow_once(&region, &node, replace, copy_all).await {
            Ok(()) => copy_all = false,
            Err(error) => {
                let differs = error.shows_difference();
                copy_all = !differs && matches!(&error, FollowError::Replica(error) if error.needs_copy());
                if differs {
                    region.set_diverged(true);
                }
                let problem = error_chain(&error);
                if problem != logged && differs {
                    error!(
                        error = %problem,
                        "the data of the two regions differ; an operator has to say which of them to keep",
                    );
                } else if problem != logged {
                    warn!(error = %problem, "this region does not follow the other one; retrying");
                }
                logged = problem;
            }
        }
        region.set_connected(false);
        let paused = sleep(PAUSE);
        tokio::pin!(paused);
        loop {
            tokio::select! {
                () = &mut paused => break,
                // Differing data do not keep an operator from having this region take over.
                () = region.target_changed() => region.compare_own_with_target().await,
            }
        }
    }
}

impl FollowError {
    /// Whether the data of the two regions are known to differ.
    const fn shows_difference(&self) -> bool {
        matches!(
            self,
            Self::OwnChanges
                | Self::Replica(ReplicaError::Diverged { .. } | ReplicaError::OtherSource { .. })
        )
    }
}

async fn follow_once(
    region: &Arc<Region>,
    node: &Arc<Shared>,
    replace: bool,
    copy_all: bool,
) -> Result<(), FollowError> {
    region.set_connected(false);
    let mut replica = Replica::open(region.store(), ReplicaOptions::default()).await?;
    if let ReplicaState::Own(_) = replica.state() {
        // Before it is overwritten.
        let given_up = GivenUp::count(region).await.map_err(FollowError::Link)?;
        if !replace && given_up.changes != Some(0) {
            region.set_copy(CopyState::of(replica.state()));
            return Err(FollowError::OwnChanges);
        }
        // A handover: what is here is complete, and clients whose requests are still sent here are served until then.
        let grace = if given_up.changes == Some(0) { GRACE } else { Duration::ZERO };
        sleep(grace).await;
        // Nothing is given up for a partner that was lost meanwhile.
        ask_holding(&region.settings).await.map_err(FollowError::Link)?;
        given_up.log();
        region.set_given_up(given_up);
        node.close().await;
        replica.danger_replace().await?;
    }
    region.set_copy(CopyState::of(replica.state()));
    let (tls, partner) = (&region.settings.tls, &region.settings.partner);
    let mut stream = tls.connect(&partner.address, &partner.name).await.map_err(FollowError::Link)?;
    let from = replica.position().filter(|_| !copy_all).map(position_to_wire);
    let hello = encode(&Hello::new(Purpose::Replicate { from }));
    write_frame(&mut stream, &hello).await.map_err(FollowError::Link)?;
    let (reading, mut writing) = tokio::io::split(stream);
    let (sender, mut events) = mpsc::channel(QUEUE);
    let reader = tokio::spawn(read_events(reading, sender));
    let _ends_with_this = AbortOnDrop(reader.abort_handle());
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = region.target_changed() => {
                region.compare_with_target(&replica).await;
                continue;
            }
        };
        let event = match event {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Err(FollowError::Link(error)),
            None => return Err(FollowError::Link(io::ErrorKind::UnexpectedEof.into())),
        };
        let applied = apply(&mut replica, &event).await;
        if let Err(error @ ReplicaError::Diverged { .. }) = applied {
            region.set_copy(CopyState::of(replica.state()));
            return Err(error.into());
        }
        let applied = applied?;
        if matches!(event, Event::CopyBegins { .. }) {
            // Its records will be of different times.
            node.close().await;
        }
        region.set_connected(true);
        region.set_lag(replica.lag());
        match applied {
            Applied::Copied => {
                info!("the copy of the other region is complete");
                region.set_diverged(false);
                region.set_copy(CopyState::of(replica.state()));
                Shared::open_in_background(node);
            }
            Applied::Copying => region.set_copy(CopyState::of(replica.state())),
            Applied::Equal { entries, .. } => {
                debug!(entries, "the data of both regions are equal");
                region.set_diverged(false);
                region.set_copy(CopyState::of(replica.state()));
            }
            _ => region.set_copy(CopyState::of(replica.state())),
        }
        region.compare_with_target(&replica).await;
        // What waits is applied first: one message tells about all of it.
        if events.is_empty() {
            let at = replica.position().map(position_to_wire);
            let applied = encode(&wire::region::Applied { at });
            write_frame(&mut writing, &applied).await.map_err(FollowError::Link)?;
        }
    }
}

async fn apply(replica: &mut Replica<Store>, event: &Event) -> Result<Applied, ReplicaError> {
    loop {
        match replica.apply(event).await {
            Err(error) if error.is_retryable() => {
                debug!(error = %error_chain(&error), "a change is applied again");
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn read_events(mut stream: impl AsyncRead + Unpin, events: mpsc::Sender<io::Result<Event>>) {
    loop {
        let event = match read_frame(&mut stream, MAX_EVENT_LEN, EVENT_TIME).await {
            Ok(frame) => Event::decode(&frame).map_err(io::Error::other),
            Err(error) => Err(error),
        };
        let failed = event.is_err();
        if events.send(event).await.is_err() || failed {
            return;
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl CopyState {
    /// What a store's state means for its use.
    pub(super) const fn of(state: ReplicaState) -> Self {
        match state {
            ReplicaState::Empty | ReplicaState::Copying => Self(Copy::Incomplete),
            ReplicaState::Following(_) | ReplicaState::Own(_) => Self(Copy::Complete),
        }
    }
}
