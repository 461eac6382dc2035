//! Callers that wrap data keys, unwrap them, and check the result.

use super::report::{PhaseReport, Report, summarise};
use super::rest::{RestClient, RestError};
use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::text::error_chain;

/// Number of concurrent callers.
const CALLERS: u32 = 16;
/// Number of different error messages that the report keeps.
const MAX_MESSAGES: usize = 10;

/// A wrapped data key and the SHA-256 digest of its plaintext.
struct DataKey {
    ciphertext: String,
    digest: [u8; 32],
}

/// Measurements of one phase of the script.
struct Phase {
    name: String,
    started: Instant,
    latencies_us: Vec<u32>,
    failed: u64,
    full_service: Option<Duration>,
}

struct Shared {
    client: RestClient,
    root: String,
    keys: u32,
    next: AtomicU32,
    phase: AtomicUsize,
    phases: Mutex<Vec<Phase>>,
    wrapped: Mutex<Vec<DataKey>>,
    messages: Mutex<Vec<String>>,
    lost: AtomicU32,
    wrapped_count: watch::Sender<u32>,
    ending: AtomicBool,
    bar: ProgressBar,
}

/// The running callers.
pub(super) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
}

impl Load {
    /// Starts callers that wrap and unwrap `keys` data keys, and go on unwrapping them until told to finish.
    pub(super) fn start(client: RestClient, root: String, keys: u32, show: bool) -> Self {
        let target = if show { output::progress_target() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(u64::from(keys) * 2), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos:>6}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        let shared = Arc::new(Shared {
            client,
            root,
            keys,
            next: AtomicU32::new(0),
            phase: AtomicUsize::new(0),
            phases: Mutex::default(),
            wrapped: Mutex::default(),
            messages: Mutex::default(),
            lost: AtomicU32::new(0),
            wrapped_count: watch::Sender::new(0),
            ending: AtomicBool::new(false),
            bar,
        });
        shared.begin("before");
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(Arc::clone(&shared).call(caller));
        }
        Self { shared, callers }
    }

    /// Begins another phase; requests count to the phase in which they were sent.
    pub(super) fn begin(&self, phase: &str) {
        self.shared.begin(phase);
    }

    /// Records, for the current phase, how long after the heal every unit served again.
    pub(super) fn full_service_after(&self, time: Duration) {
        if let Some(phase) = lock(&self.shared.phases).last_mut() {
            phase.full_service = Some(time);
        }
    }

    /// Waits until this share of all keys (0 to 1) has been wrapped.
    pub(super) async fn until(&self, share: f64) {
        let wanted = (f64::from(self.shared.keys) * share) as u32;
        let mut count = self.shared.wrapped_count.subscribe();
        // The sender lives as long as the load.
        let _ = count.wait_for(|done| *done >= wanted).await;
    }

    /// Ends the callers, unwraps every data key once more and returns the report.
    pub(super) async fn finish(mut self) -> Report {
        self.shared.ending.store(true, Ordering::Release);
        while self.callers.join_next().await.is_some() {}
        self.shared.begin("check of every key");
        self.shared.next.store(0, Ordering::Release);
        let mut checkers = JoinSet::new();
        for _ in 0..CALLERS {
            checkers.spawn(Arc::clone(&self.shared).check());
        }
        while checkers.join_next().await.is_some() {}
        self.shared.bar.finish_and_clear();

        let end = Instant::now();
        let mut phases = std::mem::take(&mut *lock(&self.shared.phases));
        let ends: Vec<Instant> = phases.iter().skip(1).map(|p| p.started).chain([end]).collect();
        let reports: Vec<PhaseReport> = phases
            .iter_mut()
            .zip(ends)
            .map(|(p, end)| {
                summarise(&p.name, end - p.started, &mut p.latencies_us, p.failed, p.full_service)
            })
            .collect();
        Report {
            keys: self.shared.keys,
            lost_keys: self.shared.lost.load(Ordering::Acquire),
            requests: reports.iter().map(|p| p.requests).sum(),
            failed_requests: reports.iter().map(|p| p.failed).sum(),
            phases: reports,
            messages: std::mem::take(&mut *lock(&self.shared.messages)),
        }
    }
}

impl Shared {
    fn begin(&self, name: &str) {
        let mut phases = lock(&self.phases);
        phases.push(Phase {
            name: name.to_owned(),
            started: Instant::now(),
            latencies_us: Vec::new(),
            failed: 0,
            full_service: None,
        });
        self.phase.store(phases.len() - 1, Ordering::Release);
        self.bar.set_message(name.to_owned());
    }

    async fn call(self: Arc<Self>, caller: u32) {
        while self.next.fetch_add(1, Ordering::AcqRel) < self.keys {
            let mut value = [0; 32];
            if let Err(e) = getrandom::fill(&mut value) {
                self.note(format!("no random bytes: {e}"));
                return;
            }
            let digest = Sha256::digest(value).into();
            if let Some(ciphertext) = self.timed(self.client.wrap(&self.root, &value)).await {
                let key = DataKey { ciphertext, digest };
                self.open(&key).await;
                lock(&self.wrapped).push(key);
                self.bar.inc(1);
            } else {
                // The wrap was never acknowledged: it counts as a failed request, not as a lost key.
                self.bar.inc(2);
            }
            self.wrapped_count.send_modify(|count| *count += 1);
        }
        // The script may take longer than wrapping all keys; keep the load up until it has ended.
        let mut at = caller as usize;
        while !self.ending.load(Ordering::Acquire) {
            let Some(key) = self.key(at) else { return };
            self.open(&key).await;
            at += CALLERS as usize;
        }
    }

    async fn check(self: Arc<Self>) {
        loop {
            let at = self.next.fetch_add(1, Ordering::AcqRel) as usize;
            if at >= lock(&self.wrapped).len() {
                return;
            }
            let Some(key) = self.key(at) else { return };
            if !self.open(&key).await {
                self.lost.fetch_add(1, Ordering::AcqRel);
            }
            self.bar.inc(1);
        }
    }

    /// The key at this index modulo the number of keys.
    fn key(&self, at: usize) -> Option<DataKey> {
        let wrapped = lock(&self.wrapped);
        let key = wrapped.get(at.checked_rem(wrapped.len())?)?;
        Some(DataKey { ciphertext: key.ciphertext.clone(), digest: key.digest })
    }

    /// Unwraps a data key and returns whether it equals the wrapped one.
    async fn open(&self, key: &DataKey) -> bool {
        match self.timed(self.client.unwrap(&self.root, &key.ciphertext)).await {
            Some(value) if Sha256::digest(&value).as_slice() == key.digest => true,
            Some(_) => {
                self.fail("unwrap returned a data key that differs from the wrapped one".to_owned());
                false
            }
            None => false,
        }
    }

    async fn timed<R>(&self, request: impl Future<Output = Result<R, RestError>>) -> Option<R> {
        let phase = self.phase.load(Ordering::Acquire);
        let started = Instant::now();
        let outcome = request.await;
        let took = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
        if let Some(phase) = lock(&self.phases).get_mut(phase) {
            phase.latencies_us.push(took);
            phase.failed += u64::from(outcome.is_err());
        }
        outcome.map_err(|e| self.note(error_chain(&e))).ok()
    }

    fn fail(&self, message: String) {
        if let Some(phase) = lock(&self.phases).last_mut() {
            phase.failed += 1;
        }
        self.note(message);
    }

    fn note(&self, message: String) {
        let mut messages = lock(&self.messages);
        if messages.len() < MAX_MESSAGES && !messages.contains(&message) {
            messages.push(message);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
