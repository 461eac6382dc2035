//! A digest of everything that is replicated, to compare two stores.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use keystore::{Deadline, Entry, Freshness, Key, Keystore, MAX_PAGE_ENTRIES, Revision, StoreError};
use sha2::{Digest as _, Sha256};

use crate::layout;

/// SHA-256 over all replicated entries at one revision, in key order: each key and value, preceded by its length in 8 bytes.
/// Secrets are included by the identifiers that the values name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The hash.
    pub sha256: [u8; 32],
    /// Number of entries.
    pub entries: u64,
}

/// The number of entries and the first bytes of the hash.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.sha256;
        write!(f, "{:08x} over {} entries", u32::from_be_bytes([a, b, c, d]), self.entries)
    }
}

impl Digest {
    /// The digest of a store at its newest revision, which is returned as well.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read<S: Keystore>(store: &S, deadline: Duration) -> Result<(Revision, Self), StoreError> {
        let deadline = Deadline(deadline);
        let at = store.get(&[], Freshness::Linearizable, deadline).await?.at;
        Ok((at, Self::of(store, Some(at), deadline, |_| ()).await?))
    }

    /// The digest of a store at a revision, or at its newest one. `each` is called for each entry.
    pub(super) async fn of<S: Keystore>(
        store: &S,
        at: Option<Revision>,
        deadline: Deadline,
        mut each: impl FnMut(&Entry) + Send,
    ) -> Result<Self, StoreError> {
        let mut hash = EntryHash::default();
        let (mut range, mut at) = (layout::replicated(), at);
        loop {
            let page =
                store.scan(range.clone(), MAX_PAGE_ENTRIES, at, Freshness::Linearizable, deadline).await?;
            at = Some(page.at);
            for entry in page.entries.iter().filter(|entry| layout::is_replicated(&entry.key)) {
                hash.add(&entry.key, &entry.value);
                each(entry);
            }
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(hash.finish()),
            }
            yield_now().await;
        }
    }
}

/// A digest as it grows.
#[derive(Default)]
pub(crate) struct EntryHash {
    hash: Sha256,
    entries: u64,
}

impl EntryHash {
    pub(crate) fn add(&mut self, key: &Key, value: &[u8]) {
        for part in [&*key.0, value] {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
        self.entries = self.entries.saturating_add(1);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest { sha256: self.hash.finalize().into(), entries: self.entries }
    }
}

/// Lets other tasks run between two pages.
pub(crate) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
