//! Parts of histories, for tests.

use super::history::{Attempt, Kind, Outcome};

/// A request of client 0 for the key `key` that took a millisecond.
pub(super) fn attempt(kind: Kind, end_us: u64, outcome: Outcome) -> Attempt {
    Attempt {
        client: 0,
        operation: 0,
        attempt: 1,
        is_last: true,
        kind,
        region: None,
        key: "key".to_owned(),
        start_us: end_us.saturating_sub(1000),
        end_us,
        outcome,
    }
}

pub(super) fn done() -> Outcome {
    Outcome::Done { revision: None, id: None }
}

pub(super) fn failed() -> Outcome {
    Outcome::NoAnswer { why: "connection refused".to_owned() }
}

pub(super) fn refused(status: u16, retry_after: bool) -> Outcome {
    Outcome::Refused { status, code: String::new(), retry_after }
}
