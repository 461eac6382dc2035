//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// Nothing that a test waits for takes this long, on a machine with other work either, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Returns once `holds` does.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks until the answer is `Ok`, and gives what it holds; an `Err` says what is still missing.
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
