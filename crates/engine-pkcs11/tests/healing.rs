//! What is lost and comes back, and what is lost for good.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{SoftHsm, on_softhsm};
use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use engine::{CipherMechanism, Engine, EngineError, KeyHandle, KeyPart, KeySpec, KeyUses};
use engine_pkcs11::{OpenError, Pin, Pkcs11Engine, Token, TokenEvent, UnitKeys};
use std::time::{Duration, Instant};

const MACS: KeySpec = KeySpec::aes(32, KeyUses::SIGN.with(KeyUses::VERIFY));
/// Longest that a token may take to be noticed gone, or back; far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

fn intruder(softhsm: &SoftHsm) -> Session {
    let context = Pkcs11::new(&softhsm.module).unwrap();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let labelled =
        |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).unwrap().label().trim() == SoftHsm::LABEL;
    context.open_rw_session(slots.into_iter().find(labelled).unwrap()).unwrap()
}

/// An engine with a master key in service: its handle and that of the key derived from it.
fn in_service(engine: &mut Pkcs11Engine) -> (KeyHandle, KeyHandle) {
    let parts = [KeyPart::new([1; 32]), KeyPart::new([2; 32])];
    let master = engine.combine_key_parts(&parts, false).unwrap();
    let mac = engine.derive_key(master, b"mac", b"wkid", &MACS).unwrap();
    engine.persist_key(master, &mut [0; 96]).unwrap();
    (master, mac)
}

fn mac(engine: &mut Pkcs11Engine, key: KeyHandle) -> Result<[u8; 16], EngineError> {
    let mut mac = [0; 16];
    engine.sign(engine::MacMechanism::AesCmac, key, b"data", &mut mac).map(|_| mac)
}

/// Repeats until it is so; what it was before is given for the complaint.
fn until<T: std::fmt::Debug>(mut ask: impl FnMut() -> T, so: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let answer = ask();
        if so(&answer) {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "still {answer:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_logout_elsewhere_is_healed_under_the_same_handles() {
    on_softhsm("a_logout_elsewhere_is_healed_under_the_same_handles", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let (master, derived) = in_service(&mut engine);
        let loose = engine.generate_key(&KeySpec::aes(32, KeyUses::SIGN)).unwrap();
        let before = mac(&mut engine, derived).unwrap();
        for _ in 0..3 {
            intruder(softhsm).logout().unwrap();
            assert_eq!(mac(&mut engine, derived), Ok(before));
            engine.digest_key(&[1], master, &mut [0; 32]).unwrap();
            assert_eq!(events.take(), [TokenEvent::SessionRenewed]);
        }
        // What only the session had is lost with it; the unit's command may be tried again from its start.
        assert_eq!(mac(&mut engine, loose), Err(EngineError::DeviceRemoved));
        engine.destroy_key(loose).unwrap();
        assert_eq!(mac(&mut engine, loose), Err(EngineError::KeyHandleInvalid));
    });
}

#[test]
fn a_token_that_is_taken_away_is_noticed_and_found_again() {
    on_softhsm("a_token_that_is_taken_away_is_noticed_and_found_again", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let (master, derived) = in_service(&mut engine);
        let before = mac(&mut engine, derived).unwrap();
        for _ in 0..2 {
            softhsm.take_away();
            let refused = until(|| mac(&mut engine, derived), Result::is_err);
            assert_eq!(refused, Err(EngineError::DeviceRemoved));
            assert_eq!(engine.random(&mut [0; 8]), Err(EngineError::DeviceRemoved));
            let refused = engine.persist_key(master, &mut [0; 96]);
            assert!(refused.is_err());
            let said = events.take();
            assert!(matches!(said[..], [TokenEvent::Lost(_)]), "{said:?}");

            softhsm.bring_back();
            let after = until(|| mac(&mut engine, derived), Result::is_ok);
            assert_eq!(after, Ok(before));
            engine.digest_key(&[1], master, &mut [0; 32]).unwrap();
            assert_eq!(events.take(), [TokenEvent::Returned]);
        }
    });
}

