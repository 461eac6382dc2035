//! What a unit is at one moment, and its bytes.

use crate::env::Identity;
use crate::master_key::{MasterKey, Reference};
use crate::registers::{RegisterCommand, Registers};
use engine::MAX_REFERENCE_LEN;
use unit_api::{Refusal, Target, UnitError, UnitId, VerificationPattern};

/// Everything a unit has to remember.
#[derive(Clone, Copy)]
pub(crate) struct State {
    pub(crate) identity: Identity,
    /// Which life of the domain this is; 0 while it is not known.
    pub(crate) domain_instance: u32,
    /// Administrative commands carried out, over all lives.
    pub(crate) transaction_counter: u128,
    pub(crate) registers: Registers,
}

impl State {
    /// Of a unit fresh from the factory.
    pub(crate) const fn first(identity: Identity) -> Self {
        Self { identity, domain_instance: 1, transaction_counter: 0, registers: Registers::Empty }
    }

    /// Of a unit that cannot say what it has been.
    pub(crate) const fn unknown(identity: Identity) -> Self {
        Self { identity, domain_instance: 0, transaction_counter: 0, registers: Registers::Empty }
    }

    /// Of a unit zeroized without knowing what it has been: `unused` is above every number used before.
    pub(crate) fn born_again(identity: Identity, unused: u64) -> Result<Self, Refusal> {
        let domain_instance = u32::try_from(unused).map_err(|_| UnitError::StateInvalid)?;
        Ok(Self {
            identity,
            domain_instance,
            transaction_counter: unused.into(),
            registers: Registers::Empty,
        })
    }

    /// The state after an administrative command; pure. The registers move by [`Registers`]' table, the counter by
    /// one, and zeroize begins a new life of the domain.
    pub(crate) fn after(&self, command: &RegisterCommand) -> Result<Self, UnitError> {
        let registers = self.registers.after(command)?;
        let transaction_counter =
            self.transaction_counter.checked_add(1).ok_or(UnitError::TransactionCounter)?;
        let domain_instance = match command {
            // After 2³² − 1 lives there is none left that was never used before.
            RegisterCommand::Zeroize => self.domain_instance.checked_add(1).ok_or(UnitError::ErrorState)?,
            _ => self.domain_instance,
        };
        Ok(Self { identity: self.identity, domain_instance, transaction_counter, registers })
    }

    /// What an administrative command for this unit names.
    pub(crate) const fn target(&self) -> Target {
        let Identity { unit, domain_index } = self.identity;
        Target { unit, domain_index, domain_instance: self.domain_instance }
    }
}

/// A master key as it is stored.
#[derive(Clone, Copy)]
pub(crate) struct StoredKey {
    pub(crate) pattern: VerificationPattern,
    pub(crate) reference: Reference,
}

/// A state as it is stored, its master keys not yet recalled.
pub(crate) struct StoredState {
    pub(crate) identity: Identity,
    pub(crate) domain_instance: u32,
    pub(crate) transaction_counter: u128,
    register_state: u8,
    first: Option<StoredKey>,
    second: Option<StoredKey>,
}

const STORED_KEY_LEN: usize = 32 + 1 + MAX_REFERENCE_LEN;
/// Length of a stored state: the same in every state, so that storage learns nothing from it.
pub(crate) const BODY_LEN: usize = 16 + 4 + 4 + 16 + 1 + 2 * STORED_KEY_LEN;

impl State {
    /// The state's bytes: identity, life, counter, the registers' state (0 to 5), then a place for each of two
    /// master keys, Current before New: pattern, length of the reference, reference, zero.
    pub(crate) fn encode(&self) -> [u8; BODY_LEN] {
        let (number, keys) = match &self.registers {
            Registers::Empty => (0, [None, None]),
            Registers::Loaded { new } => (1, [Some(new), None]),
            Registers::Approved { new } => (2, [Some(new), None]),
            Registers::Ready { current } => (3, [Some(current), None]),
            Registers::RotationLoaded { current, new } => (4, [Some(current), Some(new)]),
            Registers::RotationApproved { current, new } => (5, [Some(current), Some(new)]),
        };
        let [first, second] = keys.map(encode_key);
        let fields: [&[u8]; 7] = [
            &self.identity.unit.0,
            &self.identity.domain_index.to_be_bytes(),
            &self.domain_instance.to_be_bytes(),
            &self.transaction_counter.to_be_bytes(),
            &[number],
            &first,
            &second,
        ];
        let mut body = [0; BODY_LEN];
        for (to, from) in body.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        body
    }
}

