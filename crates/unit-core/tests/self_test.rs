//! A broken engine fails closed.

use crate::common::administrators::{Ask, send};
use crate::common::observed::Misbehaviour;
use crate::common::{self, Fixture, generate, refusal, status};
use engine::{EngineError, KeyUses};
use unit_api::admin::AdminCommand;
use unit_api::{Command, Condition, UnitError};

const FAILED: Condition = Condition::Error(UnitError::SelfTestFailed as u16);

#[test]
fn self_test_passes_on_a_sound_engine_and_leaves_no_key() {
    let fixture = Fixture::new(1);
    assert_eq!(status(&mut fixture.start()).condition, Condition::Operational);
    assert_eq!((fixture.device.live(), fixture.device.persisted()), (0, 0));
}

#[test]
fn self_test_fails_on_every_miscalculation() {
    let methods = [
        "random",
        "generate_key",
        "combine_key_parts",
        "derive_key",
        "digest_key",
        "wrap_key",
        "encrypt",
        "decrypt",
        "sign",
        "digest",
    ];
    for method in methods {
        fails(Misbehaviour::Miscalculates(method));
    }
}

#[test]
fn self_test_fails_on_an_engine_that_refuses_nothing() {
    for method in ["verify", "decrypt", "unwrap_key"] {
        fails(Misbehaviour::AcceptsAll(method));
    }
}

#[test]
fn self_test_fails_on_a_missing_mechanism() {
    fails(Misbehaviour::ListsTooFew);
}

#[test]
fn self_test_fails_on_an_error_at_any_call() {
    let fixture = Fixture::quick(1);
    fixture.ready();
    fixture.device.misbehave(None);
    fixture.start();
    let mut nth = 0;
    loop {
        fixture.device.misbehave(Some(Misbehaviour::Refuses(nth, EngineError::DeviceRemoved)));
        let mut unit = fixture.start();
        if fixture.device.calls() <= nth {
            break;
        }
        let condition = status(&mut unit).condition;
        assert_ne!(condition, Condition::Operational, "call {nth}");
        assert_eq!(refusal(&mut unit, Command::GenerateRandom { len: 1 }), UnitError::ErrorState);
        assert_eq!(fixture.device.live(), 0, "call {nth}");
        nth += 1;
    }
    fixture.device.misbehave(None);
    assert!(nth > 40, "{nth} calls at a start");
    assert!(status(&mut fixture.start()).current.is_some());
}

/// A unit on a broken engine refuses data commands and unsigned administrative commands; on a sound engine it has its
/// earlier state again.
fn fails(misbehaviour: Misbehaviour) {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.ready();
    let key = generate(&mut unit, KeyUses::SIGN, false);
    fixture.device.misbehave(Some(misbehaviour));
    let mut unit = fixture.start();
    let shown = status(&mut unit);
    assert_eq!(shown.condition, FAILED, "{misbehaviour:?}");
    assert!(shown.current.is_none());
    let sign = Command::Sign { by: engine::MacMechanism::AesCmac, key: &key, data: b"" };
    for command in [sign, Command::GenerateRandom { len: 1 }] {
        assert_eq!(refusal(&mut unit, command), UnitError::ErrorState, "{misbehaviour:?}");
    }
    // The state was not read, and it may have administrators: an unsigned zeroize is refused.
    for command in [AdminCommand::Zeroize, AdminCommand::AddAdministrator, AdminCommand::QueryAttributes] {
        let request = Ask::of(&mut unit, command, b"").signed_by(&[]);
        assert_eq!(send(&mut unit, &request), Err(UnitError::ErrorState), "{misbehaviour:?}");
    }
    fixture.device.misbehave(None);
    let mut unit = fixture.start();
    common::bytes(&mut unit, sign);
}
