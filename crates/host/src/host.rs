//! Calls to whichever unit serves them best.

use crate::call::Frames;
use crate::driver::Driver;
use crate::error::HostError;
use crate::forms::Forms;
use crate::link::ReplyFrame;
use crate::proof::MasterKeyProof;
use crate::view::UnitView;
use cluster::{Cluster, Config, DrainRefused, RequestId, UnitNumber};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use unit_api::{Command, VerificationPattern};

/// Where a unit is.
#[derive(Clone, Debug)]
pub struct UnitAddress {
    /// Its number in the instance, each used once.
    pub number: u16,
    /// Its zone.
    pub zone: String,
    /// The Unix socket it listens on.
    pub socket: PathBuf,
}

/// What a host serves, and with whom.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The host's own zone: units there are used first.
    pub zone: String,
    /// The units of the instance, [`cluster::MAX_UNITS`] at most.
    pub units: Vec<UnitAddress>,
    /// What a unit must show before it serves.
    pub proof: MasterKeyProof,
    /// For spreading load and retries; never for secrets.
    pub seed: u64,
}

/// The units of one instance as one: a call goes to whichever unit serves it best, and to another when that fails.
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
        let HostConfig { zone, units, proof, seed } = config;
        let members = units.iter().map(|unit| (UnitNumber(unit.number), unit.zone.clone())).collect();
        let cluster = Cluster::new(Config { pattern: proof.pattern, next: None, zone, units: members }, seed);
        let sockets = units.into_iter().map(|unit| (UnitNumber(unit.number), unit.socket)).collect();
        let driver = Arc::new(Driver::new(cluster, proof, sockets));
        driver.start();
        Self(Arc::new(Owner(driver)))
    }

    fn driver(&self) -> &Arc<Driver> {
        &self.0.0
    }

    /// Has a unit carry out a command, `deadline` at most. While no unit can serve, the call waits for one.
    ///
    /// [`ReplyFrame::response`] of what is returned is `Ok`: refusals are errors here. Dropping the future gives the
    /// call up.
    ///
    /// # Errors
    /// [`HostError`]; administrative commands are refused unsent.
    pub async fn call(&self, command: &Command<'_>, deadline: Duration) -> Result<ReplyFrame, HostError> {
        self.call_forms(&Forms::of(*command), deadline).await
    }

    /// The same for a command in two forms, while the master key is being rotated: which one is sent is decided by the
    /// master key of the unit that serves it. A unit that turns out to have gone on to the next master key costs no more
    /// than another copy.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_forms(&self, forms: &Forms<'_>, deadline: Duration) -> Result<ReplyFrame, HostError> {
        if let Some(command) = forms.each().find(|command| command.is_administrative()) {
            return Err(HostError::AdministrativeCommand(command.name()));
        }
        let driver = self.driver();
        let id = driver.fresh_request();
        let frames = Frames::encode(id, forms, deadline)?;
        let kind = forms.first.command.kind();
        let outcome = driver.submit(id, kind, forms.keys(), frames, deadline)?;
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

    /// Changes which master keys units may have, and what they must show: to be told when the header of the instance
    /// changes. Units that have shown a master key that stays legal go on serving.
    pub fn set_proofs(&self, current: MasterKeyProof, next: Option<MasterKeyProof>) {
        self.driver().set_proofs(current, next);
    }

    /// Has a unit re-encipher a key blob that is kept outside: the same key under the next master key, which serves once
    /// that is activated. Units do it while their New register is committed.
    ///
    /// # Errors
    /// [`HostError`]; [`HostError::Refused`] with the unit's own reason, such as that New is empty or not committed.
    pub async fn reencipher(&self, blob: &[u8], deadline: Duration) -> Result<ReplyFrame, HostError> {
        self.call(&Command::Reencipher { blob }, deadline).await
    }

    /// Stops giving a unit work; what it has under way goes on.
    ///
    /// # Errors
    /// [`DrainRefused`]; with `force` the last unit in use is drained as well.
    pub fn drain(&self, unit: u16, force: bool) -> Result<(), DrainRefused> {
        self.driver().tell(|state, now| state.cluster.drain(now, UnitNumber(unit), force))
    }

    /// Takes a drained unit back, once it has shown again that it holds the master key.
    ///
    /// # Errors
    /// [`DrainRefused::UnknownUnit`].
    pub fn resume(&self, unit: u16) -> Result<(), DrainRefused> {
        self.driver().tell(|state, now| state.cluster.resume(now, UnitNumber(unit)))
    }

    /// Ends everything, for every clone: calls under way get [`HostError::ShutDown`], connections are closed.
    pub async fn shutdown(&self) {
        self.driver().stop().shutdown().await;
    }
}

/// Gives up a call that is dropped before its end.
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
