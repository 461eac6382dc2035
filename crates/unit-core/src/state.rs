//! A unit's state and its bytes.

use crate::administrators::{Administrator, Administrators};
use crate::audit::AuditLog;
use crate::domain::Domain;
use crate::env::UnitIdentity;
use crate::master_key::{MasterKey, Origins, Reference};
use crate::registers::Registers;
use engine::MAX_REFERENCE_LEN;
use unit_api::admin::{Attributes, CONTROL_POINTS_LEN, ControlPoints, InstanceId, MAX_ADMINISTRATORS};
use unit_api::{MAX_KEY_PARTS, Refusal, Target, UnitError, UnitId, VerificationPattern};

/// Everything that a unit stores, about 9 KiB. It is passed by reference wherever possible.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) identity: UnitIdentity,
    /// Administrative commands with enough valid signatures, over all lives.
    pub(crate) transaction_counter: u128,
    pub(crate) domain: Domain,
    pub(crate) audit: AuditLog,
}

impl State {
    /// The first state of a new unit, without audit records.
    pub(crate) fn first(identity: UnitIdentity) -> Self {
        Self { identity, transaction_counter: 0, domain: Domain::new(1), audit: AuditLog::EMPTY }
    }

    /// The state of a unit that does not know its stored state.
    pub(crate) fn unknown(identity: UnitIdentity) -> Self {
        Self { identity, transaction_counter: 0, domain: Domain::new(0), audit: AuditLog::EMPTY }
    }

    /// The state of a unit that was zeroized after its state was lost; `unused` is above every number used before.
    pub(crate) fn after_lost_state(identity: UnitIdentity, unused: u64) -> Result<Self, Refusal> {
        let instance = u32::try_from(unused).map_err(|_| UnitError::StateInvalid)?;
        Ok(Self {
            identity,
            transaction_counter: unused.into(),
            domain: Domain::new(instance),
            audit: AuditLog::EMPTY,
        })
    }

    /// Whether the unit knows its state: no life has number 0.
    pub(crate) const fn is_known(&self) -> bool {
        self.domain.instance != 0
    }

    /// The target that an administrative command for this unit names.
    pub(crate) const fn target(&self) -> Target {
        let UnitIdentity { unit, domain_index, .. } = self.identity;
        Target { unit, domain_index, domain_instance: self.domain.instance }
    }
}

/// A master key as it is stored.
#[derive(Clone)]
pub(crate) struct StoredKey {
    pub(crate) pattern: VerificationPattern,
    pub(crate) origins: Origins,
    pub(crate) reference: Reference,
}

/// A stored state whose master keys are not recalled yet.
pub(crate) struct StoredState {
    /// Without master keys.
    state: State,
    register_state: u8,
    keys: [Option<StoredKey>; 2],
}

const STORED_KEY_LEN: usize = 32 + 1 + MAX_KEY_PARTS * 32 + 1 + MAX_REFERENCE_LEN;
/// Length of a stored state in bytes, the same for every state, so that it reveals nothing.
pub(crate) const BODY_LEN: usize = 16
    + 4
    + 16
    + 4
    + 16
    + Attributes::LEN
    + CONTROL_POINTS_LEN
    + 1
    + MAX_ADMINISTRATORS * Administrator::LEN
    + 1
    + 2 * STORED_KEY_LEN
    + AuditLog::LEN;

/// Writes fields to a buffer, one after the other.
struct FieldWriter<'b> {
    rest: core::slice::IterMut<'b, u8>,
}

impl FieldWriter<'_> {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.rest.next() {
                *place = *byte;
            }
        }
    }
}

