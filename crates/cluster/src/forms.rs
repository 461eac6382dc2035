//! Which master keys are legal, and which form of a request is for which unit.

use unit_api::{VerificationPattern, Wkid};

/// The forms that a request brings: the same command with its blobs under one master key or under another.
///
/// Which one is sent is decided by the unit that it is sent to. A request whose blobs are under no legal master key goes
/// to any unit: its refusal is the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// Under which master key the first form is; none: it is good for every unit, and the only one.
    pub first: Option<Wkid>,
    /// Under which master key the second form is, if there is one.
    pub second: Option<Wkid>,
    /// Whether a unit for the first form is taken as long as there is one.
    pub prefer_first: bool,
}

impl Forms {
    /// One form that every unit takes.
    pub const ANY: Self = Self { first: None, second: None, prefer_first: false };

    /// One form, for units with this master key.
    #[must_use]
    pub const fn under(first: Wkid) -> Self {
        Self { first: Some(first), second: None, prefer_first: false }
    }

    /// The form for a unit with this master key: its number, and the key.
    fn of(&self, wkid: Wkid) -> Option<u8> {
        match (self.first, self.second) {
            (Some(first), _) if first == wkid => Some(0),
            (_, Some(second)) if second == wkid => Some(1),
            _ => None,
        }
    }
}

/// The master keys that units may have: the instance's, and the next one while it is being rotated.
#[derive(Clone, Copy)]
pub(crate) struct Legal {
    pub(crate) current: VerificationPattern,
    pub(crate) next: Option<VerificationPattern>,
}

impl Legal {
    pub(crate) fn permits(&self, pattern: &VerificationPattern) -> bool {
        self.iter().any(|legal| legal.is_of_same_key(pattern))
    }

    fn knows(&self, wkid: Wkid) -> bool {
        self.iter().any(|legal| legal.wkid() == wkid)
    }

    fn iter(&self) -> impl Iterator<Item = VerificationPattern> {
        [Some(self.current), self.next].into_iter().flatten()
    }
}

/// Which units take which form of one request, as masks.
pub(crate) struct Takers {
    first: u64,
    second: u64,
    /// The request is for whichever unit gets it.
    anywhere: bool,
}

impl Takers {
    /// `shown` gives the master key of each unit that may serve, now or later: `None` for one that has not said yet.
    pub(crate) fn new(
        forms: &Forms,
        legal: &Legal,
        shown: impl Iterator<Item = (u64, Option<Wkid>)>,
    ) -> Self {
        let mut takers = Self { first: 0, second: 0, anywhere: false };
        let known = [forms.first, forms.second].into_iter().flatten().any(|wkid| legal.knows(wkid));
        if forms.first.is_none() || !known {
            takers.anywhere = true;
            return takers;
        }
        let mut silent = false;
        for (bit, wkid) in shown {
            match wkid.map(|wkid| forms.of(wkid)) {
                None => silent = true,
                Some(Some(0)) => takers.first |= bit,
                Some(Some(_)) => takers.second |= bit,
                Some(None) => {}
            }
        }
        // Nobody has that master key any more: whichever unit gets the request says so.
        takers.anywhere = takers.first | takers.second == 0 && !silent;
        takers
    }

    /// The units that take some form.
    pub(crate) const fn all(&self) -> u64 {
        if self.anywhere { u64::MAX } else { self.first | self.second }
    }

    /// The units that take the first form.
    pub(crate) const fn first(&self) -> u64 {
        if self.anywhere { u64::MAX } else { self.first }
    }

    /// The form that a unit gets, and whether it was chosen by the unit's master key.
    pub(crate) const fn form(&self, bit: u64) -> (u8, bool) {
        if self.anywhere { (0, false) } else { (if self.first & bit == 0 { 1 } else { 0 }, true) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Forms, Legal, Takers};
    use unit_api::{VerificationPattern, Wkid};

    const OLD: Wkid = [1; 16];
    const NEW: Wkid = [2; 16];
    const ALIEN: Wkid = [3; 16];

    fn takers(forms: Forms, shown: &[Option<Wkid>]) -> (u64, u64, bool) {
        let pattern = |byte| VerificationPattern::from_bytes([byte; 32]);
        let legal = Legal { current: pattern(1), next: Some(pattern(2)) };
        let shown = shown.iter().enumerate().map(|(i, wkid)| (1 << i, *wkid));
        let takers = Takers::new(&forms, &legal, shown);
        (takers.first, takers.second, takers.anywhere)
    }

    #[test]
    fn a_form_goes_to_the_units_of_its_master_key() {
        let both = Forms { first: Some(OLD), second: Some(NEW), prefer_first: false };
        assert_eq!(takers(both, &[Some(OLD), Some(NEW), None, Some(ALIEN)]), (0b1, 0b10, false));
        assert_eq!(takers(Forms::under(NEW), &[Some(OLD), Some(NEW)]), (0b10, 0, false));
        assert_eq!(takers(Forms::ANY, &[Some(OLD)]), (0, 0, true));
    }

    #[test]
    fn what_no_unit_can_open_goes_to_any_and_what_one_may_open_waits() {
        assert_eq!(takers(Forms::under(ALIEN), &[Some(OLD), Some(NEW)]), (0, 0, true));
        assert_eq!(takers(Forms::under(OLD), &[Some(NEW), Some(NEW)]), (0, 0, true));
        assert_eq!(takers(Forms::under(OLD), &[Some(NEW), None]), (0, 0, false));
    }
}
