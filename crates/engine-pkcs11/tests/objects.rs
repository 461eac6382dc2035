//! What is on the token, and what nobody can do with it: looked at with another program's eyes.

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
use engine_pkcs11::{OpenError, Pkcs11Engine, Token, TokenEvent, UnitKeys};
use std::sync::Arc;

const WRAPPING: KeySpec = KeySpec::aes(32, KeyUses::WRAP.with(KeyUses::UNWRAP));
const MACS: KeySpec = KeySpec::aes(32, KeyUses::SIGN.with(KeyUses::VERIFY));

/// A session besides the engine's, logged in as the process is.
fn looker(softhsm: &SoftHsm) -> Session {
    let context = Pkcs11::new(&softhsm.module).unwrap();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let labelled =
        |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).unwrap().label().trim() == SoftHsm::LABEL;
    context.open_rw_session(slots.into_iter().find(labelled).unwrap()).unwrap()
}

fn labelled(session: &Session, label: &str) -> Vec<ObjectHandle> {
    // Working copies bear the label of what they are copies of.
    session.find_objects(&[Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())]).unwrap()
}

fn has(session: &Session, object: ObjectHandle, attribute: &Attribute) -> bool {
    session.get_attributes(object, &[attribute.attribute_type()]).unwrap().contains(attribute)
}

/// A master key as a unit has it: combined, derived from, persisted.
fn persisted(engine: &mut Pkcs11Engine) -> Vec<u8> {
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
fn the_token_holds_the_master_key_and_nobody_gets_it_out() {
    on_softhsm("the_token_holds_the_master_key_and_nobody_gets_it_out", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        persisted(&mut engine);
        let session = looker(softhsm);
        let [master] = labelled(&session, "hsm-sim unit master key")[..] else {
            panic!("not one master key")
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
        for use_of_it in [
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sign(true),
            Attribute::Verify(true),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Derive(true),
        ] {
            assert!(!has(&session, master, &use_of_it), "{use_of_it:?}");
            assert!(
                session.update_attributes(master, std::slice::from_ref(&use_of_it)).is_err(),
                "{use_of_it:?}"
            );
            let copied = session.copy_object(master, &[Attribute::Token(false), use_of_it]);
            assert!(copied.is_err(), "a copy may do what it may not");
        }
        let shown = session.get_attributes(master, &[AttributeType::Value]).unwrap();
        assert!(shown.is_empty(), "the token shows its value");
        assert!(session.update_attributes(master, &[Attribute::Extractable(true)]).is_err());
        assert!(session.update_attributes(master, &[Attribute::Sensitive(false)]).is_err());
        assert!(session.sign(&Mechanism::AesCMac, master, b"[i]label").is_err(), "it still derives");
        for kek in labelled(&session, "hsm-sim unit derived key") {
            assert!(session.wrap_key(&Mechanism::AesKeyWrap, kek, master).is_err());
        }
    });
}

/// Every object of a unit at work, in its session and on the token: one role each, and nothing that shows a value.
#[test]
fn no_object_has_two_roles() {
    on_softhsm("no_object_has_two_roles", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        persisted(&mut engine);
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
        let session = looker(softhsm);
        let objects = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
        assert!(objects.len() > 12, "{} objects", objects.len());
        for object in objects {
            let is = |attribute| has(&session, object, &attribute);
            assert!(is(Attribute::Sensitive(true)) && is(Attribute::Private(true)));
            let roles = [
                is(Attribute::Encrypt(true)) || is(Attribute::Decrypt(true)),
                is(Attribute::Sign(true)) || is(Attribute::Verify(true)),
                is(Attribute::Wrap(true)) || is(Attribute::Unwrap(true)),
                is(Attribute::Derive(true)),
            ];
            assert!(roles.iter().filter(|role| **role).count() <= 1, "{roles:?}");
            let attributes = session.get_attributes(object, &[AttributeType::AllowedMechanisms]).unwrap();
            let [Attribute::AllowedMechanisms(allowed)] = &attributes[..] else { panic!("{attributes:?}") };
            // What decrypts nothing but blocks would decrypt what is wrapped under the same key.
            let blocks = allowed.contains(&MechanismType::AES_ECB);
            assert!(!(blocks && is(Attribute::Decrypt(true))), "a key wraps and decrypts");
            if roles.contains(&true) {
                assert!(!allowed.is_empty(), "a role without its mechanisms");
            }
        }
    });
}

#[test]
fn a_restart_needs_what_is_left_and_nothing_else_is_left() {
    on_softhsm("a_restart_needs_what_is_left_and_nothing_else_is_left", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let reference = persisted(&mut engine);
        engine.generate_key(&KeySpec::aes(32, KeyUses::ENCRYPT)).unwrap();
        drop((engine, token));

        let (token, events) = softhsm.token();
        let session = looker(softhsm);
        let left = session.find_objects(&[]).unwrap();
        assert!(left.iter().all(|object| has(&session, *object, &Attribute::Token(true))));
        // The device key, the master key, the key that authenticates, and the one that wraps in its two roles.
        assert_eq!(left.len(), 5);
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::Known).unwrap();
        engine.forget_all_but(&[&reference]).unwrap();
        let master = engine.recall_key(&reference).unwrap();
        engine.derive_key(master, b"wrap", b"wkid", &WRAPPING).unwrap();
        engine.derive_key(master, b"mac", b"wkid", &MACS).unwrap();
        let other = engine.derive_key(master, b"other", b"wkid", &MACS);
        assert_eq!(other, Err(EngineError::KeyUnextractable), "a stored master key still derives");
        assert!(events.take().is_empty());

        engine.forget_key(&reference).unwrap();
        assert_eq!(labelled(&session, "hsm-sim unit master key").len(), 0);
        assert_eq!(labelled(&session, "hsm-sim unit derived key").len(), 0);
    });
}