fn encode_key(key: Option<&MasterKey>) -> [u8; STORED_KEY_LEN] {
    let mut bytes = [0; STORED_KEY_LEN];
    if let Some(key) = key {
        let reference = key.reference.as_bytes();
        let len = [u8::try_from(reference.len()).unwrap_or_default()];
        let fields: [&[u8]; 3] = [key.pattern.as_bytes(), &len, reference];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
    }
    bytes
}

impl StoredState {
    /// The state in these bytes; `None` for bytes that [`State::encode`] does not write.
    pub(crate) fn decode(body: &[u8; BODY_LEN]) -> Option<Self> {
        let (unit, rest) = body.split_first_chunk::<16>()?;
        let (domain_index, rest) = rest.split_first_chunk::<4>()?;
        let (domain_instance, rest) = rest.split_first_chunk::<4>()?;
        let (transaction_counter, rest) = rest.split_first_chunk::<16>()?;
        let (&register_state, rest) = rest.split_first()?;
        let (first, second) = rest.split_first_chunk::<STORED_KEY_LEN>()?;
        let second = second.first_chunk::<STORED_KEY_LEN>()?;
        let decode_if = |held: bool, bytes| if held { decode_key(bytes).map(Some) } else { Some(None) };
        Some(Self {
            identity: Identity { unit: UnitId(*unit), domain_index: u32::from_be_bytes(*domain_index) },
            domain_instance: u32::from_be_bytes(*domain_instance),
            transaction_counter: u128::from_be_bytes(*transaction_counter),
            register_state: (register_state <= 5).then_some(register_state)?,
            first: decode_if(register_state >= 1, first)?,
            second: decode_if(register_state >= 4, second)?,
        })
    }

    /// The master keys to recall.
    pub(crate) const fn keys(&self) -> [Option<StoredKey>; 2] {
        [self.first, self.second]
    }

    /// The whole state, given the keys of [`StoredState::keys`] recalled.
    pub(crate) fn with_keys(&self, keys: [Option<MasterKey>; 2]) -> Option<State> {
        let registers = match (self.register_state, keys) {
            (0, [None, None]) => Registers::Empty,
            (1, [Some(new), None]) => Registers::Loaded { new },
            (2, [Some(new), None]) => Registers::Approved { new },
            (3, [Some(current), None]) => Registers::Ready { current },
            (4, [Some(current), Some(new)]) => Registers::RotationLoaded { current, new },
            (5, [Some(current), Some(new)]) => Registers::RotationApproved { current, new },
            _ => return None,
        };
        let Self { identity, domain_instance, transaction_counter, .. } = *self;
        Some(State { identity, domain_instance, transaction_counter, registers })
    }
}

fn decode_key(bytes: &[u8; STORED_KEY_LEN]) -> Option<StoredKey> {
    let (pattern, rest) = bytes.split_first_chunk::<32>()?;
    let (len, rest) = rest.split_first()?;
    let reference = Reference::from_bytes(rest.get(..usize::from(*len))?)?;
    Some(StoredKey { pattern: VerificationPattern::from_bytes(*pattern), reference })
}

#[cfg(test)]
mod tests {
    use super::{BODY_LEN, State, StoredState};
    use crate::env::Identity;
    use crate::master_key::MasterKey;
    use crate::registers::Registers;
    use unit_api::UnitId;

    #[test]
    fn every_register_state_reads_as_it_was_written() {
        let (current, new) = (MasterKey::for_test(1), MasterKey::for_test(2));
        for registers in [
            Registers::Empty,
            Registers::Loaded { new },
            Registers::Approved { new },
            Registers::Ready { current },
            Registers::RotationLoaded { current, new },
            Registers::RotationApproved { current, new },
        ] {
            let identity = Identity { unit: UnitId([7; 16]), domain_index: 9 };
            let state = State { identity, domain_instance: 4, transaction_counter: 1 << 100, registers };
            let written = state.encode();
            let stored = StoredState::decode(&written).unwrap();
            let recalled = stored.keys().map(|key| {
                key.map(|key| {
                    [current, new].into_iter().find(|k| k.pattern.is_of_same_key(&key.pattern)).unwrap()
                })
            });
            assert_eq!(stored.with_keys(recalled).unwrap().encode(), written);
        }
    }

    #[test]
    fn a_register_state_that_does_not_exist_is_refused() {
        let mut body = [0; BODY_LEN];
        body[40] = 6;
        assert!(StoredState::decode(&body).is_none());
    }
}
