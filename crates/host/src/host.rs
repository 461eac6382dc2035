//! The units of one instance, as one.

use crate::call::Frames;
use crate::driver::Driver;
use crate::endpoint::Endpoint;
use crate::error::HostError;
use crate::link::ReplyFrame;
use crate::memory::{NoMemory, SharedMemory};
use crate::proof::MasterKeyProof;
use crate::view::UnitView;
use cluster::{AdditionRefused, Cluster, Config, DrainRefused, RequestId, RetryStats, UnitNumber};
use std::sync::Arc;
use std::time::Duration;
use unit_api::{Command, Variants, VerificationPattern};

/// Interval at which a draining unit is looked at.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// A unit, its zone and how it is reached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnitAddress {
    /// Number of the unit in its instance, each used once.
    pub number: u16,
    /// Zone of the unit.
    pub zone: String,
    /// How the unit is reached.
    pub endpoint: Endpoint,
}

impl UnitAddress {
    /// Unit `number` in `zone`, reached at `endpoint`.
    #[must_use]
    pub fn new(number: u16, zone: impl Into<String>, endpoint: impl Into<Endpoint>) -> Self {
        Self { number, zone: zone.into(), endpoint: endpoint.into() }
    }
}

/// Configuration of a [`Host`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostConfig {
    /// Zone of the host: units there are used first.
    pub zone: String,
    /// Units of the instance, [`cluster::MAX_UNITS`] at most.
    pub units: Vec<UnitAddress>,
    /// What a unit must prove before it serves.
    pub proof: MasterKeyProof,
    /// Proof of the next master key, during a rotation.
    pub next_proof: Option<MasterKeyProof>,
    /// Seed for spreading load and retries; no secret depends on it.
    pub seed: u64,
    /// Where it is kept how far units have come. By default it is forgotten when the host ends.
    pub memory: SharedMemory,
}

impl HostConfig {
    /// A host in `zone`, without units yet, whose units must prove the master key of `proof`. The seed is 0.
    #[must_use]
    pub fn new(zone: impl Into<String>, proof: MasterKeyProof) -> Self {
        Self {
            zone: zone.into(),
            units: Vec::new(),
            proof,
            next_proof: None,
            seed: 0,
            memory: Arc::new(NoMemory),
        }
    }

    /// Adds units.
    #[must_use]
    pub fn with_units(mut self, units: impl IntoIterator<Item = UnitAddress>) -> Self {
        self.units.extend(units);
        self
    }

    /// Accepts units with the next master key too, during a rotation.
    #[must_use]
    pub fn with_next_proof(self, next_proof: Option<MasterKeyProof>) -> Self {
        Self { next_proof, ..self }
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets where it is kept how far units have come.
    #[must_use]
    pub fn with_memory(self, memory: SharedMemory) -> Self {
        Self { memory, ..self }
    }
}

/// Units and retries of a host at one moment: what an operator watches.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostSnapshot {
    /// The units, in the order in which they were added.
    pub units: Vec<UnitView>,
    /// Retries, hedges and their budgets.
    pub retries: RetryStats,
}

/// The units of one instance, as one: a call goes to the unit that serves it best, and to another when that fails.
///
/// Clones share everything. The tasks behind it end when the last clone is dropped, or with [`Host::shutdown`].
#[derive(Clone)]
pub struct Host(Arc<Owner>);

struct Owner(Arc<Driver>);

impl Drop for Owner {
    fn drop(&mut self) {
        // Dropping the set ends its tasks.
        drop(self.0.stop());
    }
}

impl Host {
    /// Starts connecting to the units and checking them; returns at once.
    ///
    /// # Panics
    /// Outside a Tokio runtime with time and IO; with more than [`cluster::MAX_UNITS`] units, or two of one number.
    #[must_use]
    pub fn start(config: HostConfig) -> Self {
        let HostConfig { zone, units, proof, next_proof, seed, memory } = config;
        let members = units.iter().map(|unit| (UnitNumber(unit.number), unit.zone.clone()));
        let config = Config::new(proof.pattern, zone, members).with_seen(memory.load());
        let cluster = Cluster::new(config, seed);
        let endpoints = units.into_iter().map(|unit| (UnitNumber(unit.number), unit.endpoint)).collect();
        let driver = Arc::new(Driver::new(cluster, proof.clone(), endpoints, memory));
        if next_proof.is_some() {
            driver.set_proofs(proof, next_proof);
        }
        driver.start();
        Self(Arc::new(Owner(driver)))
    }

    fn driver(&self) -> &Arc<Driver> {
        &self.0.0
    }

    /// Has a unit execute a command within `deadline`. While no unit can serve, the call waits for one.
    ///
    /// [`ReplyFrame::response`] of what is returned is `Ok`: refusals are errors here. Dropping the future cancels the
    /// call.
    ///
    /// # Errors
    /// [`HostError`]; administrative commands are refused unsent.
    pub async fn call(&self, command: &Command<'_>, deadline: Duration) -> Result<ReplyFrame, HostError> {
        self.execute(&Variants::of(*command), deadline).await
    }

