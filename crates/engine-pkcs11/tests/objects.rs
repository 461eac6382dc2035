//! The objects on a token and their attributes, as another session sees them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{SoftHsm, on_softhsm};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use engine::{
    Algorithm, CipherMechanism, Engine, EngineError, KeyPart, KeySpec, KeyUses, MacMechanism, WrapMechanism,
};
use engine_pkcs11::{DeviceKeyMode, OpenError, Pkcs11Engine, Token, TokenEvent};
use std::sync::Arc;

const WRAPPING: KeySpec = KeySpec::aes(32, KeyUses::WRAP.with(KeyUses::UNWRAP));
const MACS: KeySpec = KeySpec::aes(32, KeyUses::SIGN.with(KeyUses::VERIFY));

/// A session that does not belong to the engine. The process is logged in, so the session is too.
fn other_session(softhsm: &SoftHsm) -> Session {
    let context = Pkcs11::new(&softhsm.module).unwrap();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let labelled =
        |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).unwrap().label().trim() == SoftHsm::LABEL;
    context.open_rw_session(slots.into_iter().find(labelled).unwrap()).unwrap()
}

fn find_stored(session: &Session, label: &str) -> Vec<ObjectHandle> {
    // Without `CKA_TOKEN`, working copies would be found too: they have the same label.
    session.find_objects(&[Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())]).unwrap()
}

fn has(session: &Session, object: ObjectHandle, attribute: &Attribute) -> bool {
    session.get_attributes(object, &[attribute.attribute_type()]).unwrap().contains(attribute)
}

/// Loads a master key as a unit does: combines it, derives from it, persists it. Returns its reference.
fn persist_master_key(engine: &mut Pkcs11Engine) -> Vec<u8> {
    let parts = [KeyPart::new([1; 32]), KeyPart::new([2; 32])];
    let master = engine.combine_key_parts(&parts, false).unwrap();
    engine.derive_key(master, b"wrap", b"wkid", &WRAPPING).unwrap();
    engine.derive_key(master, b"mac", b"wkid", &MACS).unwrap();
    reference(engine, master)
}

fn reference(engine: &mut Pkcs11Engine, key: engine::KeyHandle) -> Vec<u8> {
    let mut reference = [0; engine::MAX_REFERENCE_LEN];
    let len = engine.persist_key(key, &mut reference).unwrap();
    reference[..len].to_vec()
}

#[test]
fn the_master_key_cannot_be_extracted_or_used() {
    on_softhsm("the_master_key_cannot_be_extracted_or_used", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        persist_master_key(&mut engine);
        let session = other_session(softhsm);
        let [master] = find_stored(&session, "hsm-sim unit master key")[..] else {
            panic!("expected one master key")
        };
        for expected in [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
        ] {
            assert!(has(&session, master, &expected), "{expected:?}");
        }
        for usage in [
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sign(true),
            Attribute::Verify(true),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Derive(true),
        ] {
            assert!(!has(&session, master, &usage), "{usage:?}");
            assert!(session.update_attributes(master, std::slice::from_ref(&usage)).is_err(), "{usage:?}");
            let copied = session.copy_object(master, &[Attribute::Token(false), usage]);
            assert!(copied.is_err(), "a copy permits what the original does not");
        }
        let value = session.get_attributes(master, &[AttributeType::Value]).unwrap();
        assert!(value.is_empty(), "its value is readable");
        assert!(session.update_attributes(master, &[Attribute::Extractable(true)]).is_err());
        assert!(session.update_attributes(master, &[Attribute::Sensitive(false)]).is_err());
        assert!(session.sign(&Mechanism::AesCMac, master, b"[i]label").is_err(), "it can still derive");
        for kek in find_stored(&session, "hsm-sim unit derived key") {
            assert!(session.wrap_key(&Mechanism::AesKeyWrap, kek, master).is_err());
        }
    });
}

