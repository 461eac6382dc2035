//! `POST /v1/tke/{instance}/hsms/{hsm_id}`: one administrative request to one crypto unit.

use super::Der;
use serde::{Deserialize, Serialize};

/// Body of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardRequest {
    /// DER of an administrative request.
    pub request: Der,
}

/// Body of the response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardResponse {
    /// DER of the unit's response, signed by its module whether the command was executed or refused.
    pub response: Der,
}
