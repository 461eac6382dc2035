//! How a request may be sent besides once to one unit.

use unit_api::{CommandKind, Pace, Repetition};

/// How a request may be sent besides once to one unit: the facts of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long it usually takes.
    pub pace: Pace,
    /// Whether other units may be asked as well.
    pub repetition: Repetition,
}

impl Policy {
    pub(crate) const fn may_retry(self) -> bool {
        matches!(self.repetition, Repetition::Retry | Repetition::Hedge)
    }

    pub(crate) const fn may_hedge(self) -> bool {
        matches!(self.repetition, Repetition::Hedge)
    }
}

impl From<CommandKind> for Policy {
    fn from(kind: CommandKind) -> Self {
        Self { pace: kind.pace(), repetition: kind.repetition() }
    }
}
