//! The decoders of the stored state, for fuzzing. Not part of the API.
//!
//! A slot is authenticated before its state is decoded. The function therefore gives any bytes to the decoders themselves, as
//! a bug of the unit, or who has its state key, could.

use crate::master_key::MasterKey;
use crate::slot::{self, MAX_SLOT_LEN};
use crate::state::{BODY_LEN, State, StoredState};

/// A state, filled up with zeros, and what precedes a state in its slot.
///
/// # Panics
/// If a decoder is wrong.
pub fn unit_state(data: &[u8]) {
    slot::check_parser(data);
    let mut slot = [0; MAX_SLOT_LEN];
    copy(data, &mut slot);
    slot::check_parser(&slot);
    let mut body = [0; BODY_LEN];
    copy(data, &mut body);
    let Some(state) = StoredState::decode(&body).map(recalled) else { return };
    let again = encode(&state);
    let read = StoredState::decode(&again).map(recalled).expect("what was encoded decodes");
    assert!(encode(&read) == again, "a state means something else after it was stored again");
    assert_eq!((read.target(), read.is_known()), (state.target(), state.is_known()));
    let mut chain = [0; 16 * 1024];
    for first in [0, 1, state.audit.records(), u64::MAX] {
        let _ = state.audit.write_chain(first, &mut chain);
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

fn encode(state: &State) -> [u8; BODY_LEN] {
    let mut body = [0; BODY_LEN];
    state.encode(&mut body);
    body
}

/// The state as if the engine had recalled its master keys.
fn recalled(stored: StoredState) -> State {
    let keys = stored.keys().clone().map(|key| {
        key.map(|key| MasterKey {
            pattern: key.pattern,
            origins: key.origins,
            reference: key.reference,
            ..MasterKey::for_test(1)
        })
    });
    stored.with_keys(keys).expect("a state has the keys that its registers hold")
}

#[cfg(test)]
mod tests {
    use super::{copy, encode, unit_state};
    use crate::administrators::Administrator;
    use crate::audit::AuditLog;
    use crate::domain::Domain;
    use crate::env::UnitIdentity;
    use crate::master_key::MasterKey;
    use crate::registers::Registers;
    use crate::slot::MAX_SLOT_LEN;
    use crate::state::{BODY_LEN, State};
    use engine::StateKeyId;
    use proptest::prelude::*;
    use std::path::Path;
    use std::vec::Vec;
    use unit_api::admin::InstanceId;
    use unit_api::{UnitId, VerificationPattern};

    fn state() -> Vec<u8> {
        let (current, mut new) = (MasterKey::for_test(1), MasterKey::for_test(2));
        new.origins.push(VerificationPattern::from_bytes([3; 32]));
        let registers = Registers::RotationApproved { current, new };
        let mut domain = Domain { registers, ..Domain::new(4) };
        for n in 1..=3 {
            domain.administrators = domain.administrators.with(Administrator::for_test(n)).unwrap();
        }
        let identity = UnitIdentity { unit: UnitId([7; 16]), domain_index: 9, instance: InstanceId([6; 16]) };
        let state = State { identity, transaction_counter: 1 << 100, domain, audit: AuditLog::EMPTY };
        encode(&state).to_vec()
    }

    /// A slot whose state is not sealed: the parser does not open it.
    fn slot() -> Vec<u8> {
        let mut bytes = std::vec![0; MAX_SLOT_LEN];
        copy(&crate::slot::header(7, &StateKeyId([1; 16]), &[2; 12]), &mut bytes);
        bytes
    }

    /// With `HSM_SIM_BLESS` the seeds are written first.
    #[test]
    fn the_corpus_is_read_as_it_was() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpora/unit_state");
        for (name, seed) in [("seed", state()), ("slot", slot())] {
            if std::env::var_os("HSM_SIM_BLESS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(name), &seed).unwrap();
            }
            assert!(
                std::fs::read(folder.join(name)).unwrap() == seed,
                "{name} is written in another way today"
            );
        }
        for file in std::fs::read_dir(folder).unwrap() {
            unit_state(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #[test]
        fn prop_any_bytes_decode_or_are_refused(data in prop::collection::vec(any::<u8>(), 0..BODY_LEN)) {
            unit_state(&data);
        }

        #[test]
        fn prop_changed_states_decode_or_are_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            for mut data in [state(), slot()] {
                for (at, byte) in &changes {
                    let at = at.index(data.len());
                    *data.get_mut(at).unwrap() = *byte;
                }
                unit_state(&data);
            }
        }
    }
}
