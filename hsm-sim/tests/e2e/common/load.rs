//! Callers of the Key Protect API that count every failed request.

use super::{PATIENCE, Rest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const PLAINTEXT: &str = "YSBkYXRhIGtleQ==";

/// Callers that never retry a request.
pub(crate) struct Callers {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU32>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Callers {
    /// Starts four callers that wrap and unwrap under `key`.
    pub(crate) fn start(rest: &Rest, key: &str) -> Self {
        let (over, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let tasks = (0..4).map(|_| {
            let (rest, key) = (rest.clone(), key.to_owned());
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !over.load(Ordering::Acquire) {
                    failures.extend(wrap_and_unwrap(&rest, &key).await.err());
                    done.fetch_add(1, Ordering::AcqRel);
                }
                failures
            })
        });
        let tasks = tasks.collect();
        Self { over, done, tasks }
    }

    /// Waits until this many more requests are done.
    pub(crate) async fn do_more(&self, more: u32) {
        let wanted = self.done.load(Ordering::Acquire) + more;
        let started = Instant::now();
        while self.done.load(Ordering::Acquire) < wanted {
            assert!(started.elapsed() < PATIENCE, "the callers stand still");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the callers and asserts that none of their requests failed.
    pub(crate) async fn end(self) {
        self.over.store(true, Ordering::Release);
        for task in self.tasks {
            let failures = task.await.unwrap();
            assert!(failures.is_empty(), "{} failed requests, first {:?}", failures.len(), failures.first());
        }
    }
}

async fn wrap_and_unwrap(rest: &Rest, key: &str) -> Result<(), String> {
    let ciphertext = rest.wrap(key, PLAINTEXT).await?;
    match rest.unwrap(key, &ciphertext).await? {
        plaintext if plaintext == PLAINTEXT => Ok(()),
        other => Err(format!("unwrapped to {other}")),
    }
}
