//! The way to one unit over its socket.

use host::{LinkError, UnitClient};
use std::path::PathBuf;
use std::time::Duration;
use tke::UnitPort;
use tke::unit::PortError;
use unit_api::{Command, Envelope, Refusal, Response};

/// How long a unit may take over one administrative command.
const PATIENCE: Duration = Duration::from_secs(10);

/// A unit's socket. Each exchange makes a connection of its own: a unit that was started again is found again.
#[derive(Clone, Debug)]
pub struct SocketPort(pub PathBuf);

/// Why there was no administrative answer.
#[derive(Debug, thiserror::Error)]
pub enum SocketPortError {
    /// Nobody answers, or not in time. Unless there was no connection, the command may have been carried out.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The unit did not take the command as one to administration, and did not carry it out.
    #[error("the crypto unit did not take the command")]
    Refused(#[source] Refusal),
    /// The unit answered something else.
    #[error("the crypto unit gave no administrative answer")]
    Answer,
}

impl SocketPort {
    /// Has the unit answer an administrative request: DER there, DER back.
    ///
    /// # Errors
    /// [`SocketPortError`].
    pub async fn administer(&self, request: &[u8]) -> Result<Vec<u8>, SocketPortError> {
        let unit = UnitClient::connect(&self.0).await?;
        let reply = unit.call(&Envelope::plain(Command::Administer { request }), PATIENCE).await?;
        match reply.response() {
            Ok(Response::Administered(response)) => Ok(response.to_vec()),
            Ok(_) => Err(SocketPortError::Answer),
            Err(refusal) => Err(SocketPortError::Refused(refusal)),
        }
    }
}

impl UnitPort for SocketPort {
    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, PortError> {
        Ok(self.administer(request).await?)
    }
}
