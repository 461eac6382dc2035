//! What a host knows of its units from before its own start.

use cluster::Identity;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use unit_api::UnitMark;

/// The port that keeps how far units have come, so that a host which is started again fences a unit whose state was put
/// back meanwhile.
pub trait UnitMemory: fmt::Debug + Send + Sync {
    /// What was kept last of each unit.
    fn load(&self) -> Vec<(Identity, UnitMark)>;

    /// Keeps how far a unit has come. Returns once it is durable. May be called with an earlier mark after a later one: the
    /// later one stays.
    ///
    /// # Errors
    /// The reason why it could not be kept. The host goes on, and logs it.
    fn keep(&self, unit: Identity, mark: UnitMark) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Forgets everything when the process ends.
#[derive(Debug)]
pub(crate) struct NoMemory;

impl UnitMemory for NoMemory {
    fn load(&self) -> Vec<(Identity, UnitMark)> {
        Vec::new()
    }

    fn keep(&self, _: Identity, _: UnitMark) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// A memory that several hosts share.
pub type SharedMemory = Arc<dyn UnitMemory>;
