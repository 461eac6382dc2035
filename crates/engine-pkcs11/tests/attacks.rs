//! Attacks by a program that has the token's PIN, and none of the unit's files: it opens the token in a session of its
//! own, after the unit has stopped.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/attacker.rs"]
mod attacker;
mod common;

use attacker::{Attacker, CUSTOMER_KEY, MACS, UnitKeys, open_engine, readable, stopped_unit};
use common::on_softhsm;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType};
use engine::{Engine, EngineError, WrapMechanism};
use engine_pkcs11::DeviceKeyMode;

const WRAPPING: engine::KeySpec = attacker::WRAPPING;

const WRAPPINGS: [Mechanism<'_>; 2] = [Mechanism::AesKeyWrap, Mechanism::AesKeyWrapPad];

#[test]
fn attack_the_pin_unwraps_no_key_blob() {
    on_softhsm("attack_the_pin_unwraps_no_key_blob", |softhsm| {
        let (_, wrapped, _) = stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let session = &attacker.session;
        let own = attacker.own_key([9; 32], &[Attribute::Wrap(true)]);
        for (object, label) in attacker.objects() {
            for mechanism in &WRAPPINGS {
                for key_type in [KeyType::AES, KeyType::GENERIC_SECRET] {
                    let unwrapped = session.unwrap_key(mechanism, object, &wrapped, &readable(key_type));
                    assert!(unwrapped.is_err(), "`{label}` unwraps the key of a blob into a readable object");
                    let mut hidden = readable(key_type);
                    hidden[4] = Attribute::Sensitive(true);
                    let unwrapped = session.unwrap_key(mechanism, object, &wrapped, &hidden);
                    assert!(
                        unwrapped.is_err(),
                        "`{label}` unwraps the key of a blob into an extractable object"
                    );
                }
                let value = session.wrap_key(mechanism, own, object);
                assert!(value.is_err(), "`{label}` leaves the token");
            }
            for block in wrapped.chunks_exact(16) {
                assert!(
                    session.decrypt(&Mechanism::AesEcb, object, block).is_err(),
                    "`{label}` decrypts blocks"
                );
            }
        }
        attacker.log_out();
    });
}

#[test]
fn attack_the_pin_makes_no_key_blob() {
    on_softhsm("attack_the_pin_makes_no_key_blob", |softhsm| {
        let (reference, wrapped, mac) = stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let session = &attacker.session;
        let known = attacker.own_key([7; 32], &[]);
        let mut forged = Vec::new();
        for (object, label) in attacker.objects() {
            assert!(session.sign(&Mechanism::AesCMac, object, &wrapped).is_err(), "`{label}` signs blobs");
            let verified = session.verify(&Mechanism::AesCMac, object, &wrapped, &mac);
            assert!(verified.is_err(), "`{label}` verifies blobs");
            assert!(
                session.encrypt(&Mechanism::AesEcb, object, &[0; 16]).is_err(),
                "`{label}` encrypts blocks"
            );
            for mechanism in &WRAPPINGS {
                forged.extend(session.wrap_key(mechanism, object, known));
            }
        }
        attacker.log_out();
        // Whatever the attacker could wrap is not what the unit unwraps.
        let mut unit = UnitKeys::recall(open_engine(softhsm, DeviceKeyMode::MustExist), &reference);
        for forged in forged {
            let opened = unit.engine.unwrap_key(WrapMechanism::AesKw, unit.wrap, &forged, &MACS);
            assert!(opened.is_err(), "the unit opens what the attacker wrapped");
        }
        assert_eq!(unit.blob(), (wrapped, mac), "the unit's own keys");
    });
}

#[test]
fn attack_the_pin_changes_and_copies_no_stored_key() {
    on_softhsm("attack_the_pin_changes_and_copies_no_stored_key", |softhsm| {
        stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let session = &attacker.session;
        for (object, label) in attacker.objects() {
            let of_secrets = [Attribute::Sensitive(true), Attribute::Extractable(false)];
            let of_secrets = of_secrets.into_iter().filter(|_| !label.ends_with("public key"));
            for expected in of_secrets.chain([Attribute::Modifiable(false)]) {
                assert!(attacker.has(object, &expected), "`{label}`: {expected:?}");
            }
            for change in [
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Sign(true),
                Attribute::Verify(true),
                Attribute::Wrap(true),
                Attribute::Unwrap(true),
                Attribute::Derive(true),
                Attribute::Sensitive(false),
                Attribute::Extractable(true),
                Attribute::Modifiable(true),
                Attribute::Label(b"another".to_vec()),
                Attribute::AllowedMechanisms(vec![MechanismType::AES_ECB]),
            ] {
                let changed = session.update_attributes(object, std::slice::from_ref(&change));
                assert!(changed.is_err(), "`{label}`: {change:?} was set");
                for token in [false, true] {
                    let copied = session.copy_object(object, &[Attribute::Token(token), change.clone()]);
                    assert!(copied.is_err(), "`{label}`: a copy has {change:?}");
                }
            }
            let copied = session.copy_object(object, &[Attribute::Token(false)]);
            assert!(copied.is_err(), "`{label}` can be copied into a session");
        }
        attacker.log_out();
    });
}

#[test]
fn attack_a_planted_blob_key_is_not_used() {
    on_softhsm("attack_a_planted_blob_key_is_not_used", |softhsm| {
        let (reference, ..) = stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let session = &attacker.session;
        // Each object that is not the master key is replaced by one of the same attributes whose value is known.
        let others = ["master key", "device key", "state key", "attestation key", "attestation public key"];
        for (object, label) in attacker.objects() {
            if others.iter().any(|role| label.ends_with(role)) {
                continue;
            }
            let types = [
                AttributeType::Class,
                AttributeType::KeyType,
                AttributeType::Label,
                AttributeType::Id,
                AttributeType::Sensitive,
                AttributeType::Extractable,
                AttributeType::Encrypt,
                AttributeType::Decrypt,
                AttributeType::Sign,
                AttributeType::Verify,
                AttributeType::Wrap,
                AttributeType::Unwrap,
                AttributeType::Derive,
                AttributeType::AllowedMechanisms,
                AttributeType::Modifiable,
                AttributeType::Copyable,
            ];
            let mut attributes = session.get_attributes(object, &types).unwrap();
            attributes.extend([
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Value(vec![7; 32]),
            ]);
            session.destroy_object(object).unwrap();
            session.create_object(&attributes).unwrap();
        }
        attacker.log_out();
        let mut engine = open_engine(softhsm, DeviceKeyMode::MustExist);
        let Ok(master) = engine.recall_key(&reference) else { return };
        for (label, spec) in [(b"wrap".as_slice(), WRAPPING), (b"mac", MACS)] {
            let derived = engine.derive_key(master, label, b"wkid", &spec);
            assert!(derived.is_err(), "a key that was not derived from the master key is used as one");
        }
    });
}

/// What no token can prevent: the unit itself seals its state, with nothing but the PIN.
#[test]
fn residual_the_pin_seals_a_state() {
    on_softhsm("residual_the_pin_seals_a_state", |softhsm| {
        stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let mut sealed = 0;
        for (object, _) in attacker.objects() {
            let mut iv = [1; 12];
            let gcm = Mechanism::AesGcm(GcmParams::new(&mut iv, b"", 128.into()).unwrap());
            sealed += usize::from(attacker.session.encrypt(&gcm, object, b"a state").is_ok());
        }
        assert_eq!(sealed, 2, "the state key and the device key seal, and no other key encrypts");
        attacker.log_out();
    });
}

/// Who has the PIN and the unit's state can do what the unit can: the reference is part of the state.
#[test]
fn residual_the_pin_and_the_reference_open_key_blobs() {
    on_softhsm("residual_the_pin_and_the_reference_open_key_blobs", |softhsm| {
        let (reference, wrapped, _) = stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let session = &attacker.session;
        let mut opened = Vec::new();
        for (object, label) in attacker.objects() {
            if !label.ends_with("derived key wrapping") {
                continue;
            }
            for carried in reference[16..].chunks_exact(40) {
                // The token obeys the template: the key itself stays hidden.
                assert!(
                    session
                        .unwrap_key(&Mechanism::AesKeyWrap, object, carried, &readable(KeyType::AES))
                        .is_err()
                );
                let Ok(wrap) =
                    session.unwrap_key(&Mechanism::AesKeyWrap, object, carried, &hidden_wrapping_key())
                else {
                    continue;
                };
                let key = session.unwrap_key(&Mechanism::AesKeyWrap, wrap, &wrapped, &readable(KeyType::AES));
                opened.extend(session.get_attributes(key.unwrap(), &[AttributeType::Value]).unwrap());
            }
        }
        assert_eq!(opened, [Attribute::Value(CUSTOMER_KEY.to_vec())]);
        attacker.log_out();
    });
}

/// The attributes of the session object with which a unit unwraps blobs.
fn hidden_wrapping_key() -> Vec<Attribute> {
    let mut attributes = readable(KeyType::AES);
    attributes[4] = Attribute::Sensitive(true);
    attributes[5] = Attribute::Extractable(false);
    for (usage, wraps) in [
        (Attribute::Encrypt as fn(bool) -> Attribute, false),
        (Attribute::Decrypt, false),
        (Attribute::Sign, false),
        (Attribute::Verify, false),
        (Attribute::Wrap, true),
        (Attribute::Unwrap, true),
        (Attribute::Derive, false),
    ] {
        attributes.push(usage(wraps));
    }
    attributes
}

#[test]
fn residual_the_pin_destroys_keys() {
    on_softhsm("residual_the_pin_destroys_keys", |softhsm| {
        let (reference, ..) = stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        for (object, _) in attacker.objects() {
            attacker.session.destroy_object(object).unwrap();
        }
        attacker.log_out();
        let mut engine = open_engine(softhsm, DeviceKeyMode::CreateIfMissing);
        assert_eq!(engine.recall_key(&reference), Err(EngineError::ReferenceInvalid));
    });
}
