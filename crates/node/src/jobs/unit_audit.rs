//! Fetches of the crypto units' audit records at regular times.

use super::JobContext;
use crate::unit_audit::UnitAudit;

/// Fetches the new records of all units again and again. Each node keeps its own.
pub(super) async fn run(context: JobContext, audit: UnitAudit) {
    loop {
        audit.fetch_all(context.directory.units()).await;
        tokio::time::sleep(context.timing.audit_pause).await;
    }
}
