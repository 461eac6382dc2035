//! Starting a unit's process.

use super::order_pipe::OrderPipe;
use super::{Supervisor, SupervisorError};
use crate::region::place::Place;
use crate::unit::{Announced, Announcement};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use unit_api::UnitId;

/// How long a unit may take from its start to its announcement.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How the start of a unit's process ended.
pub(in crate::region) enum Launched {
    Serves(Box<Started>),
    Down(Down),
}

impl Launched {
    pub(super) fn id(&self) -> UnitId {
        match self {
            Self::Serves(started) => started.id,
            Self::Down(down) => down.id,
        }
    }
}

/// A process that serves.
pub(in crate::region) struct Started {
    pub(super) child: Child,
    pub(super) orders: OrderPipe,
    pub(super) id: UnitId,
    /// The unit's description of its engine.
    pub(super) engine: String,
}

/// A process that could not reach its unit's keys and has ended.
pub(in crate::region) struct Down {
    pub(super) id: UnitId,
    pub(super) reason: String,
    /// Whether to try again without an operator.
    pub(super) is_retryable: bool,
}

impl Supervisor {
    /// Starts a unit's process and waits for its announcement.
    pub(super) async fn launch(self, place: Place) -> Result<Launched, SupervisorError> {
        let failed = |source| SupervisorError::Process { unit: place.number, what: "started", source };
        let mut child = Command::new(&self.program)
            .args(["unit", "serve"])
            .args(["--supervised-as", &place.number.to_string()])
            .args(["--serial", &place.serial()])
            .args(["--domain", &place.location.domain.to_string()])
            .args(["--instance", &self.instance.to_string()])
            .args(["--engine", &self.engines.of(&place).to_string()])
            .arg("--factory")
            .arg(self.data.factory_dir())
            .arg("--state")
            .arg(self.data.unit_dir(&place))
            .arg("--socket")
            .arg(self.data.unit_socket(place.number))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A process group of its own: Ctrl-C reaches the region alone, which ends its units in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let orders = child.stdin.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let output = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let mut answers = BufReader::new(output).lines();
        let first = match tokio::time::timeout(START_TIMEOUT, answers.next_line()).await {
            Ok(first) => first.map_err(failed)?,
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        let announcement = first.as_deref().and_then(|line| line.parse::<Announcement>().ok());
        let expected = |found: &Announcement| found.domain_index == place.location.domain;
        let Some(Announcement { unit: id, state, .. }) = announcement.filter(expected) else {
            return Err(failed(io::Error::other(
                "it ended before it served; its message is in the log of the region",
            )));
        };
        Ok(match state {
            Announced::Ready(engine) => {
                let orders = OrderPipe::new(orders, answers);
                Launched::Serves(Box::new(Started { child, orders, id, engine }))
            }
            Announced::Away(reason) => Launched::Down(Down { id, reason, is_retryable: true }),
            Announced::Stuck(reason) => Launched::Down(Down { id, reason, is_retryable: false }),
        })
    }
}
