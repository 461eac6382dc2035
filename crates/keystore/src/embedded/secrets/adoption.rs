//! Storing secrets that another store has drawn, in the same slots.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    Content, IN_USE, SLOT_LEN, SecretFile, SecretsError, Slot, SlotBytes, fill, id_of, is_whole, seal,
    secret_mut, secret_of, valid_parts_of,
};
use crate::secret::{AdoptedSecret, Secret, SlotInUse};
use crate::{Limit, StoreError};

/// What a slot has.
enum Found {
    /// This secret.
    Same,
    /// Another one.
    Other,
    /// None that is whole.
    Nothing,
}

impl SecretFile {
    /// Stores the secrets, each in the slot that its identifier names, and flushes. They are in different slots.
    pub(in crate::embedded) fn adopt(
        &self,
        secrets: &[AdoptedSecret],
        in_use: SlotInUse,
    ) -> Result<(), SecretsError> {
        let mut state = self.lock()?;
        let (mut slots, mut end) = (Vec::with_capacity(secrets.len()), 0);
        for adopted in secrets {
            let out_of_range = StoreError::TooLarge { limit: Limit::SecretId };
            let (position, generation) = valid_parts_of(adopted.id).ok_or(out_of_range)?;
            let slot = state.slots.get(position).copied();
            let found = slot.map_or(Ok(Found::Nothing), |slot| self.compare(position, slot, adopted))?;
            if let (Found::Other, SlotInUse::Refuse, Some(slot)) = (&found, in_use, slot) {
                let found = id_of(position, slot.generation);
                return Err(StoreError::SecretConflict { id: adopted.id, found }.into());
            }
            end = end.max(position + 1);
            slots.push((position, generation, adopted, matches!(found, Found::Same)));
        }
        self.grow(&mut state, end)?;
        let mut missing = slots.iter().filter(|(.., is_there)| !is_there).peekable();
        if missing.peek().is_some() {
            let written = missing.try_for_each(|(position, generation, adopted, _)| {
                let mut bytes: SlotBytes = Zeroizing::new([0; SLOT_LEN as usize]);
                fill(&mut bytes, IN_USE, *generation, &adopted.owner.0);
                secret_mut(&mut bytes).copy_from_slice(adopted.secret.expose());
                seal(&mut bytes);
                self.write_slot(*position, &bytes)
            });
            if let Err(error) = written.and_then(|()| self.storage.sync_data()) {
                state.failed = true;
                return Err(error.into());
            }
        }
        for (position, generation, adopted, _) in slots {
            let content = Content::Secret { owner: adopted.owner, inherited: false };
            let before = state.slots.get(position).map(|slot| id_of(position, slot.generation));
            if let Some(slot) = state.slots.get_mut(position) {
                *slot = Slot { generation, content };
            }
            state.free.remove(&position);
            // Nothing that was in the slot is drawn any more, nor is what is in it now.
            before.into_iter().for_each(|id| state.no_longer_waits(id));
        }
        Ok(())
    }

    fn compare(&self, position: usize, slot: Slot, adopted: &AdoptedSecret) -> Result<Found, SecretsError> {
        let Content::Secret { owner, .. } = slot.content else { return Ok(Found::Nothing) };
        let bytes = self.read_slot(position)?;
        let kept = secret_of(&bytes).filter(|_| is_whole(&bytes)).map(Secret::copy_of);
        let Some(kept) = kept else { return Ok(Found::Nothing) };
        let is_same = id_of(position, slot.generation) == adopted.id
            && owner == adopted.owner
            && bool::from(kept.ct_eq(&adopted.secret));
        Ok(if is_same { Found::Same } else { Found::Other })
    }
}
