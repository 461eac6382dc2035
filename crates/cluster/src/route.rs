//! Which unit gets a request.

use crate::rng::Rng;
use crate::unit::Unit;
use crate::{Instant, tuning};
use unit_api::MAX_PIPELINED;

/// The units that may get a request now, as a mask: those in use, or if there are none those that are out softly.
///
/// Full units and those of `excluded` are left out.
pub(crate) fn candidates(units: &[Unit], excluded: u64) -> u64 {
    let mask = |takes: fn(&Unit) -> bool| {
        units
            .iter()
            .enumerate()
            .filter(|(_, unit)| unit.is_up() && takes(unit))
            .fold(0, |set, (i, _)| set | bit(i))
    };
    let in_use = mask(|unit| unit.health.is_in_use());
    let usable = if in_use == 0 { mask(|unit| unit.health.is_out_softly()) } else { in_use };
    let full = mask(|unit| unit.outstanding as usize >= MAX_PIPELINED);
    usable & !full & !excluded
}

/// Index of the unit to use.
///
/// The nearest, unless it has more than [`tuning::ZONE_SLACK`] requests more under way than the least loaded; else the
/// least loaded, or above [`tuning::FEW_CANDIDATES`] the better of two at random. Ties go to the unit used longest ago.
/// A warming unit takes part as often as its share says.
pub(crate) fn choose(units: &[Unit], excluded: u64, now: Instant, rng: &mut Rng) -> Option<usize> {
    let all = candidates(units, excluded);
    let mut set = all;
    for (i, unit) in members(units, all) {
        let share = unit.share(now);
        if share < 100 && rng.below(100) >= share {
            set &= !bit(i);
        }
    }
    if set == 0 {
        set = all;
    }
    let best = |set: u64| members(units, set).min_by_key(|(_, unit)| (unit.outstanding, unit.last_used));
    let least = if set.count_ones() > tuning::FEW_CANDIDATES {
        let mut pick = || nth(set, rng.below(u64::from(set.count_ones())));
        best(pick() | pick())?
    } else {
        best(set)?
    };
    let local = members(units, set)
        .filter(|(_, unit)| unit.local)
        .min_by_key(|(_, unit)| (unit.outstanding, unit.last_used))
        .filter(|(_, unit)| unit.outstanding <= least.1.outstanding + tuning::ZONE_SLACK);
    Some(local.unwrap_or(least).0)
}

/// The mask of one unit.
pub(crate) const fn bit(unit: usize) -> u64 {
    1 << (unit % u64::BITS as usize)
}

fn members(units: &[Unit], set: u64) -> impl Iterator<Item = (usize, &Unit)> {
    units.iter().enumerate().filter(move |(i, _)| set & bit(*i) != 0)
}

fn nth(mut set: u64, n: u64) -> u64 {
    for _ in 0..n {
        set &= set.wrapping_sub(1);
    }
    set & set.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::{bit, candidates, choose};
    use crate::rng::Rng;
    use crate::unit::{Link, Unit};
    use crate::{Ejection, FenceReason, Health, Instant, UnitNumber};
    use core::time::Duration;

    fn units(outstanding: &[u32]) -> Vec<Unit> {
        outstanding
            .iter()
            .enumerate()
            .map(|(i, outstanding)| {
                let mut unit = Unit::new(UnitNumber(i as u16), String::new(), false, Instant::START);
                (unit.health, unit.link, unit.outstanding) = (Health::Eligible, Link::Up, *outstanding);
                unit
            })
            .collect()
    }

    fn chosen(units: &[Unit], excluded: u64) -> Option<usize> {
        choose(units, excluded, Instant::START, &mut Rng::new(1))
    }

    #[test]
    fn the_own_zone_is_used_until_it_lags_by_more_than_four() {
        let mut units = units(&[4, 0, 1]);
        units[0].local = true;
        assert_eq!(chosen(&units, 0), Some(0));
        units[0].outstanding = 5;
        assert_eq!(chosen(&units, 0), Some(1));
        assert_eq!(chosen(&units, bit(1)), Some(0));
        assert_eq!(chosen(&units, bit(1) | bit(0)), Some(2));
        assert_eq!(chosen(&units, 0b111), None);
    }

    #[test]
    fn ties_go_to_the_unit_used_longest_ago() {
        let mut units = units(&[2, 2, 2]);
        for (unit, last) in units.iter_mut().zip([7, 3, 5]) {
            unit.last_used = last;
        }
        assert_eq!(chosen(&units, 0), Some(1));
    }

    #[test]
    fn softly_ejected_units_are_used_when_nothing_else_is_left_and_fenced_ones_never() {
        let mut units = units(&[0, 0, 0]);
        units[0].health = Health::Fenced(FenceReason::NoMasterKey);
        units[1].health = Health::Ejected { cause: Ejection::Slow, until: Instant::START };
        assert_eq!(candidates(&units, 0), 0b100);
        units[2].health = Health::Ejected { cause: Ejection::Lost, until: Instant::START };
        assert_eq!(candidates(&units, 0), 0b010);
        units[1].health = Health::Checking;
        assert_eq!(candidates(&units, 0), 0);
    }

    #[test]
    fn a_warming_unit_gets_its_share_and_all_when_it_is_alone() {
        let mut units = units(&[9, 0]);
        units[1].health = Health::Warming { since: Instant::START, ramp: Duration::from_secs(10) };
        let mut rng = Rng::new(3);
        let hits = (0..10_000).filter(|_| choose(&units, 0, Instant::START, &mut rng) == Some(1)).count();
        assert!((800..1200).contains(&hits), "{hits}");
        assert_eq!(chosen(&units, bit(0)), Some(1));
    }

    #[test]
    fn many_candidates_are_compared_by_twos() {
        let mut units = units(&[0; 12]);
        for (unit, outstanding) in units.iter_mut().zip(0..) {
            unit.outstanding = outstanding;
        }
        let mut rng = Rng::new(5);
        let mut hits = [0; 12];
        for _ in 0..12_000 {
            hits[choose(&units, 0, Instant::START, &mut rng).unwrap()] += 1;
        }
        // The best of two among twelve: 23, 21, … 3, 1 of 144.
        assert!((1600..2250).contains(&hits[0]) && hits[11] < 200, "{hits:?}");
    }
}
