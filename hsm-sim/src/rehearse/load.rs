//! Clients of the key service that record every request.

use super::client::{Endpoint, KeyClient};
use super::history::{Attempt, Class, History, Kind, LastUse, Outcome, WriterSample};
use super::plan::{self, Mix};
use super::random::Random;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Attempts of a client that retries, as IBM's example makes them.
const ATTEMPTS: u8 = 3;
/// Pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Data keys that a client keeps of each root key.
const KEPT_DATA_KEYS: usize = 4;
/// Root keys that a client has before it disables one.
const MIN_ROOT_KEYS: usize = 2;

/// Where clients and observers record.
pub(super) struct Recorder {
    began: Instant,
    /// Whether an attempt that is followed by another one counts as failed.
    counts_every_attempt: bool,
    history: Mutex<History>,
}

impl Recorder {
    pub(super) fn new(began: Instant, counts_every_attempt: bool) -> Self {
        Self { began, counts_every_attempt, history: Mutex::default() }
    }

    /// Microseconds since the rehearsal began.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_writer(&self, writes: String) {
        self.history().writers.push(WriterSample { at_us: self.now_us(), writes });
    }

    /// Whether operations of this class have succeeded, without a failure, for `time` until now.
    pub(super) fn has_succeeded_for(&self, class: Class, since_us: u64, time: Duration) -> bool {
        let history = self.history();
        let of_class = || {
            let attempts = history.attempts.iter();
            attempts.filter(|attempt| attempt.kind.class() == class && attempt.end_us > since_us)
        };
        let counts = |attempt: &Attempt| self.counts_every_attempt || attempt.is_last;
        let failures = of_class().filter(|attempt| attempt.outcome.is_failure() && counts(attempt));
        let last_failure = failures.map(|attempt| attempt.end_us).max().unwrap_or(since_us);
        let successes = of_class().filter(|attempt| attempt.outcome.is_done());
        let first_success =
            successes.map(|attempt| attempt.end_us).filter(|end_us| *end_us > last_failure).min();
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        first_success.is_some_and(|first| self.now_us() >= first.saturating_add(time))
    }
}

/// A data key and what it was wrapped to.
struct DataKey {
    plaintext: [u8; 32],
    ciphertext: String,
}

/// A root key of a client. No other client uses it.
struct RootKey {
    id: String,
    data_keys: VecDeque<DataKey>,
    /// Whether a rotation was attempted. A key is rotated once: the service permits no second one within the hour.
    was_rotated: bool,
    state: KeyState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyState {
    Active,
    /// Its disabling was acknowledged.
    Disabled,
    /// Its disabling may have had an effect, or the service does not know it any more.
    Unknown,
}

/// What a client needs.
pub(super) struct ClientSetup {
    pub(super) number: u16,
    pub(super) retries: bool,
    pub(super) seed: u64,
    pub(super) load: plan::Load,
    /// The service, as clients reach it.
    pub(super) endpoint: Endpoint,
    pub(super) recorder: Arc<Recorder>,
}

struct LoadClient {
    setup: ClientSetup,
    service: KeyClient,
    random: Random,
    keys: Vec<RootKey>,
    operation: u32,
}

/// The running clients.
pub(super) struct RunningLoad {
    ending: watch::Sender<bool>,
    clients: JoinSet<LoadClient>,
}

impl RunningLoad {
    pub(super) fn start(setups: impl IntoIterator<Item = ClientSetup>) -> Self {
        let ending = watch::Sender::new(false);
        let mut clients = JoinSet::new();
        for setup in setups {
            let random = Random::numbered(setup.seed, u64::from(setup.number));
            let patience = Duration::from_millis(setup.load.request_timeout_ms);
            let service = KeyClient::new(setup.endpoint.clone(), patience);
            let client = LoadClient { setup, service, random, keys: Vec::new(), operation: 0 };
            clients.spawn(client.run(ending.subscribe()));
        }
        Self { ending, clients }
    }

    /// Ends the clients after their current operations, then unwraps once under each key that can be used.
    pub(super) async fn finish(mut self) -> Vec<LastUse> {
        self.ending.send_replace(true);
        let mut ended = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            ended.extend(client.ok());
        }
        let mut last_uses = Vec::new();
        for client in &ended {
            for key in client.keys.iter().filter(|key| key.state == KeyState::Active) {
                if let Some(DataKey { plaintext, ciphertext }) = key.data_keys.back() {
                    let outcome = client.service.unwrap(&key.id, ciphertext, plaintext).await;
                    last_uses.push(LastUse { key: key.id.clone(), outcome });
                }
            }
        }
        last_uses
    }
}