impl State {
    /// Writes the state's bytes: module, domain index, service instance, life, counter, attributes, control points, number of
    /// administrators and eight places for them, the registers' state (0 to 5), two places for master keys, Current before
    /// New (pattern, number of parts' patterns, three places for them, length of the reference, reference, zeros), the audit
    /// log (number, hashes, records).
    pub(crate) fn encode(&self, body: &mut [u8; BODY_LEN]) {
        let Self { identity, transaction_counter, domain, audit } = self;
        let mut to = FieldWriter { rest: body.iter_mut() };
        to.put(&identity.unit.0);
        to.put(&identity.domain_index.to_be_bytes());
        to.put(&identity.instance.0);
        to.put(&domain.instance.to_be_bytes());
        to.put(&transaction_counter.to_be_bytes());
        to.put(&domain.attributes.to_bytes());
        to.put(&domain.control_points.to_bytes());
        to.put(&[u8::try_from(domain.administrators.count()).unwrap_or_default()]);
        let mut administrators = domain.administrators.iter();
        for _ in 0..MAX_ADMINISTRATORS {
            let place = administrators.next().map(|administrator| administrator.to_bytes());
            to.put(&place.unwrap_or([0; Administrator::LEN]));
        }
        let (number, keys) = match &domain.registers {
            Registers::Empty => (0, [None, None]),
            Registers::Loaded { new } => (1, [Some(new), None]),
            Registers::Approved { new } => (2, [Some(new), None]),
            Registers::Ready { current } => (3, [Some(current), None]),
            Registers::RotationLoaded { current, new } => (4, [Some(current), Some(new)]),
            Registers::RotationApproved { current, new } => (5, [Some(current), Some(new)]),
        };
        to.put(&[number]);
        for key in keys {
            to.put(&encode_key(key));
        }
        to.put(&audit.records().to_be_bytes());
        for part in audit.parts() {
            to.put(part);
        }
    }
}

fn encode_key(key: Option<&MasterKey>) -> [u8; STORED_KEY_LEN] {
    let mut bytes = [0; STORED_KEY_LEN];
    if let Some(key) = key {
        let mut to = FieldWriter { rest: bytes.iter_mut() };
        to.put(key.pattern.as_bytes());
        to.put(&[u8::try_from(key.origins.iter().count()).unwrap_or_default()]);
        let mut origins = key.origins.iter();
        for _ in 0..MAX_KEY_PARTS {
            to.put(&origins.next().map_or([0; 32], |pattern| *pattern.as_bytes()));
        }
        let reference = key.reference.as_bytes();
        to.put(&[u8::try_from(reference.len()).unwrap_or_default()]);
        to.put(reference);
    }
    bytes
}

impl StoredState {
    /// Reads a state; `None` for bytes that [`State::encode`] does not write.
    pub(crate) fn decode(body: &[u8; BODY_LEN]) -> Option<Self> {
        let (unit, rest) = body.split_first_chunk::<16>()?;
        let (domain_index, rest) = rest.split_first_chunk::<4>()?;
        let (instance, rest) = rest.split_first_chunk::<16>()?;
        let (domain_instance, rest) = rest.split_first_chunk::<4>()?;
        let (transaction_counter, rest) = rest.split_first_chunk::<16>()?;
        let (attributes, rest) = rest.split_first_chunk::<{ Attributes::LEN }>()?;
        let (control_points, rest) = rest.split_first_chunk::<CONTROL_POINTS_LEN>()?;
        let (&administrators, rest) = rest.split_first()?;
        let (places, rest) = rest.split_first_chunk::<{ MAX_ADMINISTRATORS * Administrator::LEN }>()?;
        let (&register_state, rest) = rest.split_first()?;
        let (first, rest) = rest.split_first_chunk::<STORED_KEY_LEN>()?;
        let (second, rest) = rest.split_first_chunk::<STORED_KEY_LEN>()?;
        let audit = AuditLog::from_bytes(rest.first_chunk()?)?;
        let decode_if = |held: bool, bytes| if held { decode_key(bytes).map(Some) } else { Some(None) };
        let domain = Domain {
            attributes: Attributes::from_bytes(attributes).ok()?,
            administrators: decode_administrators(places, administrators.into())?,
            control_points: ControlPoints::from_bytes(control_points).ok()?,
            ..Domain::new(u32::from_be_bytes(*domain_instance))
        };
        let identity = UnitIdentity {
            unit: UnitId(*unit),
            domain_index: u32::from_be_bytes(*domain_index),
            instance: InstanceId(*instance),
        };
        let transaction_counter = u128::from_be_bytes(*transaction_counter);
        Some(Self {
            state: State { identity, transaction_counter, domain, audit },
            register_state: (register_state <= 5).then_some(register_state)?,
            keys: [decode_if(register_state >= 1, first)?, decode_if(register_state >= 4, second)?],
        })
    }

    pub(crate) const fn identity(&self) -> &UnitIdentity {
        &self.state.identity
    }

    /// The master keys to recall.
    pub(crate) const fn keys(&self) -> &[Option<StoredKey>; 2] {
        &self.keys
    }

