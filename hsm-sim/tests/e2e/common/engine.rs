//! What tests of crypto units on PKCS#11 tokens share: whether there is a SoftHSM, callers, and looks at the region.

use super::{PATIENCE, Region, Rest};
use hsm_sim::control::{ControlClient, FaultKind, FaultRequest, Status, Target, UnitStatus};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use super::skip::softhsm;

pub(crate) const PLAINTEXT: &str = "YSBkYXRhIGtleQ==";

/// A region, from a test that may not block its runtime.
pub(crate) fn up(data: &Path, extra: &[&str]) -> Region {
    tokio::task::block_in_place(|| Region::up(data, extra))
}

pub(crate) fn kill(unit: u16) -> FaultRequest {
    FaultRequest { fault: FaultKind::Kill, target: Target::Unit(unit), slow_by_ms: None }
}

/// The status as soon as it is as it should be.
pub(crate) async fn status_once(control: &ControlClient, holds: impl Fn(&Status) -> bool) -> Status {
    let started = Instant::now();
    loop {
        let status = control.status().await.unwrap();
        if holds(&status) {
            return status;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain; the status is {status:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn unit(status: &Status, number: u16) -> &UnitStatus {
    status.units.iter().find(|unit| unit.unit == number).unwrap()
}

/// Whether every operational unit serves.
pub(crate) fn all_serve(status: &Status) -> bool {
    status.units.iter().filter(|unit| unit.is_operational()).all(UnitStatus::serves)
}

/// The folder of a unit's own SoftHSM token, and where a test puts it to take it away.
pub(crate) fn token_folders(data: &Path, unit: u16) -> (PathBuf, PathBuf) {
    let home = data.join(format!("units/{unit}/softhsm"));
    (home.join("tokens"), home.join("taken"))
}

/// Callers that never repeat a request and count what failed.
pub(crate) struct Callers {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU32>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Callers {
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

    /// Returns once so many more requests are done.
    pub(crate) async fn do_more(&self, more: u32) {
        let wanted = self.done.load(Ordering::Acquire) + more;
        let started = Instant::now();
        while self.done.load(Ordering::Acquire) < wanted {
            assert!(started.elapsed() < PATIENCE, "the callers stand still");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends them; none of their requests may have failed.
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