impl LoadClient {
    async fn run(mut self, mut ending: watch::Receiver<bool>) -> Self {
        let period = Duration::from_secs(1) / u32::from(self.setup.load.per_second.max(1));
        // Clients do not begin at the same moment.
        let mut next = Instant::now() + period.mul_f64(self.random.below(100) as f64 / 100.0);
        loop {
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return self,
                () = sleep_until(next) => {}
            }
            self.operate(&ending).await;
            // A client that was kept waiting does not hurry afterwards.
            next = (next + period).max(Instant::now());
        }
    }

    async fn operate(&mut self, ending: &watch::Receiver<bool>) {
        self.operation = self.operation.wrapping_add(1);
        let kind = self.choose();
        let at = self.key_for(kind);
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let (key, outcome, start_us) = self.attempt(kind, at, attempt).await;
            let retry =
                self.setup.retries && attempt < ATTEMPTS && outcome.is_retryable() && !*ending.borrow();
            let attempt = Attempt {
                client: self.setup.number,
                operation: self.operation,
                attempt,
                is_last: !retry,
                kind,
                region: None,
                key,
                start_us,
                end_us: self.setup.recorder.now_us(),
                outcome,
            };
            self.setup.recorder.history().attempts.push(attempt);
            if !retry {
                return;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// The kind of the next operation, as far as there is a key for it.
    fn choose(&mut self) -> Kind {
        let Mix { wrap, unwrap, use_disabled, list, create, rotate, disable } = self.setup.load.mix;
        let shares = [
            (Kind::Wrap, wrap),
            (Kind::Unwrap, unwrap),
            (Kind::UseDisabled, use_disabled),
            (Kind::List, list),
            (Kind::Create, create),
            (Kind::Rotate, rotate),
            (Kind::Disable, disable),
        ];
        let total = shares.iter().map(|(_, share)| u64::from(*share)).sum();
        let mut at = self.random.below(total);
        let mut chosen = Kind::Wrap;
        for (kind, share) in shares {
            if at < u64::from(share) {
                chosen = kind;
                break;
            }
            at -= u64::from(share);
        }
        let count = |fits: &dyn Fn(&RootKey) -> bool| self.keys.iter().filter(|key| fits(key)).count();
        let active = count(&|key| key.state == KeyState::Active);
        match chosen {
            Kind::List | Kind::Create => chosen,
            _ if active < MIN_ROOT_KEYS => Kind::Create,
            Kind::UseDisabled if count(&|key| key.state == KeyState::Disabled) == 0 => Kind::Wrap,
            Kind::Rotate if count(&|key| key.state == KeyState::Active && !key.was_rotated) == 0 => {
                Kind::Wrap
            }
            Kind::Disable if active == MIN_ROOT_KEYS => Kind::Wrap,
            Kind::Unwrap if count(&|key| key.state == KeyState::Active && !key.data_keys.is_empty()) == 0 => {
                Kind::Wrap
            }
            Kind::Wrap | Kind::Unwrap | Kind::UseDisabled | Kind::Rotate | Kind::Disable => chosen,
        }
    }

    /// A key that an operation of this kind fits.
    fn key_for(&mut self, kind: Kind) -> Option<usize> {
        let fits = |key: &RootKey| match kind {
            Kind::Wrap | Kind::Disable => key.state == KeyState::Active,
            Kind::Unwrap => key.state == KeyState::Active && !key.data_keys.is_empty(),
            Kind::Rotate => key.state == KeyState::Active && !key.was_rotated,
            Kind::UseDisabled => key.state == KeyState::Disabled,
            Kind::List | Kind::Create => false,
        };
        let fitting: Vec<usize> =
            self.keys.iter().enumerate().filter(|(_, key)| fits(key)).map(|(at, _)| at).collect();
        self.random.one_of(&fitting).copied()
    }

    /// Makes one attempt with the key at this place; returns the key's identifier or name, the outcome, and when the request was sent.
    async fn attempt(&mut self, kind: Kind, at: Option<usize>, attempt: u8) -> (String, Outcome, u64) {
        let id = at.and_then(|at| self.keys.get(at)).map(|key| key.id.clone()).unwrap_or_default();
        let plaintext = self.random.bytes();
        let start_us = self.setup.recorder.now_us();
        let outcome = match kind {
            Kind::List => self.service.list().await.outcome,
            Kind::Create => {
                // A name of its own for each attempt: one that had no answer may still have made a key.
                let name = format!("rehearsal-{}-{}-{attempt}", self.setup.number, self.operation);
                let outcome = self.service.create(&name).await.outcome;
                if let Outcome::Done { id: Some(id), .. } = &outcome {
                    self.keys.push(RootKey {
                        id: id.clone(),
                        data_keys: VecDeque::new(),
                        was_rotated: false,
                        state: KeyState::Active,
                    });
                }
                return (name, outcome, start_us);
            }
            Kind::Wrap => {
                let (outcome, ciphertext) = self.service.wrap(&id, &plaintext).await;
                if let (Some(ciphertext), Some(key)) = (ciphertext, at.and_then(|at| self.keys.get_mut(at))) {
                    if key.data_keys.len() == KEPT_DATA_KEYS {
                        key.data_keys.pop_front();
                    }
                    key.data_keys.push_back(DataKey { plaintext, ciphertext });
                }
                outcome
            }
            Kind::Unwrap => {
                let data_key = at.and_then(|at| self.keys.get(at)).and_then(|key| key.data_keys.back());
                match data_key {
                    Some(DataKey { plaintext, ciphertext }) => {
                        self.service.unwrap(&id, ciphertext, plaintext).await
                    }
                    None => self.service.list().await.outcome,
                }
            }
            Kind::UseDisabled => self.service.wrap(&id, &plaintext).await.0,
            Kind::Rotate => self.service.change(&id, "rotate").await.outcome,
            Kind::Disable => self.service.change(&id, "disable").await.outcome,
        };
        if let Some(key) = at.and_then(|at| self.keys.get_mut(at)) {
            key.learn(kind, &outcome);
        }
        (id, outcome, start_us)
    }
}

impl RootKey {
    /// Takes in what became of an operation.
    fn learn(&mut self, kind: Kind, outcome: &Outcome) {
        match (kind, outcome) {
            (_, Outcome::Refused { status: 404, .. }) => self.state = KeyState::Unknown,
            (Kind::Disable, Outcome::Done { .. }) => self.state = KeyState::Disabled,
            (Kind::Disable, outcome) if !outcome.states_no_effect() => self.state = KeyState::Unknown,
            (Kind::Rotate, outcome) if !outcome.states_no_effect() => self.was_rotated = true,
            (Kind::Rotate, Outcome::Refused { status, .. }) if *status < 500 => self.was_rotated = true,
            (
                Kind::Wrap
                | Kind::Unwrap
                | Kind::UseDisabled
                | Kind::List
                | Kind::Create
                | Kind::Rotate
                | Kind::Disable,
                _,
            ) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyState, Recorder, RootKey};
    use crate::rehearse::history::{Class, Kind};
    use crate::rehearse::samples::{attempt, done, failed, refused};
    use std::collections::VecDeque;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_key_is_used_only_as_far_as_its_state_is_known() {
        let key = || RootKey {
            id: "a".to_owned(),
            data_keys: VecDeque::new(),
            was_rotated: false,
            state: KeyState::Active,
        };
        let after = |kind, outcome: &_| {
            let mut key = key();
            key.learn(kind, outcome);
            (key.state, key.was_rotated)
        };
        assert!(after(Kind::Disable, &done()).0 == KeyState::Disabled);
        assert!(after(Kind::Disable, &failed()).0 == KeyState::Unknown);
        assert!(after(Kind::Disable, &refused(503, true)).0 == KeyState::Active);
        assert!(after(Kind::Wrap, &refused(404, false)).0 == KeyState::Unknown);
        assert!(after(Kind::Rotate, &failed()).1 && after(Kind::Rotate, &refused(409, false)).1);
        assert!(!after(Kind::Rotate, &refused(503, true)).1);
    }

    #[test]
    fn success_counts_from_the_last_failure() {
        // A rehearsal that began ten seconds ago.
        let Some(began) = Instant::now().checked_sub(Duration::from_secs(10)) else { return };
        let recorder = Recorder::new(began, true);
        let add = |kind, end_us, outcome| recorder.history().attempts.push(attempt(kind, end_us, outcome));
        let succeeded = |since_us| recorder.has_succeeded_for(Class::Use, since_us, Duration::from_secs(1));
        add(Kind::Wrap, 1_000_000, done());
        assert!(succeeded(0) && !succeeded(1_000_000));
        add(Kind::Wrap, 2_000_000, failed());
        assert!(!succeeded(0));
        add(Kind::Create, 3_000_000, done());
        assert!(!succeeded(0));
        add(Kind::Unwrap, 4_000_000, done());
        assert!(succeeded(0));
        // Too short ago.
        assert!(!recorder.has_succeeded_for(Class::Use, 0, Duration::from_secs(600)));
    }
}
