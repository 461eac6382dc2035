//! Recovery from lost sessions, logins, modules and tokens, and what cannot be recovered.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/log.rs"]
mod log;

use common::{SoftHsm, on_softhsm};
use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use engine::{CipherMechanism, Engine, EngineError, KeyHandle, KeyPart, KeySpec, KeyUses};
use engine_pkcs11::{DeviceKeyMode, OpenError, Pin, Pkcs11Engine, Token, TokenEvent};
use log::Log;
use std::time::{Duration, Instant};

const MACS: KeySpec = KeySpec::aes(32, KeyUses::SIGN.with(KeyUses::VERIFY));
/// Time in which a lost token must be detected or recovered; far longer than it takes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A session of the same process that does not belong to the engine.
fn other_session(softhsm: &SoftHsm) -> Session {
    let context = Pkcs11::new(&softhsm.module).unwrap();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let labelled =
        |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).unwrap().label().trim() == SoftHsm::LABEL;
    context.open_rw_session(slots.into_iter().find(labelled).unwrap()).unwrap()
}

/// Loads a master key. Returns its handle and that of a key derived from it.
fn load_master_key(engine: &mut Pkcs11Engine) -> (KeyHandle, KeyHandle) {
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

/// Repeats `ask` until its result satisfies `is_done`.
fn until<T: std::fmt::Debug>(mut ask: impl FnMut() -> T, is_done: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let result = ask();
        if is_done(&result) {
            return result;
        }
        assert!(started.elapsed() < TIMEOUT, "still {result:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_logout_is_recovered_with_the_same_handles() {
    on_softhsm("a_logout_is_recovered_with_the_same_handles", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let (master, derived) = load_master_key(&mut engine);
        let session_key = engine.generate_key(&KeySpec::aes(32, KeyUses::SIGN)).unwrap();
        let before = mac(&mut engine, derived).unwrap();
        for _ in 0..3 {
            other_session(softhsm).logout().unwrap();
            assert_eq!(mac(&mut engine, derived), Ok(before));
            engine.digest_key(&[1], master, &mut [0; 32]).unwrap();
            assert_eq!(events.take(), [TokenEvent::SessionRenewed]);
        }
        // The session key is lost with the session.
        assert_eq!(mac(&mut engine, session_key), Err(EngineError::DeviceRemoved));
        engine.destroy_key(session_key).unwrap();
        assert_eq!(mac(&mut engine, session_key), Err(EngineError::KeyHandleInvalid));
    });
}

#[test]
fn a_removed_token_is_detected_and_found_again() {
    on_softhsm("a_removed_token_is_detected_and_found_again", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let (master, derived) = load_master_key(&mut engine);
        let before = mac(&mut engine, derived).unwrap();
        for _ in 0..2 {
            softhsm.remove_token();
            let refused = until(|| mac(&mut engine, derived), Result::is_err);
            assert_eq!(refused, Err(EngineError::DeviceRemoved));
            assert_eq!(engine.random(&mut [0; 8]), Err(EngineError::DeviceRemoved));
            let refused = engine.persist_key(master, &mut [0; 96]);
            assert!(refused.is_err());
            let reported = events.take();
            assert!(matches!(reported[..], [TokenEvent::TokenLost(_)]), "{reported:?}");

            softhsm.restore_token();
            let after = until(|| mac(&mut engine, derived), Result::is_ok);
            assert_eq!(after, Ok(before));
            engine.digest_key(&[1], master, &mut [0; 32]).unwrap();
            assert_eq!(events.take(), [TokenEvent::TokenBack]);
        }
    });
}

/// As after a restart of the module's daemon, or when other code in the process finalises the module.
#[test]
fn a_finalised_module_is_initialised_again() {
    on_softhsm("a_finalised_module_is_initialised_again", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let (master, derived) = load_master_key(&mut engine);
        let before = mac(&mut engine, derived).unwrap();
        for _ in 0..2 {
            Pkcs11::new(&softhsm.module).unwrap().finalize().unwrap();
            let after = until(|| mac(&mut engine, derived), Result::is_ok);
            assert_eq!(after, Ok(before));
            engine.digest_key(&[1], master, &mut [0; 32]).unwrap();
            let reported = events.take();
            assert!(
                matches!(reported[..], [TokenEvent::TokenLost(_), TokenEvent::TokenBack]),
                "{reported:?}"
            );
        }
    });
}

/// Invalid input is not mistaken for a fault of the token: no session is lost, no event reported.
#[test]
fn input_that_fails_authentication_costs_no_session() {
    on_softhsm("input_that_fails_authentication_costs_no_session", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let session_key = engine.generate_key(&KeySpec::aes(32, KeyUses::SIGN)).unwrap();
        let gcm = CipherMechanism::AesGcm { iv: &[1; 12], aad: b"" };
        for len in 0..64 {
            let refused = engine.decrypt(gcm, engine.device_key(), &vec![7; len], &mut [0; 64]);
            assert_eq!(refused, Err(EngineError::EncryptedDataInvalid));
        }
        mac(&mut engine, session_key).unwrap();
        assert!(events.take().is_empty());
    });
}

