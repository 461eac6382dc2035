//! No command leaves an additional key in the engine, whether it succeeds or fails.

use crate::common::administrators::{Ask, export_target, importer_of, query, seal, send_raw, signed_parts};
use crate::common::observed::Misbehaviour;
use crate::common::{
    Answer, CIPHER, Fixture, Lasting, MAC, TestEnv, WRAPPING, bytes, execute, generate, import, lasting,
    spec, status,
};
use engine::{Algorithm, EngineError, MacMechanism, WrapMechanism};
use unit_api::admin::{AdminCommand, AdminResponse};
use unit_api::{Command, Condition, NewRegister};
use unit_core::Unit;

/// Every command that uses the engine, over keys of a unit with two master keys.
fn commands(fixture: &Fixture) -> Vec<Command<'static>> {
    let mut unit = fixture.rotating();
    let key: &'static [u8] = generate(&mut unit, CIPHER, true).leak();
    let kek: &'static [u8] = generate(&mut unit, WRAPPING, true).leak();
    let secret: &'static [u8] = import(&mut unit, Algorithm::GenericSecret, &[1; 21], MAC).leak();
    let by = WrapMechanism::AesKw;
    let wrapped: &'static [u8] = bytes(&mut unit, Command::WrapKey { by, kek, key }).leak();
    let encrypt = Command::Encrypt { key, aad: b"a", plaintext: b"p" };
    let Ok(Answer::Ciphertext { iv, ciphertext }) = execute(&mut unit, encrypt) else { panic!() };
    let hmac = MacMechanism::HmacSha256;
    let signature: &'static [u8] =
        bytes(&mut unit, Command::Sign { by: hmac, key: secret, data: b"d" }).leak();
    let spec = spec(Algorithm::Aes, 32, CIPHER, true);
    vec![
        Command::GenerateRandom { len: 8 },
        Command::GenerateKey { spec },
        Command::ImportKey { spec, value: &[1; 32] },
        Command::WrapKey { by, kek, key },
        Command::UnwrapKey { by, kek, wrapped, spec },
        encrypt,
        Command::Decrypt { key, iv, aad: b"a", ciphertext: ciphertext.leak() },
        Command::Sign { by: hmac, key: secret, data: b"d" },
        Command::Verify { by: hmac, key: secret, data: b"d", signature },
        Command::Reencipher { blob: secret },
    ]
}

/// Administrative commands that use the engine, in sequence, from a unit with two master keys.
const CEREMONY: [AdminCommand; 11] = [
    AdminCommand::CommitNew,
    AdminCommand::ClearNew,
    AdminCommand::GenerateImporterKey,
    AdminCommand::ImportKeyParts,
    AdminCommand::ExportNew,
    AdminCommand::CommitNew,
    AdminCommand::ActivateNew,
    AdminCommand::ExportCurrent,
    AdminCommand::ClearCurrent,
    AdminCommand::GenerateMasterKey,
    AdminCommand::Zeroize,
];

fn request_of(unit: &mut Unit<TestEnv>, command: AdminCommand) -> Vec<u8> {
    let pattern = match status(unit).new {
        NewRegister::FullUncommitted(pattern) | NewRegister::FullCommitted(pattern) => {
            Some(*pattern.as_bytes())
        }
        NewRegister::Empty => None,
    };
    let ask = Ask::of(unit, command, b"");
    match command {
        AdminCommand::CommitNew | AdminCommand::ActivateNew => {
            Ask { input: &pattern.unwrap(), ..ask }.signed_by(&[0])
        }
        AdminCommand::GenerateImporterKey => Ask { input: &[0, 0, 0, 3], ..ask }.signed_by(&[0]),
        AdminCommand::ImportKeyParts => {
            let importer = importer_of(&query(unit, AdminCommand::QueryImporterKey, b""));
            let sealed: Vec<_> = [16, 32].map(|byte| seal(&importer, &[byte; 32])).into();
            let parts = signed_parts(&ask, &sealed, &[0]);
            Ask { input: &parts, ..ask }.signed_by(&[])
        }
        AdminCommand::ExportCurrent | AdminCommand::ExportNew => {
            Ask { input: &export_target(&Fixture::new(7)), ..ask }.signed_by(&[0])
        }
        _ => ask.signed_by(&[0]),
    }
}

