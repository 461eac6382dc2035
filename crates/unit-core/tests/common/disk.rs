//! Two slots in memory, and the places of an engine's state keys, with injected faults.

use engine_soft::{
    STATE_KEY_PLACES, STATE_KEY_RECORD_LEN, StateKeyRecord, StateKeyStore, StateKeyStoreFailed,
};
use std::cell::RefCell;
use std::rc::Rc;
use unit_core::{Slot, Storage, StorageFailed};

/// Fault of the chosen write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is written, and the write fails.
    Refused,
    /// Everything is written, and the write fails.
    Unconfirmed,
    /// Power fails before the write.
    CutBefore,
    /// Power fails during the write: the slot has this many bytes of the new content, then the old content.
    Torn(usize),
    /// Power fails during the write: the old content is truncated to this length.
    Truncated(usize),
    /// Power fails after the write, before it returns.
    CutAfter,
}

#[derive(Clone, Default)]
struct Inner {
    slots: [Vec<u8>; 2],
    state_keys: [Vec<u8>; STATE_KEY_PLACES],
    writes: usize,
    fault: Option<(usize, usize, Fault)>,
    powerless: bool,
    unreadable: bool,
}

/// Shared with the unit; outlives it.
#[derive(Clone, Default)]
pub(crate) struct Disk(Rc<RefCell<Inner>>);

impl Disk {
    /// Makes write number `nth` fail with `fault`. Writes are counted from 0 since the creation of the disk.
    pub(crate) fn plan(&self, nth: usize, fault: Fault) {
        self.plan_many(nth, 1, fault);
    }

    pub(crate) fn plan_many(&self, nth: usize, count: usize, fault: Fault) {
        self.0.borrow_mut().fault = Some((nth, count, fault));
    }

    /// An independent disk with the same content.
    pub(crate) fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    pub(crate) fn writes(&self) -> usize {
        self.0.borrow().writes
    }

    /// Restores power and removes planned faults.
    pub(crate) fn repair(&self) {
        let mut inner = self.0.borrow_mut();
        inner.powerless = false;
        inner.unreadable = false;
        inner.fault = None;
    }

    /// Makes the slots unreadable.
    pub(crate) fn fail_reads(&self) {
        self.0.borrow_mut().unreadable = true;
    }

    pub(crate) fn content(&self, slot: Slot) -> Vec<u8> {
        self.0.borrow().slots[slot as usize].clone()
    }

    pub(crate) fn set_content(&self, slot: Slot, content: Vec<u8>) {
        self.0.borrow_mut().slots[slot as usize] = content;
    }
}

impl Storage for Disk {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let inner = self.0.borrow();
        if inner.powerless || inner.unreadable {
            return Err(StorageFailed);
        }
        let held = &inner.slots[slot as usize];
        let len = held.len().min(content.len());
        content[..len].copy_from_slice(&held[..len]);
        Ok(len)
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        self.write_to(content, |inner| &mut inner.slots[slot as usize])
    }
}

impl StateKeyStore for Disk {
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        let inner = self.0.borrow();
        if inner.powerless {
            return Err(StateKeyStoreFailed);
        }
        *record = [0; STATE_KEY_RECORD_LEN];
        record.iter_mut().zip(&inner.state_keys[place]).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        self.write_to(record, |inner| &mut inner.state_keys[place])
            .map_err(|StorageFailed| StateKeyStoreFailed)
    }
}

impl Disk {
    fn write_to(
        &self,
        content: &[u8],
        place: impl FnOnce(&mut Inner) -> &mut Vec<u8>,
    ) -> Result<(), StorageFailed> {
        let mut inner = self.0.borrow_mut();
        if inner.powerless {
            return Err(StorageFailed);
        }
        let number = inner.writes;
        inner.writes += 1;
        let fault = inner.fault.filter(|(nth, count, _)| (*nth..nth + count).contains(&number));
        let held = place(&mut inner);
        let (result, powerless) = match fault.map(|(_, _, fault)| fault) {
            None => {
                *held = content.to_vec();
                (Ok(()), false)
            }
            Some(Fault::Refused) => (Err(StorageFailed), false),
            Some(Fault::Unconfirmed) => {
                *held = content.to_vec();
                (Err(StorageFailed), false)
            }
            Some(Fault::CutBefore) => (Err(StorageFailed), true),
            Some(Fault::CutAfter) => {
                *held = content.to_vec();
                (Err(StorageFailed), true)
            }
            Some(Fault::Torn(len)) => {
                let len = len.min(content.len());
                held.resize(held.len().max(len), 0);
                held[..len].copy_from_slice(&content[..len]);
                (Err(StorageFailed), true)
            }
            Some(Fault::Truncated(less)) => {
                *held = content[..content.len().saturating_sub(less)].to_vec();
                (Err(StorageFailed), true)
            }
        };
        inner.powerless |= powerless;
        result
    }
}