/// Every object of a unit, in its session and on the token, has at most one usage and a value that is not readable.
#[test]
fn no_object_has_two_usages() {
    on_softhsm("no_object_has_two_usages", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        persist_master_key(&mut engine);
        for uses in [KeyUses::ENCRYPT, KeyUses::DECRYPT, KeyUses::SIGN, KeyUses::WRAP, KeyUses::UNWRAP] {
            engine.import_key(&KeySpec::aes(32, uses), &[7; 32]).unwrap();
        }
        for extractable in [false, true] {
            let secret = KeySpec {
                algorithm: Algorithm::GenericSecret,
                key_len: 20,
                uses: KeyUses::SIGN,
                extractable,
            };
            engine.import_key(&secret, &[8; 20]).unwrap();
        }
        let session = other_session(softhsm);
        let objects = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
        assert!(objects.len() > 12, "{} objects", objects.len());
        for object in objects {
            let is = |attribute| has(&session, object, &attribute);
            assert!(is(Attribute::Sensitive(true)) && is(Attribute::Private(true)));
            let usages = [
                is(Attribute::Encrypt(true)) || is(Attribute::Decrypt(true)),
                is(Attribute::Sign(true)) || is(Attribute::Verify(true)),
                is(Attribute::Wrap(true)) || is(Attribute::Unwrap(true)),
                is(Attribute::Derive(true)),
            ];
            assert!(usages.iter().filter(|usage| **usage).count() <= 1, "{usages:?}");
            let attributes = session.get_attributes(object, &[AttributeType::AllowedMechanisms]).unwrap();
            let [Attribute::AllowedMechanisms(allowed)] = &attributes[..] else { panic!("{attributes:?}") };
            // An object that decrypts single blocks could decrypt keys wrapped under the same key.
            let blocks = allowed.contains(&MechanismType::AES_ECB);
            assert!(!(blocks && is(Attribute::Decrypt(true))), "the object decrypts single blocks");
            if usages.contains(&true) {
                assert!(!allowed.is_empty(), "an object without allowed mechanisms");
            }
        }
    });
}

#[test]
fn a_restart_finds_the_stored_keys_and_nothing_else_remains() {
    on_softhsm("a_restart_finds_the_stored_keys_and_nothing_else_remains", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let reference = persist_master_key(&mut engine);
        engine.generate_key(&KeySpec::aes(32, KeyUses::ENCRYPT)).unwrap();
        drop((engine, token));

        let (token, events) = softhsm.token();
        let session = other_session(softhsm);
        let remaining = session.find_objects(&[]).unwrap();
        assert!(remaining.iter().all(|object| has(&session, *object, &Attribute::Token(true))));
        // The device key, the halves of the attestation key, the master key, the wrapping keys of its two derived keys.
        assert_eq!(remaining.len(), 6);
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::MustExist).unwrap();
        engine.forget_all_but(&[&reference]).unwrap();
        let master = engine.recall_key(&reference).unwrap();
        engine.derive_key(master, b"wrap", b"wkid", &WRAPPING).unwrap();
        engine.derive_key(master, b"mac", b"wkid", &MACS).unwrap();
        let other = engine.derive_key(master, b"other", b"wkid", &MACS);
        assert_eq!(other, Err(EngineError::KeyUnextractable), "a stored master key can still derive");
        assert!(events.take().is_empty());

        engine.forget_key(&reference).unwrap();
        assert_eq!(find_stored(&session, "hsm-sim unit master key").len(), 0);
        assert_eq!(find_stored(&session, "hsm-sim unit derived key").len(), 0);
    });
}

#[test]
fn orphaned_objects_are_destroyed_and_reported() {
    on_softhsm("orphaned_objects_are_destroyed_and_reported", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let (kept, orphan) = (persist_master_key(&mut engine), persist_master_key(&mut engine));
        let mut other = Pkcs11Engine::open(&token, "another", DeviceKeyMode::CreateIfMissing).unwrap();
        let others = persist_master_key(&mut other);
        drop(engine);
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::MustExist).unwrap();
        engine.forget_all_but(&[&kept]).unwrap();
        assert_eq!(events.take(), [TokenEvent::OrphansDestroyed(3)]);
        assert_eq!(engine.recall_key(&orphan), Err(EngineError::ReferenceInvalid));
        engine.recall_key(&kept).unwrap();
        other.recall_key(&others).unwrap();
        engine.forget_all_but(&[&kept]).unwrap();
        assert!(events.take().is_empty());
    });
}

#[test]
fn units_on_one_token_share_no_keys() {
    on_softhsm("units_on_one_token_share_no_keys", |softhsm| {
        let (token, _) = softhsm.token();
        let open = |name, keys| Pkcs11Engine::open(&token, name, keys);
        let (mut one, mut two) = (
            open("one", DeviceKeyMode::CreateIfMissing).unwrap(),
            open("two", DeviceKeyMode::CreateIfMissing).unwrap(),
        );
        let reference = persist_master_key(&mut one);
        assert_eq!(two.recall_key(&reference), Err(EngineError::ReferenceInvalid));
        assert_eq!(two.forget_key(&reference), Ok(()), "forgetting a missing key is not an error");
        two.forget_all_but(&[]).unwrap();
        one.recall_key(&reference).unwrap();
        let gcm = CipherMechanism::AesGcm { iv: &[1; 12], aad: b"" };
        let mut sealed = [0; 20];
        one.encrypt(gcm, one.device_key(), b"data", &mut sealed).unwrap();
        let refused = two.decrypt(gcm, two.device_key(), &sealed, &mut [0; 4]);
        assert_eq!(refused, Err(EngineError::EncryptedDataInvalid));
        assert!(
            matches!(open("three", DeviceKeyMode::MustExist), Err(OpenError::DeviceKeyMissing { unit }) if unit == "three")
        );
    });
}

