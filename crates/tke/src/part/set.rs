//! The parts of one master key, and its verification pattern.

use super::{KeyPartFile, KeyPartHolder, MAX_PARTS, MIN_PARTS, combine};
use crate::card::{CardError, CardPart, PartList};
use std::fmt;
use unit_api::VerificationPattern;

/// Two or three parts, and the verification pattern of the master key that they combine to.
///
/// The pattern is calculated from the parts, never queried from a unit. A commit contains it, so that a unit with another
/// key refuses.
pub struct KeyPartSet {
    holders: Vec<Box<dyn KeyPartHolder>>,
    combined: VerificationPattern,
}

/// Reason why parts do not combine to a master key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartSetError {
    /// Neither two nor three parts.
    #[error("a master key has {MIN_PARTS} or {MAX_PARTS} parts, not {0}")]
    Number(usize),
    /// Two parts are equal and cancel each other out, or the combination is zero.
    #[error("two parts are equal, or the parts combine to zero")]
    Degenerate,
    /// The patterns of the parts are not those of the list.
    #[error("the parts are not those of the part list")]
    NotThoseOfTheList,
    /// A card did not calculate the pattern.
    #[error("the cards did not calculate the pattern of the master key")]
    Card(#[from] CardError),
}

impl KeyPartSet {
    /// A set of parts from files.
    ///
    /// # Errors
    /// [`PartSetError::Number`], [`PartSetError::Degenerate`].
    pub fn of_files(files: Vec<KeyPartFile>) -> Result<Self, PartSetError> {
        check_number(files.len())?;
        let combined = combine(files.iter().map(KeyPartFile::expose)).ok_or(PartSetError::Degenerate)?;
        let holders = files.into_iter().map(|file| Box::new(file) as Box<dyn KeyPartHolder>).collect();
        Ok(Self { holders, combined })
    }

    /// A set of parts on inserted cards of one zone. The card of the last part calculates the pattern.
    ///
    /// # Errors
    /// [`PartSetError`].
    pub fn of_cards(parts: Vec<CardPart>) -> Result<Self, PartSetError> {
        check_number(parts.len())?;
        let list = CardPart::combine(&parts)?;
        let holders = parts.into_iter().map(|part| Box::new(part) as Box<dyn KeyPartHolder>).collect();
        Ok(Self { holders, combined: list.combined() })
    }

    /// A set of parts whose pattern a card has calculated earlier, for cards that are not inserted at the same time. The
    /// list has been verified by [`PartList::parse`].
    ///
    /// # Errors
    /// [`PartSetError::Number`]; [`PartSetError::NotThoseOfTheList`] unless the patterns are those of the list, in any order.
    pub fn of_list(holders: Vec<Box<dyn KeyPartHolder>>, list: &PartList) -> Result<Self, PartSetError> {
        check_number(holders.len())?;
        let sorted = |mut patterns: Vec<[u8; 32]>| {
            patterns.sort_unstable();
            patterns
        };
        let here = sorted(holders.iter().map(|holder| *holder.pattern().as_bytes()).collect());
        let listed = sorted(list.parts().iter().map(|part| *part.pattern.as_bytes()).collect());
        if here != listed {
            return Err(PartSetError::NotThoseOfTheList);
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

fn check_number(parts: usize) -> Result<(), PartSetError> {
    if (MIN_PARTS..=MAX_PARTS).contains(&parts) { Ok(()) } else { Err(PartSetError::Number(parts)) }
}
