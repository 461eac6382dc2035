//! Dual control: nobody alone holds what it takes.

use crate::holder::Carrier;
use std::collections::BTreeMap;
use std::fmt;

/// Who holds what, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The owner's name.
    pub owner: String,
    /// The file, card or service that it is kept on.
    pub carrier: Carrier,
    /// What it is.
    pub held: Held,
}

/// What somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A signature key, by the administrator's name.
    SignatureKey(String),
    /// A key part of the master key, by its label.
    KeyPart(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignatureKey(name) => write!(f, "signature key of {name}"),
            Self::KeyPart(label) => write!(f, "key part {label}"),
        }
    }
}

/// How strictly dual control is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DualControl {
    /// Separate owners and separate carriers, or no ceremony.
    #[default]
    Enforced,
    /// Whoever comes. For development regions; a ceremony that allows it says so in its record.
    DangerAllowSharedOwners,
}

/// Two things in one hand, or on one carrier, that belong apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{holder} holds both {first} and {second}, which belong to separate owners")]
pub struct SharedOwner {
    /// The owner, or the carrier.
    pub holder: String,
    /// The one.
    pub first: Held,
    /// The other.
    pub second: Held,
}

/// Checks that no owner and no carrier has both a signature key and a key part, two key parts, or two signature keys.
///
/// Owners are compared without regard to case and to spaces at the ends.
///
/// # Errors
/// Every pair in one hand, unless that is allowed.
pub fn check_separate_owners(holdings: &[Holding], policy: DualControl) -> Result<(), Vec<SharedOwner>> {
    let mut first: BTreeMap<String, &Held> = BTreeMap::new();
    let mut shared = Vec::new();
    for holding in holdings {
        let owner = (format!("o:{}", holding.owner.trim().to_lowercase()), holding.owner.trim().to_owned());
        let carrier = (format!("c:{}", holding.carrier), holding.carrier.to_string());
        let mut found = None;
        for (key, holder) in [owner, carrier] {
            match first.get(&key) {
                Some(other) => {
                    found.get_or_insert(SharedOwner {
                        holder,
                        first: (*other).clone(),
                        second: holding.held.clone(),
                    });
                }
                None => {
                    first.insert(key, &holding.held);
                }
            }
        }
        shared.extend(found);
    }
    if shared.is_empty() || policy == DualControl::DangerAllowSharedOwners { Ok(()) } else { Err(shared) }
}

#[cfg(test)]
mod tests {
    use super::{DualControl, Held, Holding, check_separate_owners};
    use crate::card::Serial;
    use crate::holder::Carrier;

    fn key(owner: &str, card: u8) -> Holding {
        let held = Held::SignatureKey(owner.to_owned());
        Holding { owner: owner.to_owned(), carrier: Carrier::Card(Serial([card; 8])), held }
    }

    fn part(owner: &str, card: u8) -> Holding {
        let held = Held::KeyPart(format!("part on {card}"));
        Holding { owner: owner.to_owned(), carrier: Carrier::Card(Serial([card; 8])), held }
    }

    #[test]
    fn separate_owners_with_separate_carriers_pass() {
        let all = [key("Ada", 1), key("Bob", 2), part("Cyd", 3), part("Dan", 4)];
        assert_eq!(check_separate_owners(&all, DualControl::Enforced), Ok(()));
    }

    #[test]
    fn what_is_in_one_hand_or_on_one_carrier_is_refused_unless_allowed() {
        for (pair, holder) in [
            ([key("Ada", 1), part(" ada", 2)], "ada"),
            ([part("Cyd", 1), part("CYD ", 2)], "CYD"),
            ([key("Ada", 1), key("Ada", 2)], "Ada"),
            ([key("Ada", 1), part("Cyd", 1)], "card 0101010101010101"),
            ([part("Cyd", 1), part("Dan", 1)], "card 0101010101010101"),
        ] {
            let shared = check_separate_owners(&pair, DualControl::Enforced).unwrap_err();
            assert_eq!(shared.len(), 1);
            assert_eq!(shared.first().map(|s| s.holder.as_str()), Some(holder));
            assert_eq!(check_separate_owners(&pair, DualControl::DangerAllowSharedOwners), Ok(()));
        }
        assert_eq!(DualControl::default(), DualControl::Enforced);
    }
}