/// An attacker with the PIN replaces the master key by an object that permits more.
#[test]
fn an_object_that_permits_too_much_is_refused_as_a_master_key() {
    on_softhsm("an_object_that_permits_too_much_is_refused_as_a_master_key", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let reference = persist_master_key(&mut engine);
        let session = other_session(softhsm);
        let [master] = find_stored(&session, "hsm-sim unit master key")[..] else {
            panic!("expected one master key")
        };
        let kept = [AttributeType::Label, AttributeType::Id, AttributeType::AllowedMechanisms];
        let kept = session.get_attributes(master, &kept).unwrap();
        session.destroy_object(master).unwrap();
        for (sensitive, extractable, sign, accepted) in [
            (false, false, false, false),
            (true, true, false, false),
            (true, false, true, false),
            // The attributes that the unit itself sets.
            (true, false, false, true),
        ] {
            let mut attributes = vec![
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(cryptoki::object::KeyType::AES),
                Attribute::Value(vec![3; 32]),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Modifiable(false),
                Attribute::Sensitive(sensitive),
                Attribute::Extractable(extractable),
                Attribute::Sign(sign),
                Attribute::Verify(false),
                Attribute::Encrypt(false),
                Attribute::Decrypt(false),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
            ];
            attributes.extend(kept.clone());
            let planted = session.create_object(&attributes).unwrap();
            let recalled = engine.recall_key(&reference).map(|_| ());
            let expected = if accepted { Ok(()) } else { Err(EngineError::ReferenceInvalid) };
            assert_eq!(recalled, expected, "{sensitive} {extractable} {sign}");
            session.destroy_object(planted).unwrap();
        }
    });
}

/// A recovery unit exports only a master key that was created extractable.
#[test]
fn only_an_extractable_master_key_leaves_the_token() {
    on_softhsm("only_an_extractable_master_key_leaves_the_token", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let create = |engine: &mut Pkcs11Engine, extractable| {
            let spec = KeySpec { extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
            let master = engine.generate_key(&spec).unwrap();
            let reference = reference(engine, master);
            engine.destroy_key(master).unwrap();
            engine.recall_key(&reference).unwrap()
        };
        let (kept, exported) = (create(&mut engine, false), create(&mut engine, true));
        assert_eq!(engine.export_key_part(kept).err(), Some(EngineError::KeyUnextractable));
        let part = engine.export_key_part(exported).unwrap();
        let combined = engine.combine_key_parts(&[part], false).unwrap();
        let mut digests = [[0; 32]; 2];
        engine.digest_key(&[1], exported, &mut digests[0]).unwrap();
        engine.digest_key(&[1], combined, &mut digests[1]).unwrap();
        assert_eq!(digests[0], digests[1]);
    });
}

#[test]
fn destroyed_keys_and_failed_calls_leave_no_objects() {
    on_softhsm("destroyed_keys_and_failed_calls_leave_no_objects", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let session = other_session(softhsm);
        let count = || session.find_objects(&[]).unwrap().len();
        let before = count();
        let short = |key_len| KeySpec {
            algorithm: Algorithm::GenericSecret,
            key_len,
            uses: KeyUses::SIGN,
            extractable: true,
        };
        for _ in 0..8 {
            let kek = engine.import_key(&WRAPPING, &[1; 32]).unwrap();
            let secret = engine.import_key(&short(20), &[2; 20]).unwrap();
            let mut wrapped = [0; 32];
            engine.wrap_key(WrapMechanism::AesKwp, kek, secret, &mut wrapped).unwrap();
            engine.sign(MacMechanism::HmacSha256, secret, b"data", &mut [0; 32]).unwrap();
            for len in [19, 23, 24] {
                assert!(engine.unwrap_key(WrapMechanism::AesKwp, kek, &wrapped, &short(len)).is_err());
            }
            let unwrapped = engine.unwrap_key(WrapMechanism::AesKwp, kek, &wrapped, &short(20)).unwrap();
            for key in [kek, secret, unwrapped] {
                engine.destroy_key(key).unwrap();
            }
            assert_eq!(count(), before);
        }
        drop(engine);
        assert!(count() < before, "the session objects of a dropped engine are left");
        let _: Arc<Token> = token;
    });
}
