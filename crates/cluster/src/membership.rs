//! Units that join and leave while requests run.

use crate::health::HealthEvent;
use crate::request::RetryCost;
use crate::unit::{Link, Unit};
use crate::{Action, Cluster, Health, Instant, MAX_UNITS, UnitNumber, route};
use core::fmt;

/// Why a unit may not be drained, resumed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainRefused {
    /// No unit has this number.
    UnknownUnit,
    /// No other unit is in use.
    LastUnit,
    /// The unit was not drained, or still has requests outstanding.
    NotDrained,
}

/// Why a unit cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdditionRefused {
    /// Another unit has this number.
    NumberInUse,
    /// The cluster has [`MAX_UNITS`] units.
    TooManyUnits,
}

impl fmt::Display for DrainRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownUnit => "no unit has this number",
            Self::LastUnit => "no other unit is in use",
            Self::NotDrained => "the unit is not drained",
        })
    }
}

impl core::error::Error for DrainRefused {}

impl fmt::Display for AdditionRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NumberInUse => f.write_str("another unit has this number"),
            Self::TooManyUnits => write!(f, "a cluster has at most {MAX_UNITS} units"),
        }
    }
}

impl core::error::Error for AdditionRefused {}

impl Cluster {
    /// Adds a unit. It gets requests once it is connected and has proved that it holds the master key.
    ///
    /// # Errors
    /// [`AdditionRefused`].
    pub fn add_unit(
        &mut self,
        now: Instant,
        number: UnitNumber,
        zone: String,
    ) -> Result<(), AdditionRefused> {
        self.check_addition(number)?;
        let local = zone == self.zone;
        self.units.push(Unit::new(number, zone, local, now));
        self.changes += 1;
        self.settle(now);
        Ok(())
    }

    /// Whether a unit with this number can be added.
    ///
    /// # Errors
    /// [`AdditionRefused`].
    pub fn check_addition(&self, number: UnitNumber) -> Result<(), AdditionRefused> {
        if self.index(number).is_some() {
            return Err(AdditionRefused::NumberInUse);
        }
        if self.units.len() >= MAX_UNITS {
            return Err(AdditionRefused::TooManyUnits);
        }
        Ok(())
    }

    /// Stops sending requests to a unit; those it has are still answered.
    ///
    /// # Errors
    /// [`DrainRefused`]; `force` drains the last unit in use as well.
    pub fn drain(&mut self, now: Instant, unit: UnitNumber, force: bool) -> Result<(), DrainRefused> {
        let at = self.index(unit).ok_or(DrainRefused::UnknownUnit)?;
        if !force && !self.others_in_use(at) {
            return Err(DrainRefused::LastUnit);
        }
        self.change(now, at, &HealthEvent::Drained);
        Ok(())
    }

    /// Ends the draining of a unit. It gets requests again once it has proved that it holds the master key.
    ///
    /// # Errors
    /// [`DrainRefused::UnknownUnit`].
    pub fn resume(&mut self, now: Instant, unit: UnitNumber) -> Result<(), DrainRefused> {
        let at = self.index(unit).ok_or(DrainRefused::UnknownUnit)?;
        if self.change(now, at, &HealthEvent::Resumed)
            && let Some(unit) = self.units.get_mut(at)
        {
            unit.talk_at(now);
        }
        self.settle(now);
        Ok(())
    }

    /// Removes a drained unit without outstanding requests.
    ///
    /// `force` removes it in any state; requests outstanding there move to other units as after a lost connection.
    ///
    /// # Errors
    /// [`DrainRefused::UnknownUnit`], [`DrainRefused::NotDrained`].
    pub fn remove_unit(&mut self, now: Instant, number: UnitNumber, force: bool) -> Result<(), DrainRefused> {
        let at = self.index(number).ok_or(DrainRefused::UnknownUnit)?;
        let drained = |unit: &Unit| matches!(unit.health, Health::Draining) && unit.outstanding == 0;
        if !force && !self.units.get(at).is_some_and(drained) {
            return Err(DrainRefused::NotDrained);
        }
        self.change(now, at, &HealthEvent::Drained);
        self.take_back(now, at, &[], RetryCost::Free);
        self.actions.retain(|action| action.unit() != Some(number));
        let connected = self.units.get(at).is_some_and(|unit| !matches!(unit.link, Link::Down { .. }));
        if connected {
            self.actions.push_back(Action::Disconnect { unit: number });
        }
        self.units.remove(at);
        for request in self.requests.values_mut() {
            request.tried = without_position(request.tried, at);
            request.moved_on = without_position(request.moved_on, at);
            for copy in request.tries.iter_mut().filter(|copy| copy.unit > at) {
                copy.unit -= 1;
            }
        }
        self.changes += 1;
        self.settle(now);
        Ok(())
    }
}

/// The mask with the bit at this position taken out, and the bits above it moved down.
const fn without_position(mask: u64, at: usize) -> u64 {
    let below = route::bit(at) - 1;
    (mask & below) | ((mask >> 1) & !below)
}

#[cfg(test)]
mod tests {
    use super::without_position;

    #[test]
    fn a_removed_position_moves_the_higher_ones_down() {
        assert_eq!(without_position(0b1101, 1), 0b111);
        assert_eq!(without_position(0b1101, 0), 0b110);
        assert_eq!(without_position(0b1101, 3), 0b101);
        assert_eq!(without_position(u64::MAX, 63), u64::MAX >> 1);
        assert_eq!(without_position(1 << 63, 0), 1 << 62);
    }
}
