//! Rules for how many operational units an instance has, and in which zones.
//!
//! Source: IBM Hyper Protect Crypto Services documentation, "Adding or removing crypto units": two operational units by
//! default, at most three, in different availability zones of one region, and as many failover units as operational
//! units at most.

use core::fmt;

/// Operational units of an instance, by default and at least.
pub const MIN_OPERATIONAL: usize = 2;
/// Operational units of an instance, at most: one in each zone of a region.
pub const MAX_OPERATIONAL: usize = 3;

/// Why a unit may not be added to or removed from an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// The instance has [`MAX_OPERATIONAL`] operational units.
    TooMany,
    /// Another operational unit is in this zone.
    ZoneOccupied {
        /// Zone in question.
        zone: String,
        /// Number of the unit there.
        unit: u16,
    },
    /// [`MIN_OPERATIONAL`] operational units would not be left.
    TooFew,
    /// Fewer operational units than failover units would be left.
    BelowFailover {
        /// Number of failover units.
        failover: usize,
    },
    /// No operational unit has this number.
    UnknownUnit,
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "an instance has at most {MAX_OPERATIONAL} operational units"),
            Self::ZoneOccupied { zone, unit } => {
                write!(
                    f,
                    "zone {zone} has operational unit {unit}; each operational unit has a zone of its own"
                )
            }
            Self::TooFew => write!(f, "an instance has at least {MIN_OPERATIONAL} operational units"),
            Self::BelowFailover { failover } => {
                write!(
                    f,
                    "an instance has at least as many operational as failover units, of which it has {failover}"
                )
            }
            Self::UnknownUnit => f.write_str("no operational unit has this number"),
        }
    }
}

impl core::error::Error for PlacementError {}

/// Checks that an operational unit may be added in `zone` beside the `operational` ones, given as number and zone.
///
/// # Errors
/// [`PlacementError::TooMany`], [`PlacementError::ZoneOccupied`].
pub fn check_addition(operational: &[(u16, &str)], zone: &str) -> Result<(), PlacementError> {
    if operational.len() >= MAX_OPERATIONAL {
        return Err(PlacementError::TooMany);
    }
    match operational.iter().find(|(_, occupied)| *occupied == zone) {
        Some((unit, _)) => Err(PlacementError::ZoneOccupied { zone: zone.to_owned(), unit: *unit }),
        None => Ok(()),
    }
}

/// Checks that operational unit `number` may be removed from the `operational` ones beside `failover` failover units.
///
/// # Errors
/// [`PlacementError::UnknownUnit`], [`PlacementError::TooFew`], [`PlacementError::BelowFailover`].
pub fn check_removal(
    operational: &[(u16, &str)],
    failover: usize,
    number: u16,
) -> Result<(), PlacementError> {
    if !operational.iter().any(|(unit, _)| *unit == number) {
        return Err(PlacementError::UnknownUnit);
    }
    match operational.len() - 1 {
        left if left < MIN_OPERATIONAL => Err(PlacementError::TooFew),
        left if left < failover => Err(PlacementError::BelowFailover { failover }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{PlacementError, check_addition, check_removal};

    const TWO: [(u16, &str); 2] = [(1, "az1"), (2, "az2")];
    const THREE: [(u16, &str); 3] = [(1, "az1"), (2, "az2"), (4, "az3")];

    #[test]
    fn a_third_unit_needs_a_free_zone_and_there_is_no_fourth() {
        assert_eq!(check_addition(&TWO, "az3"), Ok(()));
        let occupied = PlacementError::ZoneOccupied { zone: "az2".to_owned(), unit: 2 };
        assert_eq!(check_addition(&TWO, "az2"), Err(occupied));
        assert_eq!(check_addition(&THREE, "az4"), Err(PlacementError::TooMany));
    }

    #[test]
    fn two_units_stay_and_no_fewer_than_failover_units() {
        assert_eq!(check_removal(&THREE, 2, 4), Ok(()));
        assert_eq!(check_removal(&TWO, 0, 1), Err(PlacementError::TooFew));
        assert_eq!(check_removal(&THREE, 3, 1), Err(PlacementError::BelowFailover { failover: 3 }));
        assert_eq!(check_removal(&THREE, 0, 3), Err(PlacementError::UnknownUnit));
    }
}
