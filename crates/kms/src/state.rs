//! What may be done to a key in which state.

use std::fmt;
use std::time::Duration;

use crate::{KeyKind, KeyState};

/// What a caller asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read it, without material.
    Read,
    /// Read the material of a standard key.
    ReadPayload,
    /// Wrap a data key.
    Wrap,
    /// Unwrap a data key.
    Unwrap,
    /// Wrap a wrapped data key anew.
    Rewrap,
    /// Make a new version.
    Rotate,
    /// Suspend it.
    Disable,
    /// Make it active again.
    Enable,
    /// Destroy it.
    Delete,
    /// Bring it back.
    Restore,
    /// Remove it for good.
    Purge,
    /// List its versions.
    ListVersions,
}

impl Action {
    /// Every action, for tables and tests.
    pub const ALL: [Self; 12] = [
        Self::Read,
        Self::ReadPayload,
        Self::Wrap,
        Self::Unwrap,
        Self::Rewrap,
        Self::Rotate,
        Self::Disable,
        Self::Enable,
        Self::Delete,
        Self::Restore,
        Self::Purge,
        Self::ListVersions,
    ];

    /// The word the API has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read | Self::ReadPayload => "read",
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
            Self::Rewrap => "rewrap",
            Self::Rotate => "rotate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Purge => "purge",
            Self::ListVersions => "list versions",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a state does not permit an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Only root keys have it.
    RootKeyRequired,
    /// The key is destroyed.
    Deleted,
    /// Not in this state.
    WrongState,
}

/// Whether a key of this kind, in this state, permits an action.
///
/// | action | root key in | standard key in |
/// |---|---|---|
/// | read | all | all |
/// | read payload | none | all but 5 |
/// | wrap | 1 | never |
/// | unwrap, rewrap | 1 3 | never |
/// | rotate | 1 | never |
/// | disable | 1 | never |
/// | enable | 2 | never |
/// | delete | 1 2 3 | 1 2 3 |
/// | restore, purge | 5 | 5 |
/// | list versions | 1 | 1 |
///
/// That a root key is needed is said before anything about its state, and that it is destroyed before any other
/// state. Restoring, purging and listing are not refused because a key is destroyed, but because of its state.
///
/// Source: Key Protect's documentation of key states, with the rotation rule of Hyper Protect Crypto Services.
pub(crate) const fn permit(kind: KeyKind, state: KeyState, action: Action) -> Result<(), Denial> {
    use KeyState::{Active, Deactivated, Destroyed, Suspended};
    let (permitted, root_only) = match action {
        Action::Read => (true, false),
        Action::ReadPayload => (matches!(kind, KeyKind::Standard) && !matches!(state, Destroyed), false),
        Action::Wrap | Action::Rotate | Action::Disable => (matches!(state, Active), true),
        Action::Unwrap | Action::Rewrap => (matches!(state, Active | Deactivated), true),
        Action::Enable => (matches!(state, Suspended), true),
        Action::Delete => (matches!(state, Active | Suspended | Deactivated), false),
        Action::Restore | Action::Purge => (matches!(state, Destroyed), false),
        Action::ListVersions => (matches!(state, Active), false),
    };
    if root_only && matches!(kind, KeyKind::Standard) {
        Err(Denial::RootKeyRequired)
    } else if permitted {
        Ok(())
    } else if matches!(state, Destroyed) && !matches!(action, Action::ListVersions) {
        Err(Denial::Deleted)
    } else {
        Err(Denial::WrongState)
    }
}

/// The lengths of the timers, measured by the service's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// From any lifecycle action to an enable or a restore.
    pub lifecycle_pause: Duration,
    /// From one rotation to the next; the first is free.
    pub rotation_interval: Duration,
    /// From a deletion to the first moment of a purge.
    pub purge_after: Duration,
    /// From a deletion to the last moment of a restore.
    pub restore_within: Duration,
    /// From a deletion to the moment the key is gone by itself.
    pub purged_after: Duration,
}

impl Timers {
    /// As the service has them: 30 s, 1 h, 4 h, 30 days, 90 days.
    pub const STANDARD: Self = Self {
        lifecycle_pause: Duration::from_secs(30),
        rotation_interval: Duration::from_secs(3600),
        purge_after: Duration::from_secs(4 * 3600),
        restore_within: Duration::from_secs(30 * 86_400),
        purged_after: Duration::from_secs(90 * 86_400),
    };

    /// Without the three that make a caller wait; for fast tests of clients.
    pub const UNGUARDED: Self = Self {
        lifecycle_pause: Duration::ZERO,
        rotation_interval: Duration::ZERO,
        purge_after: Duration::ZERO,
        ..Self::STANDARD
    };
}

#[cfg(test)]
mod tests {
    use super::{Action, Denial, permit};
    use crate::{KeyKind, KeyState};

    /// The table once more, by number and in another form: `+` permitted, `r` root key required, `d` deleted,
    /// `-` wrong state; columns are the states 0 1 2 3 5.
    const ROOT: [(Action, &str); 12] = [
        (Action::Read, "+++++"),
        (Action::ReadPayload, "----d"),
        (Action::Wrap, "-+--d"),
        (Action::Unwrap, "-+-+d"),
        (Action::Rewrap, "-+-+d"),
        (Action::Rotate, "-+--d"),
        (Action::Disable, "-+--d"),
        (Action::Enable, "--+-d"),
        (Action::Delete, "-+++d"),
        (Action::Restore, "----+"),
        (Action::Purge, "----+"),
        (Action::ListVersions, "-+---"),
    ];
    const STANDARD: [(Action, &str); 12] = [
        (Action::Read, "+++++"),
        (Action::ReadPayload, "++++d"),
        (Action::Wrap, "rrrrr"),
        (Action::Unwrap, "rrrrr"),
        (Action::Rewrap, "rrrrr"),
        (Action::Rotate, "rrrrr"),
        (Action::Disable, "rrrrr"),
        (Action::Enable, "rrrrr"),
        (Action::Delete, "-+++d"),
        (Action::Restore, "----+"),
        (Action::Purge, "----+"),
        (Action::ListVersions, "-+---"),
    ];

    #[test]
    fn exhaustive_every_action_in_every_state() {
        let mut walked = 0;
        for (kind, table) in [(KeyKind::Root, ROOT), (KeyKind::Standard, STANDARD)] {
            assert_eq!(table.map(|(action, _)| action), Action::ALL);
            for (action, row) in table {
                for (state, expected) in KeyState::ALL.into_iter().zip(row.chars()) {
                    let expected = match expected {
                        '+' => Ok(()),
                        'r' => Err(Denial::RootKeyRequired),
                        'd' => Err(Denial::Deleted),
                        _ => Err(Denial::WrongState),
                    };
                    assert_eq!(permit(kind, state, action), expected, "{kind:?} {state:?} {action}");
                    walked += 1;
                }
            }
        }
        assert_eq!(walked, 2 * 12 * 5);
    }
}
