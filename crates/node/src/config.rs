//! Configuration values, and the choice of a store.

use keystore::{AnyStore, MemoryStore, RedbOptions, RedbStore, StoreIdentity, StoreOpenError, WallClock};
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
        }
    }
}
