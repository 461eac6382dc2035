//! Follows what other nodes over the same store write of an instance: its header and the journal of its rotation.

use super::JobContext;
use crate::node::PATIENCE;
use keystore::{Deadline, Freshness, Key, Keystore, StoreError, WatchEvent, WatchStream};
use kms::rotation::journal_key;
use kms::{InstanceError, InstanceHeader, InstanceId};
use std::convert::Infallible;
use std::ops::Range;
use tracing::{debug, warn};
use unit_api::VerificationPattern;
use wire::text::error_chain;

/// Follows an instance for ever. After an error, such as history that is no longer kept, it reads everything again.
pub(super) async fn run(context: JobContext, instance: InstanceId) {
    loop {
        let Err(error) = follow(&context, instance).await;
        debug!(%instance, error = %error_chain(&error), "the store's changes cannot be followed; retrying");
        tokio::time::sleep(context.timing.retry_pause).await;
    }
}

async fn follow(context: &JobContext, instance: InstanceId) -> Result<Infallible, StoreError> {
    let (header, journal) = (InstanceHeader::key(instance), journal_key(instance));
    let keys = [header.clone(), journal.clone()];
    let now = context.store.get(&keys, Freshness::Linearizable, Deadline(PATIENCE)).await?.at;
    let mut headers = context.store.watch(only(&header), now).await?;
    let mut journals = context.store.watch(only(&journal), now).await?;
    header_changed(context, instance).await;
    context.rotation_wake.notify_one();
    loop {
        tokio::select! {
            event = headers.next() => if let WatchEvent::Batch(_) = event? {
                header_changed(context, instance).await;
            },
            event = journals.next() => if let WatchEvent::Batch(_) = event? {
                context.rotation_wake.notify_one();
            },
        }
    }
}

/// The range of this key alone.
fn only(key: &Key) -> Range<Key> {
    key.clone()..Key::from([&key.0[..], &[0]].concat())
}

async fn header_changed(context: &JobContext, instance: InstanceId) {
    if instance == context.proven_by
        && let Err(e) = context.renew_proofs().await
    {
        warn!(%instance, error = %error_chain(&e), "the units' master-key proofs could not be refreshed");
    }
}

impl JobContext {
    /// Gives the host the master-key proofs of the present header, if they differ from those that it has.
    pub(crate) async fn renew_proofs(&self) -> Result<(), InstanceError> {
        let header = InstanceHeader::read(&self.store, self.proven_by, PATIENCE).await?;
        let Some(header) = header else { return Ok(()) };
        let next = header.next.as_ref().map(|next| next.proof.pattern);
        if !header.pattern().is_of_same_key(&self.host.pattern()) || !is_same(next, self.host.next_pattern())
        {
            self.host.set_proofs(header.proof, header.next.map(|next| next.proof));
        }
        Ok(())
    }
}

fn is_same(a: Option<VerificationPattern>, b: Option<VerificationPattern>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is_of_same_key(&b),
        (a, b) => a.is_none() && b.is_none(),
    }
}
