//! Callers that never stop.

use super::{blob, pattern};
use engine::MacMechanism;
use host::Host;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use unit_api::{Command, Response, Variants};

const DEADLINE: Duration = Duration::from_secs(20);
const KEY: [u8; 32] = [3; 32];

/// Callers that sign without a pause; every call must succeed.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// `callers` at a time, with one key that has a blob under each of these master keys: one or two.
    pub(crate) fn on(host: &Host, callers: usize, masters: &[u8]) -> Self {
        let blobs: Vec<_> = masters.iter().map(|master| blob(pattern(*master), KEY)).collect();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let caller = |_| {
            let (host, blobs) = (host.clone(), blobs.clone());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let sign = |key| Command::Sign { by: MacMechanism::AesCmac, key, data: b"some data" };
                let first = Variants::of(sign(&blobs[0]));
                let variants = blobs.get(1).map_or(first, |second| first.or(sign(second)));
                while !stop.load(Ordering::Relaxed) {
                    let frame = host.execute(&variants, DEADLINE).await.unwrap();
                    assert!(matches!(frame.response(), Ok(Response::Signature(mac)) if mac.len() == 16));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let callers = (0..callers).map(caller).collect();
        Self { stop, done, callers }
    }

    /// Calls that have succeeded.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls have succeeded.
    pub(crate) async fn more(&self, calls: u64) {
        let goal = self.done() + calls;
        while self.done() < goal {
            assert!(!self.callers.iter().any(JoinHandle::is_finished), "a call failed");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}
