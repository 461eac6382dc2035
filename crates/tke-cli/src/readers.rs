//! The readers that cards are put into. A card stays in until the command ends, so that its PIN is asked for once.

use crate::error::TkeError;
use crate::secrets::Secrets;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tke::card::{CaCard, CaSession, Ep11Card, Ep11Session};

/// EP11 cards that are in, by their files.
#[derive(Default)]
pub(crate) struct Readers {
    inserted: Mutex<BTreeMap<PathBuf, Ep11Session>>,
}

impl Readers {
    /// Puts an EP11 card in and enters its PIN, unless it is in already.
    pub(crate) fn ep11(&self, path: &Path, secrets: &Secrets<'_>) -> Result<Ep11Session, TkeError> {
        let place = path.canonicalize().map_err(TkeError::file(path))?;
        let mut inserted = self.inserted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(card) = inserted.get(&place) {
            return Ok(card.clone());
        }
        let card = Ep11Card::insert(path).map_err(TkeError::card(path))?;
        let pin = secrets.pin(path)?;
        let card = card.enter_pin(&pin).map_err(TkeError::card(path))?;
        inserted.insert(place, card.clone());
        Ok(card)
    }
}

/// Puts a CA card in and has both owners enter their PINs.
pub(crate) fn ca(path: &Path, secrets: &Secrets<'_>) -> Result<CaSession, TkeError> {
    let card = CaCard::insert(path).map_err(TkeError::card(path))?;
    let pins = secrets.ca_pins(path)?;
    card.enter_pins(&pins).map_err(TkeError::card(path))
}
