//! The record of a restore that was begun, or waits for units.

use std::time::Duration;

use keystore::{Cond, Deadline, Freshness, Keystore, OpId, Revision, Txn, Write};
use serde::{Deserialize, Serialize};

use super::RestoreError;
use crate::backup::BackupError;
use crate::record::{decode, encode};
use crate::rng::random_array;
use crate::{InstanceId, RecordError, SharedRng, layout};

const FORMAT: u8 = 1;
/// Longest path of a file, in bytes.
const MAX_FILE_LEN: usize = 4096;

/// An order to restore an instance. It is in the store from the first change to the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreOrder {
    /// Where the backup is, as its caller names it.
    pub file: String,
    /// [Which one](super::BackupReader::id) it is.
    pub backup: [u8; 32],
    /// Whether the former state of the instance is given up: its header is deleted. Nothing was changed before.
    pub has_begun: bool,
}

impl RestoreOrder {
    /// Reads the order of an instance, if there is one, without a unit.
    ///
    /// # Errors
    /// [`RestoreError::Store`]; [`RestoreError::Backup`] for a damaged one.
    pub async fn read<S: Keystore>(
        store: &S,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<Option<Self>, RestoreError> {
        Ok(Self::read_at(store, instance, deadline).await?.map(|(order, _)| order))
    }

    /// Records that an instance is to be restored once units have the master key of the backup. Changes nothing else.
    ///
    /// # Errors
    /// [`RestoreError::Store`], [`RestoreError::Random`].
    pub async fn place<S: Keystore>(
        store: &S,
        rng: &SharedRng,
        instance: InstanceId,
        (file, backup): (&str, [u8; 32]),
        deadline: Duration,
    ) -> Result<(), RestoreError> {
        let has_begun = Self::read(store, instance, deadline).await?.is_some_and(|order| order.has_begun);
        let order = Self { file: file.to_owned(), backup, has_begun };
        let put = Write::Put { key: layout::restore(instance), value: order.encode().into(), lease: None };
        let txn = Txn { op: OpId(random_array(&mut rng.clone())?), conds: Vec::new(), writes: vec![put] };
        store.commit(txn, Deadline(deadline)).await?;
        Ok(())
    }

    /// Withdraws an order that has not begun. Returns whether none is left.
    ///
    /// # Errors
    /// [`RestoreError::Store`], [`RestoreError::Random`].
    pub async fn withdraw<S: Keystore>(
        store: &S,
        rng: &SharedRng,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<bool, RestoreError> {
        let Some((order, at)) = Self::read_at(store, instance, deadline).await? else { return Ok(true) };
        if order.has_begun {
            return Ok(false);
        }
        let place = layout::restore(instance);
        let conds = vec![Cond::Unchanged(place.clone(), at)];
        let txn =
            Txn { op: OpId(random_array(&mut rng.clone())?), conds, writes: vec![Write::Delete(place)] };
        store.commit(txn, Deadline(deadline)).await?;
        Ok(true)
    }

    async fn read_at<S: Keystore>(
        store: &S,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<Option<(Self, Revision)>, RestoreError> {
        let place = layout::restore(instance);
        let found =
            store.get(std::slice::from_ref(&place), Freshness::Linearizable, Deadline(deadline)).await?;
        let Some(entry) = found.entries.into_iter().flatten().next() else { return Ok(None) };
        let invalid = |source| BackupError::Record { key: layout::show(&place), source };
        Ok(Some((Self::decode(&entry.value).map_err(invalid)?, entry.modified)))
    }

    /// Format number ‖ body.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&[FORMAT][..], &encode(self)].concat()
    }

    fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let (&found, body) = value.split_first().ok_or(RecordError::Malformed)?;
        if found != FORMAT {
            return Err(RecordError::Format { found, expected: FORMAT });
        }
        let order: Self = decode(body)?;
        if order.file.len() > MAX_FILE_LEN { Err(RecordError::Malformed) } else { Ok(order) }
    }
}

#[cfg(test)]
mod tests {
    use super::RestoreOrder;
    use crate::RecordError;

    /// Restores that were interrupted depend on these bytes.
    #[test]
    fn wire_an_order_is_the_documented_one() {
        let order = RestoreOrder { file: "/b".to_owned(), backup: [7; 32], has_begun: true };
        let value = order.encode();
        assert_eq!(value, [&[1, 2][..], b"/b", &[7; 32], &[1]].concat());
        assert_eq!(RestoreOrder::decode(&value).unwrap(), order);
        for cut in 0..value.len() {
            assert_eq!(RestoreOrder::decode(&value[..cut]), Err(RecordError::Malformed));
        }
        assert_eq!(RestoreOrder::decode(&[2]), Err(RecordError::Format { found: 2, expected: 1 }));
    }
}
