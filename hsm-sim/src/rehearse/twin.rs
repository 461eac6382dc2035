//! A second simulator beside the first one: a region that knows nothing of the other, and can be killed and started again.

use super::client::Endpoint;
use super::simulator::{Simulator, SimulatorError};
use crate::control::ControlError;
use std::path::PathBuf;
use tokio::sync::Mutex;

/// A simulator that can be killed and started again.
pub(super) struct Twin {
    /// Its address, which is another one after a start.
    pub(super) endpoint: Endpoint,
    state: Mutex<State>,
    arguments: Vec<String>,
    log: PathBuf,
}

enum State {
    Runs(Box<Simulator>),
    /// It was killed; its data are in this folder.
    Killed(tempfile::TempDir),
    Stopped,
}

impl Twin {
    pub(super) async fn start(arguments: Vec<String>, log: PathBuf) -> Result<Self, SimulatorError> {
        let simulator = Simulator::start(&arguments, &log).await?;
        let endpoint = Endpoint::of(&simulator.ready);
        Ok(Self { endpoint, state: Mutex::new(State::Runs(Box::new(simulator))), arguments, log })
    }

    /// Every process of it that is known.
    pub(super) async fn pids(&self) -> Result<Vec<u32>, ControlError> {
        match &*self.state.lock().await {
            State::Runs(simulator) => {
                let units = simulator.control.status().await?.units;
                Ok(units.iter().filter_map(|unit| unit.pid).chain(simulator.pid()).collect())
            }
            State::Killed(_) | State::Stopped => Ok(Vec::new()),
        }
    }

    /// Kills it (SIGKILL). Its data stay.
    pub(super) async fn kill(&self) {
        let mut state = self.state.lock().await;
        *state = match std::mem::replace(&mut *state, State::Stopped) {
            State::Runs(simulator) => simulator.kill().await.map_or(State::Stopped, State::Killed),
            other => other,
        };
    }

    /// Starts it again on its data, at another address.
    pub(super) async fn start_again(&self) -> Result<(), SimulatorError> {
        let mut state = self.state.lock().await;
        *state = match std::mem::replace(&mut *state, State::Stopped) {
            State::Killed(folder) => {
                let simulator = Simulator::start_in(folder, &self.arguments, &self.log).await?;
                self.endpoint.move_to(&simulator.ready);
                State::Runs(Box::new(simulator))
            }
            other => other,
        };
        Ok(())
    }

    /// Stops it in order.
    pub(super) async fn stop(self) {
        if let State::Runs(simulator) = self.state.into_inner() {
            simulator.stop().await;
        }
    }
}
