//! Objects that a program with the PIN has planted under a unit's labels and identifiers: each is refused, and the error
//! names the attribute.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/attacker.rs"]
mod attacker;
mod common;

use attacker::{Attacker, MACS, UnitKeys, WRAPPING, open_engine, stopped_unit};
use common::{SoftHsm, on_softhsm};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use engine::{CipherMechanism, Engine, EngineError, KeyPart, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use engine_pkcs11::{DeviceKeyMode, ObjectFault, ObjectRefusal, OpenError, Pkcs11Engine, TokenEvent};
use sha2::{Digest, Sha256};

/// Attributes that an object can be created with, beside its value.
const COPIED: [AttributeType; 18] = [
    AttributeType::Class,
    AttributeType::KeyType,
    AttributeType::Token,
    AttributeType::Private,
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

/// How an object is planted: with the attributes of the unit's own, but for these.
struct Planted {
    changed: Vec<Attribute>,
    generated: bool,
    key_len: usize,
    /// The attribute that the refusal names.
    named: &'static str,
}

impl Planted {
    fn with(changed: Attribute) -> Self {
        let named = match changed.attribute_type() {
            AttributeType::KeyType => "CKA_KEY_TYPE",
            AttributeType::Private => "CKA_PRIVATE",
            AttributeType::Sensitive => "CKA_SENSITIVE",
            AttributeType::Extractable => "CKA_EXTRACTABLE",
            AttributeType::Encrypt => "CKA_ENCRYPT",
            AttributeType::Decrypt => "CKA_DECRYPT",
            AttributeType::Sign => "CKA_SIGN",
            AttributeType::Verify => "CKA_VERIFY",
            AttributeType::Wrap => "CKA_WRAP",
            AttributeType::Unwrap => "CKA_UNWRAP",
            AttributeType::Derive => "CKA_DERIVE",
            AttributeType::AllowedMechanisms => "CKA_ALLOWED_MECHANISMS",
            AttributeType::Modifiable => "CKA_MODIFIABLE",
            AttributeType::Copyable => "CKA_COPYABLE",
            other => panic!("{other}"),
        };
        Self { changed: vec![changed], generated: true, key_len: 32, named }
    }

    fn imported(named: &'static str) -> Self {
        Self { changed: Vec::new(), generated: false, key_len: 32, named }
    }
}

/// Every object with one wrong attribute, for an object that permits what `own` says.
fn one_wrong_attribute(own: &[Attribute]) -> Vec<Planted> {
    let flipped = own.iter().filter_map(|attribute| {
        Some(Planted::with(match attribute {
            Attribute::Encrypt(value) => Attribute::Encrypt(!value),
            Attribute::Decrypt(value) => Attribute::Decrypt(!value),
            Attribute::Sign(value) => Attribute::Sign(!value),
            Attribute::Verify(value) => Attribute::Verify(!value),
            Attribute::Wrap(value) => Attribute::Wrap(!value),
            Attribute::Unwrap(value) => Attribute::Unwrap(!value),
            Attribute::Derive(value) => Attribute::Derive(!value),
            Attribute::Private(value) => Attribute::Private(!value),
            Attribute::Sensitive(value) => Attribute::Sensitive(!value),
            Attribute::Extractable(value) => Attribute::Extractable(!value),
            Attribute::AllowedMechanisms(allowed) => {
                let more = allowed.iter().copied().chain([MechanismType::AES_ECB]);
                Attribute::AllowedMechanisms(more.collect())
            }
            _ => return None,
        }))
    });
    let mut planted: Vec<Planted> = flipped.collect();
    planted.push(Planted::with(Attribute::AllowedMechanisms(vec![MechanismType::AES_ECB])));
    planted.push(Planted { key_len: 16, named: "CKA_VALUE_LEN", ..Planted::with(Attribute::Wrap(false)) });
    planted.last_mut().unwrap().changed.clear();
    planted.push(Planted { generated: false, ..Planted::with(Attribute::KeyType(KeyType::GENERIC_SECRET)) });
    planted
}

/// The unit's only object with this label, and its attributes.
fn own(attacker: &Attacker, role: &str) -> (ObjectHandle, Vec<Attribute>) {
    let objects = attacker.objects();
    let (object, _) = objects.iter().find(|(_, label)| *label == format!("hsm-sim unit {role}")).unwrap();
    (*object, attacker.session.get_attributes(*object, &COPIED).unwrap())
}

/// Creates an object in place of the unit's own.
fn plant(attacker: &Attacker, own: &[Attribute], planted: &Planted) -> ObjectHandle {
    let mut attributes = own.to_vec();
    for changed in &planted.changed {
        attributes.retain(|attribute| attribute.attribute_type() != changed.attribute_type());
        attributes.push(changed.clone());
    }
    if planted.generated {
        attributes.push(Attribute::ValueLen((planted.key_len as u64).into()));
        attacker.session.generate_key(&Mechanism::AesKeyGen, &attributes).unwrap()
    } else {
        attributes.push(Attribute::Value(vec![7; planted.key_len]));
        attacker.session.create_object(&attributes).unwrap()
    }
}

fn refused(result: Result<Pkcs11Engine, OpenError>) -> ObjectRefusal {
    match result.err() {
        Some(OpenError::ObjectInvalid { unit, refusal }) if unit == "unit" => refusal,
        other => panic!("{other:?}"),
    }
}

fn attribute(role: &'static str, name: &str) -> ObjectRefusal {
    ObjectRefusal { role, fault: ObjectFault::Attribute(name.to_owned()) }
}

#[test]
fn attack_a_planted_device_key_is_refused() {
    on_softhsm("attack_a_planted_device_key_is_refused", |softhsm| {
        stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let (object, own) = own(&attacker, "device key");
        attacker.session.destroy_object(object).unwrap();
        attacker.log_out();
        let mut all = one_wrong_attribute(&own);
        // Right in everything that can be chosen, with a value that the attacker knows.
        all.push(Planted::imported("CKA_LOCAL"));
        assert!(all.len() > 13);
        for planted in all {
            let attacker = Attacker::log_in(softhsm);
            plant(&attacker, &own, &planted);
            attacker.log_out();
            for mode in [DeviceKeyMode::MustExist, DeviceKeyMode::CreateIfMissing] {
                let refusal = refused(Pkcs11Engine::open(&softhsm.token().0, "unit", mode));
                assert_eq!(refusal, attribute("device key", planted.named));
            }
            let attacker = Attacker::log_in(softhsm);
            for object in attacker
                .session
                .find_objects(&[Attribute::Label(b"hsm-sim unit device key".to_vec())])
                .unwrap()
            {
                attacker.session.destroy_object(object).unwrap();
            }
            attacker.log_out();
        }
    });
}

#[test]
fn attack_a_planted_state_key_is_refused() {
    on_softhsm("attack_a_planted_state_key_is_refused", |softhsm| {
        let mut engine = open_engine(softhsm, DeviceKeyMode::CreateIfMissing);
        let id = engine.create_state_key().unwrap();
        let others = [engine.create_state_key().unwrap(), engine.create_state_key().unwrap()];
        engine.destroy_state_keys_but(&[id]).unwrap();
        drop(engine);
        let attacker = Attacker::log_in(softhsm);
        let (object, own) = own(&attacker, "state key");
        let id_attribute = own.iter().find(|it| it.attribute_type() == AttributeType::Id).unwrap().clone();
        attacker.session.destroy_object(object).unwrap();
        attacker.log_out();
        let mut all = one_wrong_attribute(&own);
        all.push(Planted::with(Attribute::Modifiable(true)));
        all.push(Planted::with(Attribute::Copyable(true)));
        all.push(Planted::imported("CKA_LOCAL"));
        for planted in all {
            let attacker = Attacker::log_in(softhsm);
            plant(&attacker, &own, &planted);
            attacker.log_out();
            let (token, events) = softhsm.token();
            let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::MustExist).unwrap();
            assert_eq!(engine.state_key(&id), Err(EngineError::ReferenceInvalid), "{}", planted.named);
            assert_eq!(events.take(), [TokenEvent::ObjectRefused(attribute("state key", planted.named))]);
            assert_eq!(engine.state_key(&others[0]), Err(EngineError::ReferenceInvalid));
            drop((engine, token));
            let attacker = Attacker::log_in(softhsm);
            for object in attacker.session.find_objects(std::slice::from_ref(&id_attribute)).unwrap() {
                attacker.session.destroy_object(object).unwrap();
            }
            attacker.log_out();
        }
    });
}

/// A unit whose device key is missing is known by its state key: a renewal was interrupted.
#[test]
fn an_interrupted_renewal_of_the_device_key_is_completed() {
    on_softhsm("an_interrupted_renewal_of_the_device_key_is_completed", |softhsm| {
        stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let (object, _) = own(&attacker, "device key");
        attacker.session.destroy_object(object).unwrap();
        attacker.log_out();
        drop(open_engine(softhsm, DeviceKeyMode::MustExist));
        let attacker = Attacker::log_in(softhsm);
        for role in ["device key", "state key"] {
            let (object, _) = own(&attacker, role);
            attacker.session.destroy_object(object).unwrap();
        }
        attacker.log_out();
        let refused = Pkcs11Engine::open(&softhsm.token().0, "unit", DeviceKeyMode::MustExist);
        assert!(matches!(refused, Err(OpenError::DeviceKeyMissing { .. })));
    });
}

#[test]
fn attack_a_second_device_key_is_refused() {
    on_softhsm("attack_a_second_device_key_is_refused", |softhsm| {
        stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let (_, own) = own(&attacker, "device key");
        plant(&attacker, &own, &Planted { generated: true, ..Planted::imported("") });
        attacker.log_out();
        let refusal = refused(Pkcs11Engine::open(&softhsm.token().0, "unit", DeviceKeyMode::MustExist));
        assert_eq!(refusal, ObjectRefusal { role: "device key", fault: ObjectFault::Several(2) });
        assert!(refusal.to_string().starts_with("2 objects have"));
        // An object of another class counts too.
        let attacker = Attacker::log_in(softhsm);
        let label = Attribute::Label(b"hsm-sim unit device key".to_vec());
        let objects = attacker.session.find_objects(&[label]).unwrap();
        attacker.session.destroy_object(objects[0]).unwrap();
        let data: Vec<Attribute> =
            [Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Private(true)]
                .into_iter()
                .chain(own.into_iter().filter(|it| it.attribute_type() == AttributeType::Label))
                .chain([Attribute::Value(vec![1])])
                .collect();
        attacker.session.create_object(&data).unwrap();
        attacker.log_out();
        // Data objects have no identifier in SoftHSM: it is another object, and the unit's own is found.
        drop(Pkcs11Engine::open(&softhsm.token().0, "unit", DeviceKeyMode::MustExist).unwrap());
    });
}

/// Plants each object in turn, and returns what the unit reported about each.
fn recalled_with(
    softhsm: &SoftHsm,
    role: &str,
    reference: &[u8],
    planted: &Planted,
    template: Option<&[Attribute]>,
) -> (Result<(), EngineError>, Vec<TokenEvent>) {
    let attacker = Attacker::log_in(softhsm);
    let (_, own) = own(&attacker, role);
    let own = template.unwrap_or(&own);
    let id = own.iter().find(|attribute| attribute.attribute_type() == AttributeType::Id).unwrap();
    for object in attacker.session.find_objects(std::slice::from_ref(id)).unwrap() {
        attacker.session.destroy_object(object).unwrap();
    }
    plant(&attacker, own, planted);
    attacker.log_out();
    let (token, events) = softhsm.token();
    let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::MustExist).unwrap();
    let used = engine.recall_key(reference).and_then(|master| {
        engine.derive_key(master, b"wrap", b"wkid", &WRAPPING)?;
        engine.derive_key(master, b"mac", b"wkid", &MACS)
    });
    (used.map(|_| ()), events.take())
}

