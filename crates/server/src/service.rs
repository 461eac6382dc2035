//! The key service as the front ends call it: one concrete type, whatever store and units are behind it.

use keystore::{AnyStore, GatedStore};
use kms::{Kms, UnitReply, Units, UnitsError};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use unit_api::Variants;

/// The key service over any store and any units.
pub type KeyService = Kms<GatedStore<AnyStore>, ServiceUnits>;

/// The key service of a request, or why there is none yet: `Err` is a message for people.
///
/// A service has no instance to serve until its crypto units hold a master key.
pub type ServiceSource = Arc<dyn Fn() -> Result<Arc<KeyService>, String> + Send + Sync>;

/// Crypto units behind a pointer. A command costs one heap allocation more than with the concrete type.
#[derive(Clone)]
pub struct ServiceUnits(Arc<dyn DynUnits>);

type Executing<'a> = Pin<Box<dyn Future<Output = Result<UnitReply, UnitsError>> + Send + 'a>>;

/// [`Units`] with boxed futures, so that it can be a trait object.
trait DynUnits: Send + Sync + 'static {
    fn execute_boxed<'a>(&'a self, variants: &'a Variants<'a>, deadline: Duration) -> Executing<'a>;
}

impl<U: Units> DynUnits for U {
    fn execute_boxed<'a>(&'a self, variants: &'a Variants<'a>, deadline: Duration) -> Executing<'a> {
        Box::pin(self.execute(variants, deadline))
    }
}

impl ServiceUnits {
    /// Erases the type of `units`.
    #[must_use]
    pub fn new(units: impl Units) -> Self {
        Self(Arc::new(units))
    }
}

impl Units for ServiceUnits {
    async fn execute(&self, variants: &Variants<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        self.0.execute_boxed(variants, deadline).await
    }
}

impl fmt::Debug for ServiceUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceUnits")
    }
}
