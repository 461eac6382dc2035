//! The connection to one unit over its socket.

use std::path::PathBuf;
use tke::UnitPort;
use tke::unit::PortError;

/// A unit's socket. Each exchange makes a connection of its own, so that a unit that was restarted is reached again.
#[derive(Clone, Debug)]
pub struct SocketPort(pub PathBuf);

impl UnitPort for SocketPort {
    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, PortError> {
        Ok(node::administer(&self.0.as_path().into(), request).await?)
    }
}
