//! Rights to write.

use core::fmt;

/// A region's part in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The region that an instance belongs to.
    Home,
    /// The region that its data are replicated to.
    Standby,
}

/// A right to write. A higher epoch ends all lower ones.
///
/// Odd epochs belong to the home, even ones to the standby, so that the two can never claim the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// More changes of the right to write than any pair sees while one of its parties is away.
const MAX_STEP: u64 = 1 << 32;

impl Side {
    /// The partner.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Home => Self::Standby,
            Self::Standby => Self::Home,
        }
    }
}

/// `home` or `standby`.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Home => "home",
            Self::Standby => "standby",
        })
    }
}

impl Epoch {
    /// The first: an instance begins at home.
    pub const FIRST: Self = Self(1);

    /// The epoch with this number; the first one for 0, which is none.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        if number == 0 { Self::FIRST } else { Self(number) }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whose right it is.
    #[must_use]
    pub const fn owner(self) -> Side {
        if self.0 % 2 == 1 { Side::Home } else { Side::Standby }
    }

    /// Whether a higher epoch than `self` can be another region's by honest means. An epoch grows by one or two with each
    /// change of the right to write; one that is far beyond is damaged or invented, and would use the numbers up.
    #[must_use]
    pub const fn may_become(self, other: Self) -> bool {
        other.0.saturating_sub(self.0) <= MAX_STEP
    }

    /// The next higher epoch of a side.
    #[must_use]
    pub fn next_of(self, side: Side) -> Self {
        let next = Self(self.0.saturating_add(1));
        if next.owner() == side { next } else { Self(self.0.saturating_add(2)) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Epoch, Side};

    #[test]
    fn epochs_alternate_and_never_belong_to_both() {
        assert_eq!(Epoch::FIRST.owner(), Side::Home);
        let promoted = Epoch::FIRST.next_of(Side::Standby);
        assert_eq!((promoted.number(), promoted.owner()), (2, Side::Standby));
        assert_eq!(promoted.next_of(Side::Standby).number(), 4);
        assert_eq!(promoted.next_of(Side::Home).number(), 3);
    }

    #[test]
    fn an_epoch_far_beyond_is_not_believed() {
        let known = Epoch::from_number(7);
        for number in [1, 7, 8, 7 + (1 << 32)] {
            assert!(known.may_become(Epoch::from_number(number)), "{number}");
        }
        for number in [8 + (1 << 32), u64::MAX - 1, u64::MAX] {
            assert!(!known.may_become(Epoch::from_number(number)), "{number}");
        }
    }
}
