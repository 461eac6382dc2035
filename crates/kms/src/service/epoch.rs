//! Taking over the writing of an instance.

use keystore::{Cond, Keystore, OpId, Txn, Write};

use super::{CommitOutcome, Kms, MAX_ATTEMPTS, first_16};
use crate::call::TimeBudget;
use crate::{Call, InstanceHeader, KmsError, Mode, Units, layout};

/// Reason why an epoch was not begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The instance has this epoch, or a higher one: another side has taken over.
    #[error("the instance has epoch {stored}, so that epoch {requested} cannot begin")]
    NotHigher {
        /// Epoch of the instance.
        stored: u64,
        /// Epoch that was requested.
        requested: u64,
    },
    /// The instance could not be read or written.
    #[error(transparent)]
    Kms(#[from] KmsError),
}

impl EpochError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotHigher { .. } => false,
            Self::Kms(error) => error.is_retryable(),
        }
    }
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Makes this store the one that is written, from this epoch on: the header gets the epoch and mode
    /// [`Mode::ReadWrite`]. A repetition with the same `op` returns the header.
    ///
    /// A mirror has to [take over](crate::replica::Replica::take_over) before. A service that was open over the store of the
    /// former side, when that is overwritten by a copy of this one, has to be opened again: what it has seen may be changes
    /// that were lost.
    ///
    /// # Errors
    /// [`EpochError::NotHigher`] unless the epoch is higher than that of the instance, which is not changed then.
    pub async fn begin_epoch(
        &self,
        call: &Call<'_>,
        op: OpId,
        epoch: u64,
    ) -> Result<InstanceHeader, EpochError> {
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let view = self.view(call, budget, &[]).await?;
            let key = layout::header(call.instance);
            let parts: [&[u8]; 4] = [b"epoch", &op.0, call.caller.as_bytes(), &epoch.to_be_bytes()];
            let op = OpId(first_16(&view.instance.keys.name(&parts)));
            let mut header = view.instance.header.successor();
            if header.epoch >= epoch {
                // Whether this operation has begun it: the store remembers, and the condition does not hold.
                let txn = Txn { op, conds: vec![Cond::Absent(key)], writes: Vec::new() };
                return match self.try_commit(txn, budget).await? {
                    CommitOutcome::Replayed(_) => Ok(self.header(call).await?),
                    CommitOutcome::Applied(_) | CommitOutcome::Lost => {
                        Err(EpochError::NotHigher { stored: header.epoch, requested: epoch })
                    }
                };
            }
            (header.epoch, header.mode) = (epoch, Mode::ReadWrite);
            let value = header.encode(&key, &view.instance.keys).into();
            let conds = vec![Cond::Unchanged(key.clone(), view.header_at)];
            let txn = Txn { op, conds, writes: vec![Write::Put { key, value, lease: None }] };
            match self.commit_header(call, budget, &header, txn).await? {
                CommitOutcome::Applied(_) => return Ok(header),
                CommitOutcome::Replayed(_) => return Ok(self.header(call).await?),
                CommitOutcome::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS }.into())
    }
}
