//! Clients of duplicate keys: the same key material in two regions that know nothing of each other.
//!
//! A client that fails in one region tries the other one. That is all of its recovery.

use super::client::{Endpoint, KeyClient};
use super::history::{Attempt, Kind, LastUse, Outcome};
use super::load::{ClientSetup, Recorder};
use super::plan::Mix;
use super::random::Random;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Names of the regions in the history: the one that is lost, and the other one.
pub(super) const REGIONS: [&str; 2] = ["one", "two"];
/// Data keys that a client keeps of each pair of keys.
const KEPT_DATA_KEYS: usize = 4;
/// Pairs of keys that a client makes at first.
const FIRST_PAIRS: usize = 2;

struct DataKey {
    plaintext: [u8; 32],
    ciphertext: String,
}

/// Two keys of the same material, one in each region.
struct DuplicateKey {
    ids: [String; 2],
    data_keys: VecDeque<DataKey>,
    /// Whether a rotation was attempted; a key is rotated once in an hour.
    was_rotated: bool,
    /// Whether the newest material may differ: what one wraps, the other may not unwrap.
    is_apart: bool,
}

struct DuplicateClient {
    setup: ClientSetup,
    /// The service in each region.
    services: [KeyClient; 2],
    random: Random,
    keys: Vec<DuplicateKey>,
    operation: u32,
}

/// The running clients.
pub(super) struct DuplicateLoad {
    ending: watch::Sender<bool>,
    clients: JoinSet<DuplicateClient>,
}

impl DuplicateLoad {
    pub(super) fn start(setups: impl IntoIterator<Item = ClientSetup>, regions: &[Endpoint; 2]) -> Self {
        let ending = watch::Sender::new(false);
        let mut clients = JoinSet::new();
        for setup in setups {
            let patience = Duration::from_millis(setup.load.request_timeout_ms);
            let services = regions.each_ref().map(|region| KeyClient::new(region.clone(), patience));
            let random = Random::numbered(setup.seed, u64::from(setup.number));
            let client = DuplicateClient { setup, services, random, keys: Vec::new(), operation: 0 };
            clients.spawn(client.run(ending.subscribe()));
        }
        Self { ending, clients }
    }

    /// Ends the clients, then unwraps once under each key, in both regions.
    pub(super) async fn finish(mut self) -> Vec<LastUse> {
        self.ending.send_replace(true);
        let mut last_uses = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            let Ok(client) = client else { continue };
            for key in client.keys.iter().filter(|key| !key.is_apart) {
                let Some(DataKey { plaintext, ciphertext }) = key.data_keys.back() else { continue };
                for (service, id) in client.services.iter().zip(&key.ids) {
                    let outcome = service.unwrap(id, ciphertext, plaintext).await;
                    last_uses.push(LastUse { key: id.clone(), outcome });
                }
            }
        }
        last_uses
    }
}