#[test]
fn attack_a_planted_master_key_is_refused() {
    on_softhsm("attack_a_planted_master_key_is_refused", |softhsm| {
        let (reference, ..) = stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let (_, own) = own(&attacker, "master key");
        attacker.log_out();
        let mut all = one_wrong_attribute(&own);
        all.push(Planted::with(Attribute::Modifiable(true)));
        for mut planted in all {
            planted.generated &= planted.named == "CKA_SENSITIVE";
            let (used, events) = recalled_with(softhsm, "master key", &reference, &planted, Some(&own));
            assert_eq!(used, Err(EngineError::ReferenceInvalid), "{}", planted.named);
            let refusal = attribute("master key", planted.named);
            assert_eq!(events, [TokenEvent::ObjectRefused(refusal)]);
        }
    });
}

#[test]
fn attack_a_planted_wrapping_key_is_refused() {
    on_softhsm("attack_a_planted_wrapping_key_is_refused", |softhsm| {
        const ROLE: &str = "derived key wrapping";
        let (reference, ..) = stopped_unit(softhsm);
        let attacker = Attacker::log_in(softhsm);
        let (_, own) = own(&attacker, ROLE);
        attacker.log_out();
        let mut all = one_wrong_attribute(&own);
        all.push(Planted::with(Attribute::Modifiable(true)));
        all.push(Planted::with(Attribute::Copyable(true)));
        all.push(Planted::imported("CKA_LOCAL"));
        // Generated with all attributes but the template.
        all.push(Planted { generated: true, ..Planted::imported("CKA_UNWRAP_TEMPLATE") });
        for planted in all {
            let (used, events) = recalled_with(softhsm, ROLE, &reference, &planted, Some(&own));
            assert_eq!(used, Err(EngineError::ReferenceInvalid), "{}", planted.named);
            assert_eq!(events, [TokenEvent::ObjectRefused(attribute(ROLE, planted.named))]);
        }
    });
}