/// Checks the keys in the engine: three handles and one persisted key for each master key held.
fn assert_no_key_is_left(fixture: &Fixture, unit: &mut Unit<TestEnv>, after: &str) {
    let held = lasting(unit).master_keys();
    assert_eq!((fixture.device.live(), fixture.device.persisted()), (3 * held, held), "{after}");
}

const FAULTS: [EngineError; 3] =
    [EngineError::DeviceRemoved, EngineError::DeviceMemory, EngineError::MechanismInvalid];

#[test]
fn no_key_is_left_whichever_call_fails_and_however() {
    for error in FAULTS {
        let fixture = Fixture::quick(1);
        let commands = commands(&fixture);
        let mut unit = fixture.start();
        for command in commands {
            for nth in 0.. {
                let before = lasting(&mut unit);
                fixture.device.misbehave(Some(Misbehaviour::Refuses(nth, error)));
                let answer = execute(&mut unit, command);
                let calls = fixture.device.calls();
                fixture.device.misbehave(None);
                assert_no_key_is_left(&fixture, &mut unit, &format!("{command:?} at call {nth}"));
                assert_eq!(lasting(&mut unit), before, "{command:?} at call {nth}");
                if answer.is_ok() {
                    break;
                }
                assert!(nth < calls, "{command:?}: {answer:?}");
            }
        }
    }
}

/// A command whose engine call fails is refused, recorded and counted, unless the failed call was part of the write.
#[test]
fn no_key_is_left_by_an_administrative_command_either() {
    for error in FAULTS {
        let fixture = Fixture::quick(1);
        let mut unit = fixture.rotating();
        for command in CEREMONY {
            for nth in 0.. {
                let before = lasting(&mut unit);
                let request = request_of(&mut unit, command);
                fixture.device.misbehave(Some(Misbehaviour::Refuses(nth, error)));
                let response = send_raw(&mut unit, &request);
                let calls = fixture.device.calls();
                fixture.device.misbehave(None);
                assert_no_key_is_left(&fixture, &mut unit, &format!("{command:?} at call {nth}"));
                let after = lasting(&mut unit);
                if AdminResponse::decode(&response).unwrap().return_code == 0 {
                    assert_eq!(after.transaction_counter, before.transaction_counter + 1);
                    break;
                }
                assert!(nth < calls, "{command:?}");
                let counted = after.transaction_counter - before.transaction_counter;
                assert!(counted <= 1);
                let but_counted = Lasting { transaction_counter: before.transaction_counter, ..after };
                assert_eq!(but_counted, before, "{command:?} was refused at call {nth}");
            }
        }
    }
}

#[test]
fn a_device_that_fails_for_good_puts_the_unit_into_its_error_state() {
    for error in [EngineError::DeviceError, EngineError::KeyHandleInvalid] {
        let fixture = Fixture::quick(1);
        let mut unit = fixture.ready();
        fixture.device.misbehave(Some(Misbehaviour::Refuses(0, error)));
        let refused = execute(&mut unit, Command::GenerateRandom { len: 1 }).unwrap_err();
        assert_eq!(refused.engine_error(), Some(error));
        assert_eq!(status(&mut unit).condition, Condition::Error(error.code()));
        let refused = execute(&mut unit, Command::GenerateRandom { len: 1 }).unwrap_err();
        assert_eq!(refused.unit_error(), Some(unit_api::UnitError::ErrorState));
        drop(unit);
        fixture.device.misbehave(None);
        assert_eq!(status(&mut fixture.start()).condition, Condition::Operational);
    }
}
