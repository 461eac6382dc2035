//! Card readers. A card stays inserted until the command ends, so that its PIN is entered once.

use crate::error::TkeError;
use crate::secrets::Secrets;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tke::card::{CaCard, CaSession, Ep11Card, Ep11Session};

/// Inserted EP11 cards, by path.
#[derive(Default)]
pub(crate) struct Readers {
    inserted: Mutex<BTreeMap<PathBuf, Ep11Session>>,
}

impl Readers {
    /// Inserts an EP11 card and enters its PIN, unless it is inserted already.
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

/// Inserts a CA card and enters both PINs.
pub(crate) fn ca(path: &Path, secrets: &Secrets<'_>) -> Result<CaSession, TkeError> {
    let card = CaCard::insert(path).map_err(TkeError::card(path))?;
    let pins = secrets.ca_pins(path)?;
    card.enter_pins(&pins).map_err(TkeError::card(path))
}
