//! A program that has the token's PIN, and none of the unit's files; and the unit whose keys it is after.

use crate::common::SoftHsm;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use engine::{Engine, KeyHandle, KeyPart, KeySpec, KeyUses, MacMechanism, WrapMechanism};
use engine_pkcs11::{DeviceKeyMode, Pkcs11Engine};

pub(crate) const WRAPPING: KeySpec = KeySpec::aes(32, KeyUses::WRAP.with(KeyUses::UNWRAP));
pub(crate) const MACS: KeySpec = KeySpec::aes(32, KeyUses::SIGN.with(KeyUses::VERIFY));
pub(crate) const CUSTOMER_KEY: [u8; 32] = *b"a customer's key, 32 bytes long.";
/// A unit's engine with a master key and the two keys derived from it.
pub(crate) struct UnitKeys {
    pub(crate) engine: Pkcs11Engine,
    pub(crate) reference: Vec<u8>,
    pub(crate) wrap: KeyHandle,
    pub(crate) mac: KeyHandle,
}

impl UnitKeys {
    /// Loads a master key as a unit does: combines it, derives from it, persists it.
    pub(crate) fn load(mut engine: Pkcs11Engine) -> Self {
        let parts = [KeyPart::new([1; 32]), KeyPart::new([2; 32])];
        let master = engine.combine_key_parts(&parts, false).unwrap();
        let (wrap, mac) = derive(&mut engine, master);
        let mut reference = [0; engine::MAX_REFERENCE_LEN];
        let len = engine.persist_key(master, &mut reference).unwrap();
        Self { engine, reference: reference[..len].to_vec(), wrap, mac }
    }

    /// Opens the same keys again.
    pub(crate) fn recall(mut engine: Pkcs11Engine, reference: &[u8]) -> Self {
        let master = engine.recall_key(reference).unwrap();
        let (wrap, mac) = derive(&mut engine, master);
        Self { engine, reference: reference.to_vec(), wrap, mac }
    }

    /// What a key blob holds: the customer's key, wrapped, and the MAC of that.
    pub(crate) fn blob(&mut self) -> ([u8; 40], [u8; 16]) {
        let spec = KeySpec { extractable: true, ..KeySpec::aes(32, KeyUses::NONE) };
        let key = self.engine.import_key(&spec, &CUSTOMER_KEY).unwrap();
        let (mut wrapped, mut mac) = ([0; 40], [0; 16]);
        self.engine.wrap_key(WrapMechanism::AesKw, self.wrap, key, &mut wrapped).unwrap();
        self.engine.sign(MacMechanism::AesCmac, self.mac, &wrapped, &mut mac).unwrap();
        self.engine.destroy_key(key).unwrap();
        (wrapped, mac)
    }
}

pub(crate) fn derive(engine: &mut Pkcs11Engine, master: KeyHandle) -> (KeyHandle, KeyHandle) {
    let wrap = engine.derive_key(master, b"wrap", b"wkid", &WRAPPING).unwrap();
    (wrap, engine.derive_key(master, b"mac", b"wkid", &MACS).unwrap())
}

pub(crate) fn open_engine(softhsm: &SoftHsm, mode: DeviceKeyMode) -> Pkcs11Engine {
    Pkcs11Engine::open(&softhsm.token().0, "unit", mode).unwrap()
}

/// Loads a master key, makes a state key, and stops the unit, so that only stored objects are left. Returns the reference and a blob.
pub(crate) fn stopped_unit(softhsm: &SoftHsm) -> (Vec<u8>, [u8; 40], [u8; 16]) {
    let mut unit = UnitKeys::load(open_engine(softhsm, DeviceKeyMode::CreateIfMissing));
    let (wrapped, mac) = unit.blob();
    unit.engine.create_state_key().unwrap();
    (unit.reference, wrapped, mac)
}

/// A session with the token of a program that has the PIN.
pub(crate) struct Attacker {
    pub(crate) session: Session,
    context: Pkcs11,
}

impl Attacker {
    pub(crate) fn log_in(softhsm: &SoftHsm) -> Self {
        let context = Pkcs11::new(&softhsm.module).unwrap();
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slots = context.get_slots_with_initialized_token().unwrap();
        let session = context.open_rw_session(slots[0]).unwrap();
        let pin = std::fs::read_to_string(softhsm.folder.join("pin")).unwrap();
        session.login(UserType::User, Some(&AuthPin::new(pin.into()))).unwrap();
        Self { session, context }
    }

    pub(crate) fn log_out(self) {
        self.session.logout().unwrap();
        self.session.close().unwrap();
        self.context.finalize().unwrap();
    }

    /// Every object of the unit, with its label.
    pub(crate) fn objects(&self) -> Vec<(ObjectHandle, String)> {
        let all = self.session.find_objects(&[Attribute::Token(true)]).unwrap();
        let objects: Vec<_> = all.into_iter().map(|object| (object, self.label(object))).collect();
        assert!(objects.len() >= 2, "{objects:?}");
        objects
    }

    pub(crate) fn label(&self, object: ObjectHandle) -> String {
        match &self.session.get_attributes(object, &[AttributeType::Label]).unwrap()[..] {
            [Attribute::Label(label)] => String::from_utf8(label.clone()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) fn has(&self, object: ObjectHandle, attribute: &Attribute) -> bool {
        self.session.get_attributes(object, &[attribute.attribute_type()]).unwrap().contains(attribute)
    }

    /// A key of the attacker's with a known value.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) fn own_key(&self, value: [u8; 32], more: &[Attribute]) -> ObjectHandle {
        let mut attributes = readable(KeyType::AES);
        attributes.push(Attribute::Value(value.to_vec()));
        attributes.extend_from_slice(more);
        self.session.create_object(&attributes).unwrap()
    }
}

/// The template of an object whose value can be read.
#[allow(dead_code, reason = "not every test uses it")]
pub(crate) fn readable(key_type: KeyType) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}
