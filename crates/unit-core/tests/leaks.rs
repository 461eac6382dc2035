//! No command leaves a key in the engine that it did not find there, however it ends.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::observed::Misbehaviour;
use common::{Answer, Bench, THIRD_PARTS, bytes, execute, generate, import, lasting, spec, status};
use engine::{Algorithm, EngineError, KeyUses, MacMechanism, WrapMechanism};
use unit_api::{Command, Condition, NewRegister};

/// Every command that puts the engine to work, over keys of a unit that is rotating.
fn commands(bench: &Bench) -> Vec<Command<'static>> {
    let mut unit = bench.rotating();
    let key: &'static [u8] = generate(&mut unit, KeyUses::ALL, true).leak();
    let secret: &'static [u8] = import(&mut unit, Algorithm::GenericSecret, &[1; 21], KeyUses::ALL).leak();
    let by = WrapMechanism::AesKw;
    let wrapped: &'static [u8] = bytes(&mut unit, Command::WrapKey { by, kek: key, key }).leak();
    let encrypt = Command::Encrypt { key, aad: b"a", plaintext: b"p" };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt) else { panic!() };
    let hmac = MacMechanism::HmacSha256;
    let signature: &'static [u8] =
        bytes(&mut unit, Command::Sign { by: hmac, key: secret, data: b"d" }).leak();
    let spec = spec(Algorithm::Aes, 32, KeyUses::ALL, true);
    let NewRegister::FullCommitted(pattern) = status(&mut unit).new else { panic!() };
    vec![
        Command::GenerateRandom { len: 8 },
        Command::GenerateKey { spec },
        Command::ImportKey { spec, value: &[1; 32] },
        Command::WrapKey { by, kek: key, key },
        Command::UnwrapKey { by, kek: key, wrapped, spec },
        encrypt,
        Command::Decrypt { key, iv, aad: b"a", ciphertext: ciphertext.leak() },
        Command::Sign { by: hmac, key: secret, data: b"d" },
        Command::Verify { by: hmac, key: secret, data: b"d", signature },
        Command::Reencipher { blob: secret },
        Command::Commit { pattern },
        Command::ClearNew,
        Command::LoadKeyParts { parts: &THIRD_PARTS },
        Command::ClearNew,
        Command::GenerateMasterKey,
        Command::ClearCurrent,
        Command::Zeroize,
        Command::GenerateMasterKey,
    ]
}

#[test]
fn no_key_is_left_whichever_call_fails_and_however() {
    let errors = [EngineError::DeviceRemoved, EngineError::DeviceMemory, EngineError::MechanismInvalid];
    for error in errors {
        let bench = Bench::new(1);
        let commands = commands(&bench);
        let mut unit = bench.start();
        for command in commands {
            for nth in 0.. {
                let before = lasting(&mut unit);
                bench.device.misbehave(Some(Misbehaviour::Refuses(nth, error)));
                let answer = execute(&mut unit, command);
                let calls = bench.device.calls();
                bench.device.misbehave(None);
                let after = lasting(&mut unit);
                assert_eq!(bench.device.live(), 3 * after.master_keys(), "{command:?} at call {nth}");
                assert_eq!(bench.device.persisted(), after.master_keys(), "{command:?} at call {nth}");
                if answer.is_ok() {
                    break;
                }
                assert!(nth < calls, "{command:?}: {answer:?}");
                assert_eq!(after, before, "{command:?} was refused at call {nth}");
            }
        }
    }
}

#[test]
fn a_device_that_fails_for_good_puts_the_unit_into_its_error_state() {
    for error in [EngineError::DeviceError, EngineError::KeyHandleInvalid] {
        let bench = Bench::new(1);
        let mut unit = bench.ready();
        bench.device.misbehave(Some(Misbehaviour::Refuses(0, error)));
        let refused = execute(&mut unit, Command::GenerateRandom { len: 1 }).unwrap_err();
        assert_eq!(refused.engine_error(), Some(error));
        assert_eq!(status(&mut unit).condition, Condition::Error(error.code()));
        let refused = execute(&mut unit, Command::GenerateRandom { len: 1 }).unwrap_err();
        assert_eq!(refused.unit_error(), Some(unit_api::UnitError::ErrorState));
        drop(unit);
        bench.device.misbehave(None);
        assert_eq!(status(&mut bench.start()).condition, Condition::Operational);
    }
}
