//! High-water marks of the instances, in the pin of the store.

use keystore::StorePin;
use kms::{HighWaterMarks, InstanceId, InstanceMark};
use std::sync::Arc;

/// The marks in a pin, by the instance's id.
pub(crate) struct PinnedMarks(pub(crate) Arc<StorePin>);

impl HighWaterMarks for PinnedMarks {
    fn mark(&self, instance: InstanceId) -> Option<InstanceMark> {
        let mark = self.0.mark(&instance.to_string());
        mark.map(|(born, epoch, changes)| InstanceMark { born, epoch, changes })
    }

    fn raise(&self, instance: InstanceId, mark: InstanceMark) {
        self.0.raise_mark(&instance.to_string(), (mark.born, mark.epoch, mark.changes));
    }
}
