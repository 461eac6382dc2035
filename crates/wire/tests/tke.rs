//! Samples of the TKE protocol: decoded, and encoded again byte for byte.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;
use uuid::Uuid;
use wire::tke::{
    AuditLine, Der, Failure, ForwardRequest, ForwardResponse, InstanceState, KeptAudit, KeystoreStatus,
    Outcome, RemovalOptions, RemovalRefusal, RemovalResponse, RotationAction, RotationPhase, RotationStatus,
    RotationStep, UnitLifecycle, UnitList, audit_path, unit_path,
};

fn sample(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/wire/tke").join(name))
        .unwrap()
}

/// Decodes a sample of one line, and checks that encoding it gives the same bytes.
fn round_trip<T: Serialize + DeserializeOwned>(line: &str) -> T {
    let decoded: T = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_string(&decoded).unwrap(), line);
    decoded
}

#[test]
fn wire_tke_units() {
    let units: UnitList = round_trip(sample("units.json").trim_end());
    let (first, recovery) = (&units.hsms[0], &units.source_hsms[0]);
    assert_eq!(first.hsm_id.to_string(), "8d6a2f4e-3b1c-8e5f-9a7d-0c1b2a394857");
    assert_eq!(first.module_id.as_bytes(), b"SIM00001\x01\x23\x45\x67\x89\xab\xcd\xef");
    assert_eq!((first.state, recovery.state), (UnitLifecycle::KmsInitialized, UnitLifecycle::Unreachable));
    assert_eq!((recovery.location.as_str(), recovery.domain), ("[local].[az2].[03].[22]", 22));
    assert!(units.failover_hsms.is_empty());
    assert_eq!((first.number, recovery.number), (None, None));

    let numbered: UnitList = round_trip(sample("units-numbered.json").trim_end());
    assert_eq!((numbered.hsms[0].number, numbered.source_hsms[0].number), (Some(5), Some(3)));
}

#[test]
fn wire_tke_forward() {
    let request: ForwardRequest = round_trip(sample("forward-request.json").trim_end());
    assert_eq!(request.request.0, b"\x30\x0a\x02\x01\x00\x04\x03\x30\x01\x00\x30\x00");
    let response: ForwardResponse = round_trip(sample("forward-response.json").trim_end());
    assert_eq!(response.response, Der(b"\x30\x05\x02\x01\x00\x04\x00".to_vec()));
    for refused in [
        r#"{"request":"not base64!"}"#,
        r#"{"request":"MAU"}"#,
        r#"{"request":"MA\n=="}"#,
        r#"{"request":"MB=="}"#,
        r#"{"request":"","more":1}"#,
        r#"{}"#,
    ] {
        assert!(serde_json::from_str::<ForwardRequest>(refused).is_err(), "{refused}");
    }
}

