//! What a region loses when its partner has taken over without it.

use super::outgoing::ask_holding;
use super::site::Region;
use kms::replica::{Event, ReplicaState, Source, SourceOptions};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use tracing::{info, warn};

/// Keys that are named.
const MAX_KEYS: usize = 1000;

/// Changes that one region has acknowledged, or may have, and that its partner did not have when it took over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Number of transactions; `None` if it is not known, because the store no longer has them.
    pub changes: Option<u64>,
    /// Identifiers of the keys that they were about, at most a thousand.
    pub keys: BTreeSet<String>,
}

impl GivenUp {
    /// Asks the partner how far it had come, and reads what came after in the own store.
    pub(super) async fn count(region: &Arc<Region>) -> io::Result<Self> {
        let unknown = Self { changes: None, keys: BTreeSet::new() };
        let ReplicaState::Own(Some(at)) = ask_holding(&region.settings).await? else { return Ok(unknown) };
        let mut source = Source::new(region.store(), Some(at), SourceOptions::default());
        let (mut changes, mut keys) = (0, BTreeSet::new());
        loop {
            match source.next().await.map_err(io::Error::other)? {
                Event::Txn(txn) => {
                    changes += 1;
                    for change in txn.changes {
                        if let Some(key) = key_of(&change.key.0).filter(|_| keys.len() < MAX_KEYS) {
                            keys.insert(key);
                        }
                    }
                }
                // Everything that is there was read: the store accepts no writes.
                Event::Progress { at, newest, .. } if at.revision >= newest => break,
                Event::Progress { .. } | Event::Digest { .. } => {}
                // The store is another one, or has forgotten its changes.
                Event::CopyBegins { .. } | Event::CopyPage(_) | Event::CopyEnds { .. } => return Ok(unknown),
            }
        }
        Ok(Self { changes: Some(changes), keys })
    }

    pub(super) fn log(&self) {
        match self.changes {
            Some(0) => info!("the other region has every change of this one"),
            Some(changes) => {
                warn!(changes, keys = ?self.keys, "changes that the other region did not have are given up");
            }
            None => {
                warn!("changes that the other region did not have may be given up; their number is not known")
            }
        }
    }
}

/// The identifier of the key that a record in the store is about.
fn key_of(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let mut parts = name.split('/').skip(3);
    matches!(parts.next()?, "k" | "b").then(|| parts.next().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn records_and_blobs_name_their_key() {
        assert_eq!(key_of(b"v1/i/instance/k/key").as_deref(), Some("key"));
        assert_eq!(key_of(b"v1/i/instance/b/key/version").as_deref(), Some("key"));
        assert_eq!(key_of(b"v1/i/instance/x/0a1"), None);
        assert_eq!(key_of(b"v1/i/instance/hdr"), None);
    }
}