/// The identifier of a key and a derivation, as an earlier version computed it.
fn earlier_id(reference: &[u8; 24], derivation: Option<(&[u8], &KeySpec)>) -> Vec<u8> {
    let mut id = Sha256::new()
        .chain_update(b"hsm-sim persisted key")
        .chain_update(4_u64.to_be_bytes())
        .chain_update(b"unit")
        .chain_update(reference)
        .finalize()[..16]
        .to_vec();
    id.extend(derivation.map_or([0; 16], |(label, spec)| {
        let digest = Sha256::new()
            .chain_update(b"hsm-sim derived key")
            .chain_update((label.len() as u64).to_be_bytes())
            .chain_update(label)
            .chain_update(4_u64.to_be_bytes())
            .chain_update(b"wkid")
            .chain_update([1, 1, 4, 32])
            .chain_update(spec.uses.bits().to_be_bytes())
            .finalize();
        let mut derivation: [u8; 16] = digest[..16].try_into().unwrap();
        derivation[15] &= !1;
        derivation
    }));
    id
}

/// Objects as an earlier version stored them: derived keys of their own, modifiable and copyable. Returns the reference.
fn earlier_unit(attacker: &Attacker) -> [u8; 24] {
    let mut reference = [0x5a; 24];
    reference[..8].copy_from_slice(&[1, 1, 2, 32, 0, 0, 0x10, 0]);
    let store = |role: &str,
                 id: Vec<u8>,
                 value: [u8; 32],
                 uses: &[Attribute],
                 allowed: &[MechanismType],
                 modifiable| {
        let mut attributes = vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Label(format!("hsm-sim unit {role}").into_bytes()),
            Attribute::Id(id),
            Attribute::AllowedMechanisms(allowed.to_vec()),
            Attribute::Modifiable(modifiable),
        ];
        for usage in [
            Attribute::Encrypt as fn(bool) -> Attribute,
            Attribute::Decrypt,
            Attribute::Sign,
            Attribute::Verify,
            Attribute::Wrap,
            Attribute::Unwrap,
            Attribute::Derive,
        ] {
            attributes.push(usage(uses.contains(&usage(true))));
        }
        if role == "device key" {
            attributes.push(Attribute::ValueLen(32.into()));
            attacker.session.generate_key(&Mechanism::AesKeyGen, &attributes).unwrap();
        } else {
            attributes.push(Attribute::Value(value.to_vec()));
            attacker.session.create_object(&attributes).unwrap();
        }
    };
    let both = [Attribute::Encrypt(true), Attribute::Decrypt(true)];
    store("device key", vec![0; 32], [0; 32], &both, &[MechanismType::AES_GCM], true);
    let derives = [MechanismType::AES_CMAC, MechanismType::SHA256];
    store("master key", earlier_id(&reference, None), [3; 32], &[], &derives, false);
    let wrap = earlier_id(&reference, Some((b"wrap", &WRAPPING)));
    let mut blocks = wrap.clone();
    blocks[31] |= 1;
    let wraps = [Attribute::Wrap(true), Attribute::Unwrap(true)];
    let mechanisms = [MechanismType::AES_KEY_WRAP, MechanismType::AES_KEY_WRAP_PAD, MechanismType::SHA256];
    store("derived key", wrap, [4; 32], &wraps, &mechanisms, true);
    store("derived key", blocks, [4; 32], &[Attribute::Encrypt(true)], &[MechanismType::AES_ECB], true);
    let mac = earlier_id(&reference, Some((b"mac", &MACS)));
    let signs = [Attribute::Sign(true), Attribute::Verify(true)];
    let mechanisms = [MechanismType::AES_CMAC, MechanismType::SHA256];
    store("derived key", mac, [5; 32], &signs, &mechanisms, true);
    reference
}

