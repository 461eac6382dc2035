//! The legal master keys, and the units for each variant of a request.
//!
//! A request whose blobs are under no legal master key goes to any unit: its refusal is the answer.

use unit_api::{VariantKeys, VerificationPattern, Wkid};

/// Number of the variant for a unit with this master key: 0 the first, 1 the second.
fn variant_for(keys: &VariantKeys, wkid: Wkid) -> Option<u8> {
    let position = [keys.first, keys.second].iter().position(|key| *key == Some(wkid))?;
    u8::try_from(position).ok()
}

/// The master keys that units may have: the instance's, and the next one while it is being rotated.
#[derive(Clone, Copy)]
pub(crate) struct LegalKeys {
    pub(crate) current: VerificationPattern,
    pub(crate) next: Option<VerificationPattern>,
}

impl LegalKeys {
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

/// The units for each variant of one request, as masks.
pub(crate) struct EligibleUnits {
    first: u64,
    second: u64,
    /// Any unit will do.
    anywhere: bool,
}

impl EligibleUnits {
    /// `shown` gives the master key of each unit that may serve, now or later: `None` for one that has not said yet.
    pub(crate) fn new(
        keys: &VariantKeys,
        legal: &LegalKeys,
        shown: impl Iterator<Item = (u64, Option<Wkid>)>,
    ) -> Self {
        let mut eligible = Self { first: 0, second: 0, anywhere: false };
        let known = [keys.first, keys.second].into_iter().flatten().any(|wkid| legal.knows(wkid));
        if keys.first.is_none() || !known {
            eligible.anywhere = true;
            return eligible;
        }
        let mut silent = false;
        for (bit, wkid) in shown {
            match wkid.map(|wkid| variant_for(keys, wkid)) {
                None => silent = true,
                Some(Some(0)) => eligible.first |= bit,
                Some(Some(_)) => eligible.second |= bit,
                Some(None) => {}
            }
        }
        // No unit holds that master key any more; the refusal of any unit is the answer.
        eligible.anywhere = eligible.first | eligible.second == 0 && !silent;
        eligible
    }

    /// The units that take some form.
    pub(crate) const fn all(&self) -> u64 {
        if self.anywhere { u64::MAX } else { self.first | self.second }
    }

    /// The units that take the first form.
    pub(crate) const fn first(&self) -> u64 {
        if self.anywhere { u64::MAX } else { self.first }
    }

    /// The variant that a unit gets, and whether it was chosen by the unit's master key.
    pub(crate) const fn variant(&self, bit: u64) -> (u8, bool) {
        if self.anywhere { (0, false) } else { (if self.first & bit == 0 { 1 } else { 0 }, true) }
    }
}

#[cfg(test)]
mod tests {
    use super::{EligibleUnits, LegalKeys};
    use unit_api::{VariantKeys, VerificationPattern, Wkid};

    const OLD: Wkid = [1; 16];
    const NEW: Wkid = [2; 16];
    const ALIEN: Wkid = [3; 16];

    fn eligible(keys: VariantKeys, shown: &[Option<Wkid>]) -> (u64, u64, bool) {
        let pattern = |byte| VerificationPattern::from_bytes([byte; 32]);
        let legal = LegalKeys { current: pattern(1), next: Some(pattern(2)) };
        let shown = shown.iter().enumerate().map(|(i, wkid)| (1 << i, *wkid));
        let eligible = EligibleUnits::new(&keys, &legal, shown);
        (eligible.first, eligible.second, eligible.anywhere)
    }

    #[test]
    fn a_variant_goes_to_the_units_of_its_master_key() {
        let both = VariantKeys { first: Some(OLD), second: Some(NEW), prefer_first: false };
        assert_eq!(eligible(both, &[Some(OLD), Some(NEW), None, Some(ALIEN)]), (0b1, 0b10, false));
        assert_eq!(eligible(VariantKeys::under(NEW), &[Some(OLD), Some(NEW)]), (0b10, 0, false));
        assert_eq!(eligible(VariantKeys::ANY, &[Some(OLD)]), (0, 0, true));
    }

    #[test]
    fn a_request_that_no_unit_can_open_goes_to_any_unit_and_one_that_a_unit_may_open_waits() {
        assert_eq!(eligible(VariantKeys::under(ALIEN), &[Some(OLD), Some(NEW)]), (0, 0, true));
        assert_eq!(eligible(VariantKeys::under(OLD), &[Some(NEW), Some(NEW)]), (0, 0, true));
        assert_eq!(eligible(VariantKeys::under(OLD), &[Some(NEW), None]), (0, 0, false));
    }
}