#[test]
fn wire_tke_audit() {
    let kept: KeptAudit = round_trip(sample("audit.json").trim_end());
    let [AuditLine::Gap { first: 1, last: 2, .. }, AuditLine::Record { sequence: 3, record, .. }] =
        kept.lines.as_slice()
    else {
        unreachable!("{kept:?}")
    };
    assert_eq!((record.as_bytes(), kept.breaks), (&[3; 178], 1));
    let broken = format!(r#"{{"kind":"break","first":4,"hash":"{}"}}"#, "00".repeat(32));
    assert!(matches!(round_trip(&broken), AuditLine::Break { first: 4, .. }));
    for refused in [r#"{"kind":"gap","first":1,"last":2,"hash":"00"}"#, r#"{"kind":"other"}"#, "{}"] {
        assert!(serde_json::from_str::<AuditLine>(refused).is_err(), "{refused}");
    }
    let unit = Uuid::from_u128(2);
    assert!(audit_path(Uuid::from_u128(1), unit, 7).ends_with(&format!("/hsms/{unit}/audit?first=7")));
}

#[test]
fn wire_tke_keystore() {
    let rotating: KeystoreStatus = round_trip(sample("keystore.json").trim_end());
    assert_eq!((rotating.keys, rotating.state), (Some(7), InstanceState::Rotating));
    assert_eq!(rotating.next.unwrap().as_bytes()[..28], [0x22; 28]);
    let empty: KeystoreStatus = round_trip(sample("keystore-empty.json").trim_end());
    assert!(empty.pattern.is_none() && empty.keys == Some(0));
    let locked: KeystoreStatus = round_trip(sample("keystore-locked.json").trim_end());
    assert!(locked.pattern.is_some() && locked.keys.is_none());
}

#[test]
fn wire_tke_rotation() {
    let status: RotationStatus = round_trip(sample("rotation.json").trim_end());
    assert_eq!(status.phase, Some(RotationPhase::ReEnciphering));
    assert_eq!((status.next, status.done, status.total), (RotationStep::Reencipher, 3, 10));
    let none: RotationStatus = round_trip(sample("rotation-none.json").trim_end());
    assert!(none.id.is_none() && none.phase.is_none() && none.next == RotationStep::Nothing);
}

#[test]
fn wire_tke_rotation_actions() {
    let text = sample("rotation-actions.jsonl");
    let actions: Vec<RotationAction> = text.lines().map(round_trip).collect();
    assert_eq!(actions.len(), 8);
    assert!(matches!(&actions[1], RotationAction::Begin { exclude, .. } if *exclude == [3]));
    for refused in [
        r#"{"action":"begin"}"#,
        r#"{"action":"begin","pattern":"12"}"#,
        r#"{"action":"reencipher","exclude":[1]}"#,
        r#"{"action":"cancel","more":1}"#,
        r#"{"action":"undo"}"#,
        r#"{}"#,
    ] {
        assert!(serde_json::from_str::<RotationAction>(refused).is_err(), "{refused}");
    }
}

#[test]
fn wire_tke_removal() {
    let done: RemovalResponse = round_trip(sample("removal.json").trim_end());
    assert_eq!(done.entries, 12);
    let refused: RemovalRefusal = round_trip(sample("removal-refused.json").trim_end());
    assert_eq!((refused.keys, refused.units[0].unit), (1, 1));
    assert_eq!(RemovalOptions { destroy_keys: true }.query(), "?destroy_keys=true");
    assert_eq!(RemovalOptions::default().query(), "");
}

#[test]
fn wire_tke_failures() {
    let plain: Failure = round_trip(sample("failure.json").trim_end());
    assert_eq!(plain.outcome, None);
    let unknown: Failure = round_trip(sample("failure-unknown.json").trim_end());
    assert_eq!(unknown.outcome, Some(Outcome::Unknown));
}

/// The words are the format: a renamed variant keeps its word.
#[test]
fn wire_tke_words() {
    fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().map(|value| word(*value)).collect()
    }
    assert_eq!(
        words(RotationStep::ALL, RotationStep::as_str),
        [
            "nothing",
            "reach",
            "load",
            "commit",
            "clear-new",
            "begin",
            "reencipher",
            "begin-activation",
            "activate",
            "finish",
            "remove-old-forms",
            "cancel",
            "remove-new-forms",
            "reload",
            "restore-old",
            "contradiction",
        ]
    );
    assert_eq!(
        words(RotationPhase::ALL, RotationPhase::as_str),
        ["re-enciphering", "re-enciphered", "activating", "finishing", "done", "cancelling"]
    );
    assert_eq!(
        words(InstanceState::ALL, InstanceState::as_str),
        ["unkeyed", "locked", "rotating", "degraded", "ready"]
    );
    assert_eq!(
        words(UnitLifecycle::ALL, UnitLifecycle::as_str),
        ["reserved", "claimed", "initialized", "kms-initialized", "error", "unreachable"]
    );
    let unknown = serde_json::from_str::<RotationStep>(r#""dance""#).unwrap_err();
    assert!(unknown.to_string().starts_with("unknown rotation step `dance`"), "{unknown}");
}

#[test]
fn paths_name_the_instance_and_the_unit() {
    assert_eq!(
        unit_path(Uuid::nil(), Uuid::nil()),
        "/v1/tke/00000000-0000-0000-0000-000000000000/hsms/00000000-0000-0000-0000-000000000000"
    );
}
