//! The actions that each state of a key permits.

use std::fmt;
use std::time::Duration;

use crate::{KeyKind, KeyState};

/// An action on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// Read the key without its material.
    Read,
    /// Read the material of a standard key.
    ReadPayload,
    /// Wrap a data key.
    Wrap,
    /// Unwrap a data key.
    Unwrap,
    /// Wrap a wrapped data key again under the latest version.
    Rewrap,
    /// Make a new version.
    Rotate,
    /// Suspend the key.
    Disable,
    /// Make a suspended key active.
    Enable,
    /// Destroy the key.
    Delete,
    /// Restore a destroyed key.
    Restore,
    /// Remove a destroyed key.
    Purge,
    /// List the versions.
    ListVersions,
}

impl KeyAction {
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

    /// The action's name in messages.
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

impl fmt::Display for KeyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reason why an action is not permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The action is for root keys only.
    RootKeyRequired,
    /// The key is destroyed.
    Deleted,
    /// The state does not permit the action.
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
/// The kind is checked before the state, and `Destroyed` before other states. Restore, purge and list are never refused
/// because the key is destroyed, only because of the state that they need.
///
/// Source: Key Protect's documentation of key states, with the rotation rule of Hyper Protect Crypto Services.
pub(crate) const fn permit(kind: KeyKind, state: KeyState, action: KeyAction) -> Result<(), Denial> {
    use KeyState::{Active, Deactivated, Destroyed, Suspended};
    let (permitted, root_only) = match action {
        KeyAction::Read => (true, false),
        KeyAction::ReadPayload => (matches!(kind, KeyKind::Standard) && !matches!(state, Destroyed), false),
        KeyAction::Wrap | KeyAction::Rotate | KeyAction::Disable => (matches!(state, Active), true),
        KeyAction::Unwrap | KeyAction::Rewrap => (matches!(state, Active | Deactivated), true),
        KeyAction::Enable => (matches!(state, Suspended), true),
        KeyAction::Delete => (matches!(state, Active | Suspended | Deactivated), false),
        KeyAction::Restore | KeyAction::Purge => (matches!(state, Destroyed), false),
        KeyAction::ListVersions => (matches!(state, Active), false),
    };
    if root_only && matches!(kind, KeyKind::Standard) {
        Err(Denial::RootKeyRequired)
    } else if permitted {
        Ok(())
    } else if matches!(state, Destroyed) && !matches!(action, KeyAction::ListVersions) {
        Err(Denial::Deleted)
    } else {
        Err(Denial::WrongState)
    }
}

/// Durations between actions, by the service's clock. To change one, start from [`Timers::STANDARD`] and set its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timers {
    /// Shortest time from a lifecycle action to an enable or a restore.
    pub lifecycle_pause: Duration,
    /// Shortest time from one rotation to the next.
    pub rotation_interval: Duration,
    /// Shortest time from a deletion to a purge.
    pub purge_after: Duration,
    /// Longest time from a deletion to a restore.
    pub restore_within: Duration,
    /// Time from a deletion until the service purges the key.
    pub purged_after: Duration,
}

impl Timers {
    /// The durations of Key Protect: 30 s, 1 h, 4 h, 30 days, 90 days.
    pub const STANDARD: Self = Self {
        lifecycle_pause: Duration::from_secs(30),
        rotation_interval: Duration::from_secs(3600),
        purge_after: Duration::from_secs(4 * 3600),
        restore_within: Duration::from_secs(30 * 86_400),
        purged_after: Duration::from_secs(90 * 86_400),
    };

    /// Without the three minimum durations, for fast tests of clients.
    pub const UNGUARDED: Self = Self {
        lifecycle_pause: Duration::ZERO,
        rotation_interval: Duration::ZERO,
        purge_after: Duration::ZERO,
        ..Self::STANDARD
    };
}

impl Default for Timers {
    fn default() -> Self {
        Self::STANDARD
    }
}

#[cfg(test)]
mod tests {
    use super::{Denial, KeyAction, permit};
    use crate::{KeyKind, KeyState};

    /// The table once more, by number and in another form: `+` permitted, `r` root key required, `d` deleted,
    /// `-` wrong state; columns are the states 0 1 2 3 5.
    const ROOT: [(KeyAction, &str); 12] = [
        (KeyAction::Read, "+++++"),
        (KeyAction::ReadPayload, "----d"),
        (KeyAction::Wrap, "-+--d"),
        (KeyAction::Unwrap, "-+-+d"),
        (KeyAction::Rewrap, "-+-+d"),
        (KeyAction::Rotate, "-+--d"),
        (KeyAction::Disable, "-+--d"),
        (KeyAction::Enable, "--+-d"),
        (KeyAction::Delete, "-+++d"),
        (KeyAction::Restore, "----+"),
        (KeyAction::Purge, "----+"),
        (KeyAction::ListVersions, "-+---"),
    ];
    const STANDARD: [(KeyAction, &str); 12] = [
        (KeyAction::Read, "+++++"),
        (KeyAction::ReadPayload, "++++d"),
        (KeyAction::Wrap, "rrrrr"),
        (KeyAction::Unwrap, "rrrrr"),
        (KeyAction::Rewrap, "rrrrr"),
        (KeyAction::Rotate, "rrrrr"),
        (KeyAction::Disable, "rrrrr"),
        (KeyAction::Enable, "rrrrr"),
        (KeyAction::Delete, "-+++d"),
        (KeyAction::Restore, "----+"),
        (KeyAction::Purge, "----+"),
        (KeyAction::ListVersions, "-+---"),
    ];

    #[test]
    fn exhaustive_every_action_in_every_state() {
        let mut walked = 0;
        for (kind, table) in [(KeyKind::Root, ROOT), (KeyKind::Standard, STANDARD)] {
            assert_eq!(table.map(|(action, _)| action), KeyAction::ALL);
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
