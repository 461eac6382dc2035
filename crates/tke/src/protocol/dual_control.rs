//! Dual control: no person alone owns what a ceremony needs.

use crate::holder::Carrier;
use std::collections::BTreeMap;
use std::fmt;

/// A signature key or a key part, with its owner and its medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Name of the owner.
    pub owner: String,
    /// File, card or service that it is kept on.
    pub carrier: Carrier,
    /// The item.
    pub held: Held,
}

/// An item that a person owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A signature key, by the name of its administrator.
    SignatureKey(String),
    /// A key part, by its label.
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

/// Whether dual control is enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DualControl {
    /// Owners and media have to be separate.
    #[default]
    Enforced,
    /// Owners and media may be shared. For development regions; the record of a ceremony says so.
    DangerAllowSharedOwners,
}

/// Two items with one owner, or on one medium.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{holder} holds both {first} and {second}, which need separate owners")]
pub struct DualControlViolation {
    /// The owner, or the medium.
    pub holder: String,
    /// The first item.
    pub first: Held,
    /// The second item.
    pub second: Held,
}

/// Checks that no owner and no medium has more than one signature key or key part.
///
/// Names of owners are compared without regard to case and to surrounding spaces.
///
/// # Errors
/// Every pair with a common owner or medium, unless that is allowed.
pub fn check_separate_owners(
    holdings: &[Holding],
    policy: DualControl,
) -> Result<(), Vec<DualControlViolation>> {
    let mut first: BTreeMap<String, &Held> = BTreeMap::new();
    let mut shared = Vec::new();
    for holding in holdings {
        let owner = (format!("o:{}", holding.owner.trim().to_lowercase()), holding.owner.trim().to_owned());
        let carrier = (format!("c:{}", holding.carrier), holding.carrier.to_string());
        let mut found = None;
        for (key, holder) in [owner, carrier] {
            match first.get(&key) {
                Some(other) => {
                    found.get_or_insert(DualControlViolation {
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
