//! The store's own record: deployment and format.

use std::time::Duration;

use keystore::{Commit, Cond, Deadline, Freshness, Keystore, OpId, StoreError, Txn, Write};
use rand_core::TryCryptoRng;

use crate::rng::random_array;
use crate::{RandomFailed, layout, replica};

/// Prefix of the record; a store without it was written by another program.
const MAGIC: [u8; 8] = *b"hsm-sim\0";
/// The layout of keys and values that this program reads and writes.
const FORMAT: u32 = 1;

/// The store's own record, written once, checked at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreMeta {
    /// The deployment the store belongs to; random.
    pub deployment: [u8; 16],
    /// Random number from the initialisation of the store, which distinguishes the stores of one deployment.
    pub nonce: [u8; 16],
}

/// Reason why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store was written by another program.
    #[error("the store was not written by this program: its record has {found_len} bytes in another format")]
    ForeignStore {
        /// Length of the record.
        found_len: usize,
    },
    /// The store was written by a newer or an older version of this program.
    #[error("the store has format {found}; this program reads and writes format {supported}")]
    UnsupportedFormat {
        /// Format number in the store.
        found: u32,
        /// Format number that this program reads and writes.
        supported: u32,
    },
    /// The store is a mirror that is being copied: its values are of different times. It can be used when the copy is complete.
    #[error("the store is a mirror that is being copied")]
    MirrorIncomplete,
    /// The keystore failed or refused.
    #[error("the keystore failed")]
    Store(#[from] StoreError),
    /// The source of random bytes failed.
    #[error("no random bytes are available")]
    Random(#[from] RandomFailed),
}

impl OpenError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Random(_) | Self::MirrorIncomplete => true,
            Self::ForeignStore { .. } | Self::UnsupportedFormat { .. } => false,
        }
    }
}

impl StoreMeta {
    /// Reads the store's record, if it has one. Changes nothing: a store that is to become a mirror gets the record of the store
    /// that it mirrors.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::MirrorIncomplete`] while a mirror is being copied.
    pub async fn read<S: Keystore>(store: &S, deadline: Duration) -> Result<Option<Self>, OpenError> {
        let places = [layout::meta(), layout::position()];
        let found = store.get(&places, Freshness::Linearizable, Deadline(deadline)).await?;
        let [meta, position] = found.entries.as_slice() else { return Ok(None) };
        if position.as_ref().is_some_and(|entry| replica::is_copying(&entry.value)) {
            return Err(OpenError::MirrorIncomplete);
        }
        meta.as_ref().map(|entry| Self::decode(&entry.value)).transpose()
    }

    /// Reads the store's record, or writes it if the store is new.
    ///
    /// # Errors
    /// [`OpenError`]; a store of another program, or a mirror that is being copied, is not changed.
    pub async fn read_or_begin<S: Keystore>(
        store: &S,
        rng: &mut (impl TryCryptoRng + Send),
        deadline: Duration,
    ) -> Result<Self, OpenError> {
        if let Some(found) = Self::read(store, deadline).await? {
            return Ok(found);
        }
        let (place, deadline) = (layout::meta(), Deadline(deadline));
        let meta = Self { deployment: random_array(rng)?, nonce: random_array(rng)? };
        let txn = Txn {
            op: OpId(meta.nonce),
            conds: vec![Cond::Absent(place.clone())],
            writes: vec![Write::Put { key: place, value: meta.encode().into(), lease: None }],
        };
        match store.commit(txn, deadline).await? {
            Commit::Refused { now: Some(entry), .. } => Self::decode(&entry.value),
            Commit::Applied { .. } | Commit::Refused { now: None, .. } => Ok(meta),
        }
    }

    fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &FORMAT.to_be_bytes(), &self.deployment, &self.nonce].concat()
    }

    fn decode(value: &[u8]) -> Result<Self, OpenError> {
        let foreign = || OpenError::ForeignStore { found_len: value.len() };
        let (magic, rest) = value.split_first_chunk::<8>().ok_or_else(foreign)?;
        let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(foreign)?;
        if *magic != MAGIC {
            return Err(foreign());
        }
        let found = u32::from_be_bytes(*format);
        if found != FORMAT {
            return Err(OpenError::UnsupportedFormat { found, supported: FORMAT });
        }
        let (deployment, rest) = rest.split_first_chunk::<16>().ok_or_else(foreign)?;
        let nonce = <[u8; 16]>::try_from(rest).map_err(|_| foreign())?;
        Ok(Self { deployment: *deployment, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::{OpenError, StoreMeta};

    #[test]
    fn a_foreign_record_and_a_newer_format_are_told_apart() {
        let meta = StoreMeta { deployment: [1; 16], nonce: [2; 16] };
        let mut value = meta.encode();
        assert_eq!(StoreMeta::decode(&value).unwrap(), meta);
        value[11] = 2;
        assert!(matches!(
            StoreMeta::decode(&value),
            Err(OpenError::UnsupportedFormat { found: 2, supported: 1 })
        ));
        value[0] = b'x';
        assert!(matches!(StoreMeta::decode(&value), Err(OpenError::ForeignStore { found_len: 44 })));
        assert!(matches!(StoreMeta::decode(b""), Err(OpenError::ForeignStore { found_len: 0 })));
    }
}
