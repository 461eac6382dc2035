//! The two master-key registers and their transitions.

use crate::master_key::MasterKey;
use unit_api::{NewRegister, UnitError, VerificationPattern};

/// Both registers of a unit: Current (empty or valid), New (empty, full uncommitted or full committed).
///
/// | from | load | generate | commit | activate | clear New | clear Current | re-encipher | data |
/// |---|---|---|---|---|---|---|---|---|
/// | S0 `Empty` | S1 | **S3** | `NewMissing` | `NewMissing` | S0 | S0 | `CurrentMissing` | `WkNotInitialized` |
/// | S1 `Loaded` | `NewNotEmpty` | `NewNotEmpty` | S2 | `NewNotCommitted` | S0 | S1 | `CurrentMissing` | `WkNotInitialized` |
/// | S2 `Approved` | `NewNotEmpty` | `NewNotEmpty` | S2 | S3 | S0 | S2 | `CurrentMissing` | `WkNotInitialized` |
/// | S3 `Ready` | S4 | S4 | `NewMissing` | `NewMissing`, or S3 if the pattern is Current's | S3 | S0 | `NewMissing` | Current |
/// | S4 `RotationLoaded` | `NewNotEmpty` | `NewNotEmpty` | S5 | `NewNotCommitted` | S3 | S1 | `NewNotCommitted` | Current |
/// | S5 `RotationApproved` | `NewNotEmpty` | `NewNotEmpty` | S5 | S3 with New's key | S3 | S2 | allowed | Current |
///
/// Zeroize begins a new life of the domain, in S0. [`crate::administration::decision::decide`] checks signatures and
/// permissions first and has the rest of the table. Commit and activate need the register's pattern, else they are refused
/// with `PatternMismatch`; loading the key of Current is refused with `SameAsCurrent`. A command that would not change the
/// state succeeds, so that an interrupted ceremony over several units can be repeated.
#[derive(Clone)]
pub(crate) enum Registers {
    /// S0: no master key.
    Empty,
    /// S1: a first master key is loaded.
    Loaded {
        /// Loaded, not approved.
        new: MasterKey,
    },
    /// S2: the first master key is approved and waits for activation.
    Approved {
        /// Loaded and approved.
        new: MasterKey,
    },
    /// S3: normal operation.
    Ready {
        /// The master key of the data path.
        current: MasterKey,
    },
    /// S4: rotation; the next master key is loaded.
    RotationLoaded {
        /// The master key of the data path.
        current: MasterKey,
        /// Loaded, not approved.
        new: MasterKey,
    },
    /// S5: rotation; the next master key is approved, and blobs can be re-enciphered.
    RotationApproved {
        /// The master key of the data path.
        current: MasterKey,
        /// Loaded and approved.
        new: MasterKey,
    },
}

/// A command to the registers, with the master key that the engine has made for it.
pub(crate) enum RegisterCommand {
    Load(MasterKey),
    Generate(MasterKey),
    Commit(VerificationPattern),
    Activate(VerificationPattern),
    ClearNew,
    ClearCurrent,
}

impl Registers {
    /// The registers after `command`; pure. The table is at [`Registers`].
    pub(crate) fn after(&self, command: &RegisterCommand) -> Result<Self, UnitError> {
        match command {
            RegisterCommand::Load(key) => self.after_load(key),
            RegisterCommand::Generate(key) => match self {
                Self::Empty => Ok(Self::Ready { current: key.clone() }),
                _ => self.after_load(key),
            },
            RegisterCommand::Commit(pattern) => self.after_commit(pattern),
            RegisterCommand::Activate(pattern) => self.after_activate(pattern),
            RegisterCommand::ClearNew => Ok(match self.current() {
                None => Self::Empty,
                Some(current) => Self::Ready { current: current.clone() },
            }),
            RegisterCommand::ClearCurrent => Ok(match self {
                Self::Empty | Self::Ready { .. } => Self::Empty,
                Self::Loaded { new } | Self::RotationLoaded { new, .. } => Self::Loaded { new: new.clone() },
                Self::Approved { new } | Self::RotationApproved { new, .. } => {
                    Self::Approved { new: new.clone() }
                }
            }),
        }
    }

    /// Checks that New is empty, which load and generate need, before the engine makes a key.
    pub(crate) const fn check_room(&self) -> Result<(), UnitError> {
        match self {
            Self::Empty | Self::Ready { .. } => Ok(()),
            Self::Loaded { .. }
            | Self::Approved { .. }
            | Self::RotationLoaded { .. }
            | Self::RotationApproved { .. } => Err(UnitError::NewNotEmpty),
        }
    }