    /// The state with the recalled keys of [`StoredState::keys`].
    pub(crate) fn with_keys(self, keys: [Option<MasterKey>; 2]) -> Option<State> {
        let registers = match (self.register_state, keys) {
            (0, [None, None]) => Registers::Empty,
            (1, [Some(new), None]) => Registers::Loaded { new },
            (2, [Some(new), None]) => Registers::Approved { new },
            (3, [Some(current), None]) => Registers::Ready { current },
            (4, [Some(current), Some(new)]) => Registers::RotationLoaded { current, new },
            (5, [Some(current), Some(new)]) => Registers::RotationApproved { current, new },
            _ => return None,
        };
        let mut state = self.state;
        state.domain.registers = registers;
        Some(state)
    }
}

fn decode_administrators(places: &[u8], count: usize) -> Option<Administrators> {
    let (places, _) = places.as_chunks::<{ Administrator::LEN }>();
    let mut administrators = Administrators::none();
    for place in places.get(..count)? {
        administrators = administrators.with(Administrator::from_bytes(place)?).ok()?;
    }
    Some(administrators)
}

fn decode_key(bytes: &[u8; STORED_KEY_LEN]) -> Option<StoredKey> {
    let (pattern, rest) = bytes.split_first_chunk::<32>()?;
    let (&parts, rest) = rest.split_first()?;
    let (places, rest) = rest.split_first_chunk::<{ MAX_KEY_PARTS * 32 }>()?;
    let mut origins = Origins::none();
    for place in places.as_chunks::<32>().0.get(..usize::from(parts))? {
        origins.push(VerificationPattern::from_bytes(*place));
    }
    let (len, rest) = rest.split_first()?;
    let reference = Reference::from_bytes(rest.get(..usize::from(*len))?)?;
    Some(StoredKey { pattern: VerificationPattern::from_bytes(*pattern), origins, reference })
}

#[cfg(test)]
mod tests {
    use super::{BODY_LEN, State, StoredState};
    use crate::administrators::Administrator;
    use crate::audit::AuditLog;
    use crate::domain::Domain;
    use crate::env::UnitIdentity;
    use crate::master_key::MasterKey;
    use crate::registers::Registers;
    use unit_api::admin::{Attributes, InstanceId, Permissions};
    use unit_api::{UnitId, VerificationPattern};

    fn state(registers: Registers) -> State {
        let identity = UnitIdentity { unit: UnitId([7; 16]), domain_index: 9, instance: InstanceId([6; 16]) };
        let attributes = Attributes {
            signature_threshold: 2,
            revocation_threshold: 1,
            permissions: Permissions::recovery(),
            mode: 1,
        };
        let mut domain = Domain { attributes, registers, ..Domain::new(4) };
        for n in 1..=8 {
            domain.administrators = domain.administrators.with(Administrator::for_test(n)).unwrap();
        }
        State { identity, transaction_counter: 1 << 100, domain, audit: AuditLog::EMPTY }
    }

    fn encode(state: &State) -> [u8; BODY_LEN] {
        let mut body = [0; BODY_LEN];
        state.encode(&mut body);
        body
    }

    #[test]
    fn every_register_state_reads_as_it_was_written() {
        let (current, mut new) = (MasterKey::for_test(1), MasterKey::for_test(2));
        new.origins.push(VerificationPattern::from_bytes([3; 32]));
        new.origins.push(VerificationPattern::from_bytes([4; 32]));
        for registers in [
            Registers::Empty,
            Registers::Loaded { new: new.clone() },
            Registers::Approved { new: new.clone() },
            Registers::Ready { current: current.clone() },
            Registers::RotationLoaded { current: current.clone(), new: new.clone() },
            Registers::RotationApproved { current: current.clone(), new: new.clone() },
        ] {
            let written = encode(&state(registers));
            let stored = StoredState::decode(&written).unwrap();
            let recalled = stored.keys().clone().map(|key| {
                key.map(|key| {
                    let known = [&current, &new].into_iter().find(|k| k.pattern.is_of_same_key(&key.pattern));
                    MasterKey { origins: key.origins, ..known.unwrap().clone() }
                })
            });
            assert!(encode(&stored.with_keys(recalled).unwrap()) == written);
        }
    }

    #[test]
    fn unknown_numbers_are_refused() {
        let sound = encode(&state(Registers::Empty));
        assert!(StoredState::decode(&sound).is_some());
        let administrators = 16 + 4 + 16 + 4 + 16 + 32 + 16;
        for (at, number) in [(administrators, 9), (administrators + 1 + 8 * Administrator::LEN, 6)] {
            let mut body = sound;
            *body.get_mut(at).unwrap() = number;
            assert!(StoredState::decode(&body).is_none(), "byte {at}");
        }
    }
}