impl DuplicateClient {
    async fn run(mut self, mut ending: watch::Receiver<bool>) -> Self {
        let period = Duration::from_secs(1) / u32::from(self.setup.load.per_second.max(1));
        let mut next = Instant::now() + period.mul_f64(self.random.below(100) as f64 / 100.0);
        loop {
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return self,
                () = sleep_until(next) => {}
            }
            self.operation = self.operation.wrapping_add(1);
            let Mix { wrap, unwrap, create, rotate, .. } = self.setup.load.mix;
            let [uses, created, rotated] =
                [u64::from(wrap) + u64::from(unwrap), create.into(), rotate.into()];
            match self.random.below(uses + created + rotated) {
                _ if self.keys.len() < FIRST_PAIRS => self.create().await,
                share if share < created => self.create().await,
                share if share < created + rotated => self.rotate().await,
                _ => self.use_key().await,
            }
            // A client that was kept waiting does not hurry afterwards.
            next = (next + period).max(Instant::now());
        }
    }

    /// Imports the same material in both regions.
    async fn create(&mut self) {
        let material = self.random.bytes();
        let mut ids = [const { String::new() }; 2];
        for (region, id) in ids.iter_mut().enumerate() {
            let name = format!("rehearsal-{}-{}", self.setup.number, self.operation);
            let Some(service) = self.services.get(region) else { return };
            let start_us = self.setup.recorder.now_us();
            let outcome = service.import(&name, &material).await.outcome;
            if let Outcome::Done { id: Some(made), .. } = &outcome {
                id.clone_from(made);
            }
            let was_made = outcome.is_done();
            self.record(Kind::Create, region, (1, true), name, start_us, outcome);
            if !was_made {
                // A key without its duplicate is not used.
                return;
            }
        }
        self.keys.push(DuplicateKey { ids, data_keys: VecDeque::new(), was_rotated: false, is_apart: false });
    }

    /// Rotates both keys of a pair to the same new material.
    async fn rotate(&mut self) {
        let fitting: Vec<usize> = self
            .keys
            .iter()
            .enumerate()
            .filter(|(_, key)| !key.was_rotated && !key.is_apart)
            .map(|(at, _)| at)
            .collect();
        let Some(at) = self.random.one_of(&fitting).copied() else { return };
        let material = self.random.bytes();
        let Some(key) = self.keys.get_mut(at) else { return };
        (key.was_rotated, key.is_apart) = (true, true);
        let ids = key.ids.clone();
        for (region, id) in ids.into_iter().enumerate() {
            let Some(service) = self.services.get(region) else { return };
            let start_us = self.setup.recorder.now_us();
            let outcome = service.rotate_to(&id, &material).await.outcome;
            let was_rotated = outcome.is_done();
            self.record(Kind::Rotate, region, (1, true), id, start_us, outcome);
            if !was_rotated {
                return;
            }
        }
        if let Some(key) = self.keys.get_mut(at) {
            key.is_apart = false;
        }
    }

    /// Wraps or unwraps in one region and, if that fails, in the other one.
    async fn use_key(&mut self) {
        let fitting: Vec<usize> =
            self.keys.iter().enumerate().filter(|(_, key)| !key.is_apart).map(|(at, _)| at).collect();
        let Some(at) = self.random.one_of(&fitting).copied() else { return };
        let plaintext = self.random.bytes();
        let wants_unwrap = self.random.below(2) == 0;
        // Each region is the first one for half of the uses.
        let first = usize::try_from(self.random.below(2)).unwrap_or_default();
        for (attempt, region) in [(1, first), (2, 1 - first)] {
            let (Some(service), Some(key)) = (self.services.get(region), self.keys.get_mut(at)) else {
                return;
            };
            let id = key.ids.get(region).cloned().unwrap_or_default();
            let start_us = self.setup.recorder.now_us();
            let (kind, outcome) = match key.data_keys.back().filter(|_| wants_unwrap) {
                Some(DataKey { plaintext, ciphertext }) => {
                    (Kind::Unwrap, service.unwrap(&id, ciphertext, plaintext).await)
                }
                None => {
                    let (outcome, ciphertext) = service.wrap(&id, &plaintext).await;
                    if let Some(ciphertext) = ciphertext {
                        if key.data_keys.len() == KEPT_DATA_KEYS {
                            key.data_keys.pop_front();
                        }
                        key.data_keys.push_back(DataKey { plaintext, ciphertext });
                    }
                    (Kind::Wrap, outcome)
                }
            };
            let is_last = attempt == 2 || !outcome.is_retryable();
            self.record(kind, region, (attempt, is_last), id, start_us, outcome);
            if is_last {
                return;
            }
        }
    }

    fn record(
        &self,
        kind: Kind,
        region: usize,
        (attempt, is_last): (u8, bool),
        key: String,
        start_us: u64,
        outcome: Outcome,
    ) {
        let recorder: &Arc<Recorder> = &self.setup.recorder;
        let attempt = Attempt {
            client: self.setup.number,
            operation: self.operation,
            attempt,
            is_last,
            kind,
            region: REGIONS.get(region).map(|name| (*name).to_owned()),
            key,
            start_us,
            end_us: recorder.now_us(),
            outcome,
        };
        recorder.history().attempts.push(attempt);
    }
}