/// What a module says whose daemon was started anew, or that somebody else in the process finalised.
#[test]
fn a_module_that_was_finalised_is_begun_anew() {
    on_softhsm("a_module_that_was_finalised_is_begun_anew", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let (master, derived) = in_service(&mut engine);
        let before = mac(&mut engine, derived).unwrap();
        for _ in 0..2 {
            Pkcs11::new(&softhsm.module).unwrap().finalize().unwrap();
            let after = until(|| mac(&mut engine, derived), Result::is_ok);
            assert_eq!(after, Ok(before));
            engine.digest_key(&[1], master, &mut [0; 32]).unwrap();
            let said = events.take();
            assert!(matches!(said[..], [TokenEvent::Lost(_), TokenEvent::Returned]), "{said:?}");
        }
    });
}

/// Bad input is not trouble with the token: it costs no session and nobody is told.
#[test]
fn what_does_not_authenticate_loses_nothing() {
    on_softhsm("what_does_not_authenticate_loses_nothing", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let loose = engine.generate_key(&KeySpec::aes(32, KeyUses::SIGN)).unwrap();
        let gcm = CipherMechanism::AesGcm { iv: &[1; 12], aad: b"" };
        for len in 0..64 {
            let refused = engine.decrypt(gcm, engine.device_key(), &vec![7; len], &mut [0; 64]);
            assert_eq!(refused, Err(EngineError::EncryptedDataInvalid));
        }
        mac(&mut engine, loose).unwrap();
        assert!(events.take().is_empty());
    });
}

#[test]
fn a_master_key_that_somebody_destroyed_is_said_to_be_lost() {
    on_softhsm("a_master_key_that_somebody_destroyed_is_said_to_be_lost", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let (master, derived) = in_service(&mut engine);
        let session = intruder(softhsm);
        let label = Attribute::Label(b"hsm-sim unit master key".to_vec());
        for object in session.find_objects(&[label]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        assert_eq!(engine.digest_key(&[1], master, &mut [0; 32]), Err(EngineError::DeviceError));
        assert_eq!(mac(&mut engine, derived), Err(EngineError::DeviceError));
        assert_eq!(events.take(), [TokenEvent::SessionRenewed, TokenEvent::KeyLost]);
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    on_softhsm("a_wrong_pin_is_tried_once", |softhsm| {
        let refused = Token::open(&softhsm.uri(), Pin::new("not it".to_owned()), Box::new(|_| {})).err();
        assert!(
            matches!(&refused, Some(OpenError::PinRefused { token, .. }) if token == SoftHsm::LABEL),
            "{refused:?}"
        );

        // The PIN is changed under a running engine, which finds out when it has to log in again.
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", UnitKeys::New).unwrap();
        let session = intruder(softhsm);
        let old = std::fs::read_to_string(softhsm.folder.join("pin")).unwrap();
        let (old, new) = (AuthPin::new(old.trim().into()), AuthPin::new("another pin".into()));
        session.set_pin(&old, &new).unwrap();
        session.logout().unwrap();
        for _ in 0..5 {
            let refused = engine.generate_key(&MACS);
            assert_eq!(refused, Err(EngineError::DeviceError));
        }
        let said = events.take();
        assert!(matches!(said[..], [TokenEvent::PinRefused(_)]), "{said:?}");
        // It was not locked.
        session.login(UserType::User, Some(&new)).unwrap();
    });
}

#[test]
fn a_module_has_one_token_at_a_time_and_again_afterwards() {
    on_softhsm("a_module_has_one_token_at_a_time_and_again_afterwards", |softhsm| {
        let (token, _) = softhsm.token();
        let second = Token::open(&softhsm.uri(), softhsm.pin(), Box::new(|_| {})).err();
        assert!(matches!(second, Some(OpenError::ModuleInUse { .. })), "{second:?}");
        drop(token);
        let _again = softhsm.token();
    });
}

#[test]
fn what_is_no_token_says_what_there_is() {
    on_softhsm("what_is_no_token_says_what_there_is", |softhsm| {
        let uri: engine_pkcs11::TokenUri =
            format!("pkcs11:token=nobody?module-path={}", softhsm.module.display()).parse().unwrap();
        let refused = Token::open(&uri, softhsm.pin(), Box::new(|_| {})).err().unwrap();
        assert!(refused.to_string().contains("`engine`"), "{refused}");
    });
}
