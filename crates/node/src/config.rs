//! Configuration values, and the choice of a store.

use keystore::{
    Accepted, AnyStore, MemoryStore, RedbOptions, RedbStore, StoreIdentity, StoreOpenError, WallClock,
};
use std::path::PathBuf;

/// Where a node keeps its keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreConfig {
    /// In memory: gone with the process. For tests and demonstrations.
    Memory,
    /// In one file, for one machine and one process at a time. Created if it does not exist.
    Redb {
        /// The file.
        path: PathBuf,
    },
    /// As [`Self::Redb`], with a pin outside of the file: a file that is missing, older than the pin or another one is
    /// refused.
    PinnedRedb {
        /// The file.
        path: PathBuf,
        /// The file of the pin.
        pin: PathBuf,
        /// Whether there was a store before, so that a missing file is refused even without a pin.
        must_exist: bool,
        /// What is accepted all the same.
        accepted: Accepted,
    },
}

impl StoreConfig {
    /// Opens the store.
    ///
    /// # Errors
    /// [`StoreOpenError`]; an existing store is unchanged then.
    pub async fn open(&self) -> Result<AnyStore, StoreOpenError> {
        match self {
            Self::Memory => {
                let mut identity = [0; 16];
                getrandom::fill(&mut identity).map_err(|source| StoreOpenError::Io {
                    path: "(memory)".into(),
                    operation: "draw an identity for",
                    source: source.into(),
                })?;
                Ok(AnyStore::Memory(MemoryStore::new(StoreIdentity(identity), WallClock::system())))
            }
            Self::Redb { path } => Ok(AnyStore::Redb(RedbStore::open(path, RedbOptions::default()).await?)),
            Self::PinnedRedb { path, pin, must_exist, accepted } => {
                let options = RedbOptions::default().pin(pin).must_exist(*must_exist).accept(*accepted);
                Ok(AnyStore::Redb(RedbStore::open(path, options).await?))
            }
        }
    }
}