/// A unit of an earlier version works on, and reports that its derived keys can be used with the PIN.
#[test]
fn keys_that_an_earlier_version_has_stored_are_used() {
    on_softhsm("keys_that_an_earlier_version_has_stored_are_used", |softhsm| {
        let attacker = Attacker::log_in(softhsm);
        let reference = earlier_unit(&attacker);
        attacker.log_out();
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::MustExist).unwrap();
        engine.forget_all_but(&[&reference]).unwrap();
        let gcm = CipherMechanism::AesGcm { iv: &[1; 12], aad: b"" };
        engine.encrypt(gcm, engine.device_key(), b"data", &mut [0; 20]).unwrap();
        let mut unit = UnitKeys::recall(engine, &reference);
        assert_eq!(events.take(), [TokenEvent::EarlierDerivedKeys]);
        // The same as with a MAC key and a wrapping key of these values.
        let (wrapped, mac) = unit.blob();
        let (mut expected, mut expected_mac) = ([0; 40], [0; 16]);
        let wrap = unit.engine.import_key(&WRAPPING, &[4; 32]).unwrap();
        let customer = KeySpec { extractable: true, ..KeySpec::aes(32, KeyUses::NONE) };
        let key = unit.engine.import_key(&customer, &attacker::CUSTOMER_KEY).unwrap();
        unit.engine.wrap_key(WrapMechanism::AesKw, wrap, key, &mut expected).unwrap();
        let mac_key = unit.engine.import_key(&MACS, &[5; 32]).unwrap();
        unit.engine.sign(MacMechanism::AesCmac, mac_key, &expected, &mut expected_mac).unwrap();
        assert_eq!((wrapped, mac), (expected, expected_mac));
        // The next master key is stored in the present way, and the earlier one can be removed.
        let parts = [KeyPart::new([1; 32]), KeyPart::new([2; 32])];
        let next = unit.engine.combine_key_parts(&parts, false).unwrap();
        let mut buffer = [0; engine::MAX_REFERENCE_LEN];
        assert_eq!(unit.engine.persist_key(next, &mut buffer), Ok(16));
        unit.engine.forget_key(&reference).unwrap();
        drop((unit, token));
        let attacker = Attacker::log_in(softhsm);
        let labels: Vec<String> = attacker
            .session
            .find_objects(&[Attribute::Token(true)])
            .unwrap()
            .into_iter()
            .map(|object| attacker.label(object))
            .collect();
        assert!(labels.iter().all(|label| !label.ends_with("derived key")), "{labels:?}");
        attacker.log_out();
    });
}

/// Also for the objects of an earlier version, whose values another program may know.
#[test]
fn attack_a_planted_earlier_derived_key_that_permits_more_is_refused() {
    on_softhsm("attack_a_planted_earlier_derived_key_that_permits_more_is_refused", |softhsm| {
        let attacker = Attacker::log_in(softhsm);
        let reference = earlier_unit(&attacker);
        attacker.log_out();
        let planted = Planted { generated: false, ..Planted::with(Attribute::Extractable(true)) };
        let (used, events) = recalled_with(softhsm, "derived key", &reference, &planted, None);
        assert_eq!(used, Err(EngineError::ReferenceInvalid));
        let refused = TokenEvent::ObjectRefused(attribute("derived key", "CKA_EXTRACTABLE"));
        assert!(events.contains(&refused), "{events:?}");
        drop(open_engine(softhsm, DeviceKeyMode::MustExist));
    });
}
