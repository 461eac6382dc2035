//! The task of one connection to one unit.

use crate::driver::Driver;
use crate::endpoint::Endpoint;
use crate::link::{self, CloseReason, Outbox};
use cluster::UnitNumber;
use std::sync::Arc;

/// Connects, and runs the connection to its end.
pub(crate) async fn run(driver: Arc<Driver>, unit: UnitNumber, generation: u64, endpoint: Endpoint) {
    let reason = match endpoint.connect().await {
        Err(error) => CloseReason::Io(error.kind()),
        Ok(stream) => {
            let (reader, writer) = stream.into_split();
            let outbox = Arc::new(Outbox::new(writer));
            driver.connected(unit, generation, &outbox);
            link::run(reader, &outbox, |inbox| driver.take_replies(unit, generation, inbox)).await
        }
    };
    driver.disconnected(unit, generation, reason);
}
