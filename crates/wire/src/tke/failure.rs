//! Refusals and failures.

use super::words::words;
use serde::{Deserialize, Serialize};

/// Body of every response that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Message for people.
    pub error: String,
    /// Set if an administrative request was sent to a crypto unit and no response came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

words! {
    /// Effect of a request that failed.
    Outcome: "outcome" {
        /// The crypto unit may have executed the command; query it before sending another.
        Unknown = "unknown",
    }
}