#[test]
fn orphans_are_destroyed_and_said_to_be() {
    on_softhsm("orphans_are_destroyed_and_said_to_be", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let (kept, orphan) = (persisted(&mut engine), persisted(&mut engine));
        let mut other = Pkcs11Engine::open(&token, "another", UnitKeys::New).unwrap();
        let others = persisted(&mut other);
        drop(engine);
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::Known).unwrap();
        engine.forget_all_but(&[&kept]).unwrap();
        assert_eq!(events.take(), [TokenEvent::OrphansDestroyed(4)]);
        assert_eq!(engine.recall_key(&orphan), Err(EngineError::ReferenceInvalid));
        engine.recall_key(&kept).unwrap();
        other.recall_key(&others).unwrap();
        engine.forget_all_but(&[&kept]).unwrap();
        assert!(events.take().is_empty());
    });
}

#[test]
fn units_share_a_token_and_nothing_on_it() {
    on_softhsm("units_share_a_token_and_nothing_on_it", |softhsm| {
        let (token, _) = softhsm.token();
        let open = |name, keys| Pkcs11Engine::open(&token, name, keys);
        let (mut one, mut two) = (open("one", UnitKeys::New).unwrap(), open("two", UnitKeys::New).unwrap());
        let reference = persisted(&mut one);
        assert_eq!(two.recall_key(&reference), Err(EngineError::ReferenceInvalid));
        assert_eq!(two.forget_key(&reference), Ok(()), "what is not there is forgotten");
        two.forget_all_but(&[]).unwrap();
        one.recall_key(&reference).unwrap();
        let gcm = CipherMechanism::AesGcm { iv: &[1; 12], aad: b"" };
        let mut sealed = [0; 20];
        one.encrypt(gcm, one.device_key(), b"data", &mut sealed).unwrap();
        let refused = two.decrypt(gcm, two.device_key(), &sealed, &mut [0; 4]);
        assert_eq!(refused, Err(EngineError::EncryptedDataInvalid));
        assert!(
            matches!(open("three", UnitKeys::Known), Err(OpenError::KeysMissing { unit }) if unit == "three")
        );
    });
}

/// Somebody who has the PIN puts a key in a master key's place that permits more.
#[test]
fn an_object_that_permits_too_much_is_no_master_key() {
    on_softhsm("an_object_that_permits_too_much_is_no_master_key", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let reference = persisted(&mut engine);
        let session = looker(softhsm);
        let [master] = labelled(&session, "hsm-sim unit master key")[..] else {
            panic!("not one master key")
        };
        let same = session.get_attributes(master, &[AttributeType::Label, AttributeType::Id]).unwrap();
        session.destroy_object(master).unwrap();
        for (sensitive, extractable, sign, fits) in [
            (false, false, false, false),
            (true, true, false, false),
            (true, false, true, false),
            // The same key again, as it was.
            (true, false, false, true),
        ] {
            let mut attributes = vec![
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(cryptoki::object::KeyType::AES),
                Attribute::Value(vec![3; 32]),
                Attribute::Token(true),
                Attribute::Private(true),
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
            attributes.extend(same.clone());
            let planted = session.create_object(&attributes).unwrap();
            let recalled = engine.recall_key(&reference).map(|_| ());
            let expected = if fits { Ok(()) } else { Err(EngineError::ReferenceInvalid) };
            assert_eq!(recalled, expected, "{sensitive} {extractable} {sign}");
            session.destroy_object(planted).unwrap();
        }
    });
}

/// A key that a recovery unit hands on is one that was made for that.
#[test]
fn only_a_master_key_made_for_it_leaves_the_token() {
    on_softhsm("only_a_master_key_made_for_it_leaves_the_token", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let made = |engine: &mut Pkcs11Engine, extractable| {
            let spec = KeySpec { extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
            let master = engine.generate_key(&spec).unwrap();
            let reference = reference(engine, master);
            engine.destroy_key(master).unwrap();
            engine.recall_key(&reference).unwrap()
        };
        let (stays, leaves) = (made(&mut engine, false), made(&mut engine, true));
        assert_eq!(engine.export_key_part(stays).err(), Some(EngineError::KeyUnextractable));
        let part = engine.export_key_part(leaves).unwrap();
        let again = engine.combine_key_parts(&[part], false).unwrap();
        let mut digests = [[0; 32]; 2];
        engine.digest_key(&[1], leaves, &mut digests[0]).unwrap();
        engine.digest_key(&[1], again, &mut digests[1]).unwrap();
        assert_eq!(digests[0], digests[1]);
    });
}

/// Nothing is left of calls that fail, nor of keys that are destroyed.
#[test]
fn the_session_holds_the_keys_that_have_handles() {
    on_softhsm("the_session_holds_the_keys_that_have_handles", |softhsm| {
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let session = looker(softhsm);
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
            let back = engine.unwrap_key(WrapMechanism::AesKwp, kek, &wrapped, &short(20)).unwrap();
            for key in [kek, secret, back] {
                engine.destroy_key(key).unwrap();
            }
            assert_eq!(count(), before);
        }
        drop(engine);
        assert!(count() < before, "an engine leaves its session's objects behind");
        let _: Arc<Token> = token;
    });
}