    /// Checks that a key with this pattern may be loaded into New, before the key is persisted.
    pub(crate) fn check_load(&self, pattern: &VerificationPattern) -> Result<(), UnitError> {
        self.check_room()?;
        match self {
            Self::Ready { current } if current.has_pattern(pattern) => Err(UnitError::SameAsCurrent),
            _ => Ok(()),
        }
    }

    fn after_load(&self, new: &MasterKey) -> Result<Self, UnitError> {
        self.check_load(&new.pattern)?;
        let new = new.clone();
        Ok(match self {
            Self::Ready { current } => Self::RotationLoaded { current: current.clone(), new },
            _ => Self::Loaded { new },
        })
    }

    fn after_commit(&self, pattern: &VerificationPattern) -> Result<Self, UnitError> {
        match self {
            Self::Empty | Self::Ready { .. } => Err(UnitError::NewMissing),
            Self::Loaded { new } | Self::Approved { new } => {
                check_pattern(new, pattern).map(|()| Self::Approved { new: new.clone() })
            }
            Self::RotationLoaded { current, new } | Self::RotationApproved { current, new } => {
                check_pattern(new, pattern)?;
                Ok(Self::RotationApproved { current: current.clone(), new: new.clone() })
            }
        }
    }

    fn after_activate(&self, pattern: &VerificationPattern) -> Result<Self, UnitError> {
        match self {
            Self::Empty => Err(UnitError::NewMissing),
            Self::Loaded { .. } | Self::RotationLoaded { .. } => Err(UnitError::NewNotCommitted),
            Self::Ready { current } if current.has_pattern(pattern) => Ok(self.clone()),
            Self::Ready { .. } => Err(UnitError::NewMissing),
            Self::Approved { new } | Self::RotationApproved { new, .. } => {
                check_pattern(new, pattern).map(|()| Self::Ready { current: new.clone() })
            }
        }
    }

    /// The master key of the data path.
    pub(crate) const fn serving(&self) -> Result<&MasterKey, UnitError> {
        match self.current() {
            Some(current) => Ok(current),
            None => Err(UnitError::WkNotInitialized),
        }
    }

    /// The master keys from which and to which blobs are re-enciphered.
    pub(crate) const fn re_enciphering(&self) -> Result<(&MasterKey, &MasterKey), UnitError> {
        match self {
            Self::Empty | Self::Loaded { .. } | Self::Approved { .. } => Err(UnitError::CurrentMissing),
            Self::Ready { .. } => Err(UnitError::NewMissing),
            Self::RotationLoaded { .. } => Err(UnitError::NewNotCommitted),
            Self::RotationApproved { current, new } => Ok((current, new)),
        }
    }

    pub(crate) const fn current(&self) -> Option<&MasterKey> {
        match self {
            Self::Empty | Self::Loaded { .. } | Self::Approved { .. } => None,
            Self::Ready { current }
            | Self::RotationLoaded { current, .. }
            | Self::RotationApproved { current, .. } => Some(current),
        }
    }

    pub(crate) const fn new_key(&self) -> Option<&MasterKey> {
        match self {
            Self::Empty | Self::Ready { .. } => None,
            Self::Loaded { new }
            | Self::Approved { new }
            | Self::RotationLoaded { new, .. }
            | Self::RotationApproved { new, .. } => Some(new),
        }
    }

    /// The master keys in the registers, at most two.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &MasterKey> {
        self.current().into_iter().chain(self.new_key())
    }

    /// The master keys in these registers that `next` no longer holds.
    pub(crate) fn keys_removed_in(&self, next: &Self) -> impl Iterator<Item = &MasterKey> {
        self.keys().filter(|key| !next.keys().any(|kept| kept.handle == key.handle))
    }

    /// The state of New in a status.
    pub(crate) const fn shown_new(&self) -> NewRegister {
        match self {
            Self::Empty | Self::Ready { .. } => NewRegister::Empty,
            Self::Loaded { new } | Self::RotationLoaded { new, .. } => {
                NewRegister::FullUncommitted(new.pattern)
            }
            Self::Approved { new } | Self::RotationApproved { new, .. } => {
                NewRegister::FullCommitted(new.pattern)
            }
        }
    }
}

fn check_pattern(key: &MasterKey, pattern: &VerificationPattern) -> Result<(), UnitError> {
    if key.has_pattern(pattern) { Ok(()) } else { Err(UnitError::PatternMismatch) }
}

#[cfg(test)]
mod tests;
