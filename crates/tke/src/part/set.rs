//! The parts of one master key, and the pattern that it will have.

use super::{KeyPartFile, KeyPartHolder, MAX_PARTS, MIN_PARTS, combine};
use crate::card::{CardError, CardPart, PartList};
use std::fmt;
use unit_api::VerificationPattern;

/// Two or three parts, each with its holder, and the pattern of the master key that they make.
///
/// The pattern is worked out from the parts, never asked of a unit: it is what a commit carries, so that a unit that
/// holds another key refuses.
pub struct KeyPartSet {
    holders: Vec<Box<dyn KeyPartHolder>>,
    combined: VerificationPattern,
}

/// Why parts make no master key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsRefused {
    /// Not two or three.
    #[error("a master key has {MIN_PARTS} or {MAX_PARTS} parts, not {0}")]
    Number(usize),
    /// Two parts are equal and would cancel each other out, or all of them together give zero.
    #[error("parts are equal, or give a master key of zeros")]
    Degenerate,
    /// The parts are not those of the list, or not in its order of patterns.
    #[error("the parts are not those of the part list")]
    NotThoseOfTheList,
    /// A card did not work the pattern out.
    #[error("the cards did not work out the master key's pattern")]
    Card(#[from] CardError),
}

impl KeyPartSet {
    /// A set of parts from files.
    ///
    /// # Errors
    /// [`PartsRefused::Number`], [`PartsRefused::Degenerate`].
    pub fn of_files(files: Vec<KeyPartFile>) -> Result<Self, PartsRefused> {
        check_number(files.len())?;
        let combined = combine(files.iter().map(KeyPartFile::expose)).ok_or(PartsRefused::Degenerate)?;
        let holders = files.into_iter().map(|file| Box::new(file) as Box<dyn KeyPartHolder>).collect();
        Ok(Self { holders, combined })
    }

    /// A set of parts on cards of one zone, all inserted: the last one's card works out the pattern.
    ///
    /// # Errors
    /// [`PartsRefused`].
    pub fn of_cards(parts: Vec<CardPart>) -> Result<Self, PartsRefused> {
        check_number(parts.len())?;
        let list = CardPart::combine(&parts)?;
        let holders = parts.into_iter().map(|part| Box::new(part) as Box<dyn KeyPartHolder>).collect();
        Ok(Self { holders, combined: list.combined() })
    }

    /// A set of parts whose pattern a card worked out earlier, as when cards are inserted one after the other. The list
    /// is to have been verified ([`PartList::parse`]).
    ///
    /// # Errors
    /// [`PartsRefused::Number`]; [`PartsRefused::NotThoseOfTheList`] unless the patterns are the list's, in any order.
    pub fn of_list(holders: Vec<Box<dyn KeyPartHolder>>, list: &PartList) -> Result<Self, PartsRefused> {
        check_number(holders.len())?;
        let sorted = |mut patterns: Vec<[u8; 32]>| {
            patterns.sort_unstable();
            patterns
        };
        let here = sorted(holders.iter().map(|holder| *holder.pattern().as_bytes()).collect());
        let listed = sorted(list.parts().iter().map(|part| *part.pattern.as_bytes()).collect());
        if here != listed {
            return Err(PartsRefused::NotThoseOfTheList);
        }
        Ok(Self { holders, combined: list.combined() })
    }

    /// The parts.
    #[must_use]
    pub fn holders(&self) -> &[Box<dyn KeyPartHolder>] {
        &self.holders
    }

    /// The pattern of the master key.
    #[must_use]
    pub const fn combined_pattern(&self) -> VerificationPattern {
        self.combined
    }
}

impl fmt::Debug for KeyPartSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.holders.iter().map(|holder| holder.label()).collect();
        f.debug_struct("KeyPartSet").field("labels", &labels).field("combined", &self.combined).finish()
    }
}

fn check_number(parts: usize) -> Result<(), PartsRefused> {
    if (MIN_PARTS..=MAX_PARTS).contains(&parts) { Ok(()) } else { Err(PartsRefused::Number(parts)) }
}