#[test]
fn a_destroyed_master_key_is_reported_as_lost() {
    on_softhsm("a_destroyed_master_key_is_reported_as_lost", |softhsm| {
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let (master, derived) = load_master_key(&mut engine);
        let session = other_session(softhsm);
        let label = Attribute::Label(b"hsm-sim unit master key".to_vec());
        for object in session.find_objects(&[label]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        assert_eq!(engine.digest_key(&[1], master, &mut [0; 32]), Err(EngineError::DeviceError));
        assert_eq!(mac(&mut engine, derived), Err(EngineError::DeviceError));
        assert_eq!(events.take(), [TokenEvent::SessionRenewed, TokenEvent::StoredKeyLost]);
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    on_softhsm("a_wrong_pin_is_tried_once", |softhsm| {
        let refused = Token::open(&softhsm.uri(), Pin::new("wrong".to_owned()), Box::new(|_| {})).err();
        assert!(
            matches!(&refused, Some(OpenError::PinRefused { token, .. }) if token == SoftHsm::LABEL),
            "{refused:?}"
        );

        // The PIN of a running engine is changed; the engine is affected when it has to log in again.
        let (token, events) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let session = other_session(softhsm);
        let old = std::fs::read_to_string(softhsm.folder.join("pin")).unwrap();
        let (old, new) = (AuthPin::new(old.trim().into()), AuthPin::new("another pin".into()));
        session.set_pin(&old, &new).unwrap();
        session.logout().unwrap();
        for _ in 0..5 {
            let refused = engine.generate_key(&MACS);
            assert_eq!(refused, Err(EngineError::DeviceError));
        }
        let reported = events.take();
        assert!(matches!(reported[..], [TokenEvent::PinRefused(_)]), "{reported:?}");
        // The token is not locked.
        session.login(UserType::User, Some(&new)).unwrap();
    });
}

/// Each recovery is logged once, with the token's label, and no event contains a PIN.
#[test]
fn recovery_is_logged_without_the_pin() {
    on_softhsm("recovery_is_logged_without_the_pin", |softhsm| {
        let log = Log::install();
        let (token, _) = softhsm.token();
        let mut engine = Pkcs11Engine::open(&token, "unit", DeviceKeyMode::CreateIfMissing).unwrap();
        let (_, derived) = load_master_key(&mut engine);
        other_session(softhsm).logout().unwrap();
        mac(&mut engine, derived).unwrap();
        softhsm.remove_token();
        let _ = until(|| mac(&mut engine, derived), Result::is_err);
        softhsm.restore_token();
        let _ = until(|| mac(&mut engine, derived), Result::is_ok);
        let session = other_session(softhsm);
        let old_pin = std::fs::read_to_string(softhsm.folder.join("pin")).unwrap();
        let new_pin = "another pin";
        session.set_pin(&AuthPin::new(old_pin.trim().into()), &AuthPin::new(new_pin.into())).unwrap();
        session.logout().unwrap();
        assert_eq!(mac(&mut engine, derived), Err(EngineError::DeviceError));

        let lines: Vec<String> = log.lines().into_iter().filter(|line| !line.starts_with("DEBUG")).collect();
        let expected = [
            "INFO message=logged in again",
            "WARN message=session lost and opened again",
            "WARN message=token lost",
            "INFO message=PKCS#11 module initialized and logged in again",
            "INFO message=token back",
            "ERROR message=PIN refused; it is not tried again",
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(
                line.starts_with(expected) && line.contains("token=\"engine\""),
                "{expected}: {lines:#?}"
            );
        }
        for line in log.lines() {
            assert!(!line.contains(old_pin.trim()) && !line.contains(new_pin), "{line}");
        }
    });
}

#[test]
fn a_process_uses_one_token_of_a_module_at_a_time() {
    on_softhsm("a_process_uses_one_token_of_a_module_at_a_time", |softhsm| {
        let (token, _) = softhsm.token();
        let second = Token::open(&softhsm.uri(), softhsm.pin(), Box::new(|_| {})).err();
        assert!(matches!(second, Some(OpenError::ModuleInUse { .. })), "{second:?}");
        drop(token);
        let _again = softhsm.token();
    });
}

#[test]
fn an_unknown_token_is_refused_with_the_labels_of_the_others() {
    on_softhsm("an_unknown_token_is_refused_with_the_labels_of_the_others", |softhsm| {
        let uri: engine_pkcs11::TokenUri =
            format!("pkcs11:token=unknown?module-path={}", softhsm.module.display()).parse().unwrap();
        let refused = Token::open(&uri, softhsm.pin(), Box::new(|_| {})).err().unwrap();
        assert!(refused.to_string().contains("`engine`"), "{refused}");
    });
}
