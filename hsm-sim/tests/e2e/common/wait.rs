//! Waits for a condition instead of a fixed time.

use std::time::{Duration, Instant};

/// Timeout of every wait, long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until `holds` returns true.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Calls `ask` until it returns `Ok`, and returns the value. `Err` states what is still missing.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(why) => assert!(started.elapsed() < PATIENCE, "waited in vain for {what}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
