//! What a backup needs of the service.

use jiff::Timestamp;
use keystore::{Keystore, Revision};

use super::Kms;
use crate::call::TimeBudget;
use crate::header::Generation;
use crate::{Call, InstanceHeader, KmsError, Units};

/// An instance as it was at a revision.
pub(crate) struct OpenedAt {
    pub(crate) at: Revision,
    pub(crate) header: InstanceHeader,
    /// Creation of the instance, in microseconds since 1970.
    pub(crate) born: u64,
    /// Number of the header since then.
    pub(crate) number: u64,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// The time of the service's clock.
    pub(crate) fn time(&self) -> Timestamp {
        self.now()
    }

    pub(crate) const fn store(&self) -> &S {
        &self.store
    }

    pub(crate) const fn units(&self) -> &U {
        &self.units
    }

    /// Opens and verifies an instance, and tells at which revision it was read.
    pub(crate) async fn open_at(&self, call: &Call<'_>, budget: TimeBudget) -> Result<OpenedAt, KmsError> {
        let view = self.view(call, budget, &[]).await?;
        let (at, header) = (view.at, view.instance.header.clone());
        let Generation { born, number } = header.generation.unwrap_or_default();
        Ok(OpenedAt { at, header, born, number })
    }
}