    /// [`Self::call`] for a command in up to two variants: the master key of the unit that serves it decides which one is
    /// sent. A unit that turns out to have moved on to the next master key costs no more than another copy.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn execute(
        &self,
        variants: &Variants<'_>,
        deadline: Duration,
    ) -> Result<ReplyFrame, HostError> {
        if let Some(variant) = variants.iter().find(|variant| variant.command.is_administrative()) {
            return Err(HostError::AdministrativeCommand(variant.command.name()));
        }
        let driver = self.driver();
        let id = driver.fresh_request();
        let frames = Frames::encode(id, variants, deadline)?;
        let kind = variants.first.command.kind();
        let outcome = driver.submit(id, kind, variants.keys(), frames, deadline)?;
        let mut waiting = Waiting { driver, id, over: false };
        let outcome = outcome.await;
        waiting.over = true;
        outcome.unwrap_or(Err(HostError::ShutDown))
    }

    /// The units, by position in the configuration.
    #[must_use]
    pub fn units(&self) -> Vec<UnitView> {
        self.driver().units()
    }

    /// Waits until `condition` holds of the units' states, `timeout` at most; the units as they were last.
    ///
    /// The condition is looked at whenever a unit's state or reason changes, not at every request.
    ///
    /// # Errors
    /// The units as they are, if the condition did not come to hold.
    pub async fn wait_until(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&[UnitView]) -> bool,
    ) -> Result<Vec<UnitView>, Vec<UnitView>> {
        let mut changes = self.driver().changes.subscribe();
        let held = async {
            loop {
                changes.borrow_and_update();
                let units = self.units();
                if condition(&units) {
                    return units;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(timeout, held).await.map_err(|_| self.units())
    }

    /// The pattern of the instance's master key.
    #[must_use]
    pub fn pattern(&self) -> VerificationPattern {
        self.driver().proofs().current.pattern
    }

    /// The pattern of the master key that is to follow it, while it is being rotated.
    #[must_use]
    pub fn next_pattern(&self) -> Option<VerificationPattern> {
        self.driver().proofs().next.map(|next| next.pattern)
    }

    /// Sets the master keys that units may have, and what they must prove: call it when the header of the instance changes.
    /// Units that have proved a master key that stays legal go on serving.
    pub fn set_proofs(&self, current: MasterKeyProof, next: Option<MasterKeyProof>) {
        self.driver().set_proofs(current, next);
    }

    /// Has a unit re-encipher a key blob that its owner keeps: the same key under the next master key, usable after its
    /// activation. Units do this while their New register is committed.
    ///
    /// # Errors
    /// [`HostError`]; [`HostError::Refused`] with the unit's own reason, such as that New is empty or not committed.
    pub async fn reencipher(&self, blob: &[u8], deadline: Duration) -> Result<ReplyFrame, HostError> {
        self.call(&Command::Reencipher { blob }, deadline).await
    }

    /// Units and retries at this moment.
    #[must_use]
    pub fn snapshot(&self) -> HostSnapshot {
        HostSnapshot { units: self.units(), retries: self.driver().retry_stats() }
    }

    /// The units and how each of them is reached.
    #[must_use]
    pub fn addresses(&self) -> Vec<UnitAddress> {
        let endpoints = self.driver().endpoints();
        let address = |unit: UnitView| {
            let endpoint = endpoints.get(&UnitNumber(unit.number)).cloned()?;
            Some(UnitAddress { number: unit.number, zone: unit.zone, endpoint })
        };
        self.units().into_iter().filter_map(address).collect()
    }

    /// Adds a unit. It serves once it has proved that it holds the master key.
    ///
    /// How many units an instance may have, and in which zones, is checked by [`placement`](crate::placement).
    ///
    /// # Errors
    /// [`AdditionRefused`].
    pub fn add_unit(&self, unit: UnitAddress) -> Result<(), AdditionRefused> {
        self.driver().add_unit(UnitNumber(unit.number), unit.zone, unit.endpoint)
    }

    /// Stops sending commands to a unit; those it has are still answered.
    ///
    /// # Errors
    /// [`DrainRefused`]; `force` drains the last unit in use as well.
    pub fn drain(&self, unit: u16, force: bool) -> Result<(), DrainRefused> {
        self.driver().tell(|state, now| state.cluster.drain(now, UnitNumber(unit), force))
    }

    /// Ends the draining of a unit. It serves again once it has proved that it holds the master key.
    ///
    /// # Errors
    /// [`DrainRefused::UnknownUnit`].
    pub fn resume(&self, unit: u16) -> Result<(), DrainRefused> {
        self.driver().tell(|state, now| state.cluster.resume(now, UnitNumber(unit)))
    }

    /// Waits until a drained unit has no commands outstanding, at most `timeout`; whether that was reached. A unit that
    /// does not exist has none.
    pub async fn wait_until_drained(&self, unit: u16, timeout: Duration) -> bool {
        let drained = async {
            let mut pause = tokio::time::interval(DRAIN_POLL);
            loop {
                pause.tick().await;
                if self.driver().outstanding(UnitNumber(unit)) == 0 {
                    return;
                }
            }
        };
        tokio::time::timeout(timeout, drained).await.is_ok()
    }

    /// Removes a drained unit without outstanding commands and closes its connection.
    ///
    /// `force` removes it in any state; its outstanding commands move to other units as after a lost connection.
    ///
    /// # Errors
    /// [`DrainRefused::UnknownUnit`], [`DrainRefused::NotDrained`].
    pub fn remove_unit(&self, unit: u16, force: bool) -> Result<(), DrainRefused> {
        self.driver().remove_unit(UnitNumber(unit), force)
    }

    /// Ends everything, for every clone: calls under way get [`HostError::ShutDown`], connections are closed.
    pub async fn shutdown(&self) {
        self.driver().stop().shutdown().await;
    }
}

/// Cancels a call that is dropped before its end.
struct Waiting<'a> {
    driver: &'a Arc<Driver>,
    id: RequestId,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.driver.cancel(self.id);
        }
    }
}
