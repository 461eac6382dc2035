//! Administrative requests to one unit.

use host::{Endpoint, LinkError, UnitClient};
use server::tke::ForwardError;
use std::time::Duration;
use unit_api::{Command, Envelope, Response};

/// How long a unit may take over one administrative request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the DER of an administrative request to a unit; returns the DER of its response.
///
/// Every call makes a connection of its own, so that a unit that was restarted is reached again.
///
/// # Errors
/// [`ForwardError`]; [`ForwardError::may_have_executed`] says whether the unit may have executed the request.
pub async fn administer(endpoint: &Endpoint, request: &[u8]) -> Result<Vec<u8>, ForwardError> {
    let unit = UnitClient::connect(endpoint.clone()).await.map_err(forward_error)?;
    let envelope = Envelope::plain(Command::Administer { request });
    let reply = unit.call(&envelope, PATIENCE).await.map_err(forward_error)?;
    match reply.response() {
        Ok(Response::Administered(response)) => Ok(response.to_vec()),
        Ok(_) => Err(ForwardError::UnexpectedResponse),
        Err(refusal) => Err(ForwardError::Refused(refusal)),
    }
}

fn forward_error(error: LinkError) -> ForwardError {
    match error {
        LinkError::Connect { .. } => ForwardError::Unreachable(Box::new(error)),
        LinkError::RequestTooLong => ForwardError::TooLong,
        LinkError::DeadlineExceeded(_) => ForwardError::DeadlineExceeded(Box::new(error)),
        // Whatever else the link may report comes after the request was sent.
        _ => ForwardError::Lost(Box::new(error)),
    }
}
