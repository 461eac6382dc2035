//! Samples of the Key Protect API and of the token service: decoded, and encoded again.

use proptest::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use wire::iam::{IamContext, IamErrorAnswer, TokenAnswer};
use wire::rest::{
    ActionAnswer, AlgorithmMetadata, BodyError, CreateKey, Deletion, DualAuthDelete, Envelope, ErrorResource,
    KeyResource, ReasonCode, Rotate, TYPE_ERROR, TYPE_KEY, TYPE_KEY_VERSION, Target, Time, Unwrap,
    VersionResource, Wrap, no_body,
};
use wire::{Secret, SecretBuf, base64};

const ID: &str = "11111111-2222-4333-8444-555555555555";
const LATER_ID: &str = "22222222-2222-4333-8444-555555555555";

fn sample(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/wire/rest").join(name)).unwrap()
}

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// The answer is the sample: as a value, and field by field in the same order.
fn assert_written<T: serde::Serialize>(answer: &T, name: &str) {
    let written = SecretBuf::json(answer).unwrap();
    let (ours, theirs): (Value, Value) =
        (serde_json::from_slice(written.expose()).unwrap(), serde_json::from_slice(&sample(name)).unwrap());
    assert_eq!(ours, theirs, "{name}");
}

#[test]
fn wire_create_generated_root() {
    let key = CreateKey::decode(&sample("create-generated-root.json")).unwrap();
    assert_eq!(key.name.as_deref(), Some("orders"));
    assert_eq!(key.description.as_deref(), Some("wraps what orders keep"));
    assert_eq!((key.aliases, key.tags), (vec!["orders-2020".to_owned()], vec!["team-a".to_owned()]));
    assert_eq!(key.expiration_date.unwrap().to_string(), "2030-01-02T02:04:05Z");
    assert!(!key.extractable && key.payload.is_none() && !key.under_import_token);
}

#[test]
fn wire_create_imported_standard_in_any_case() {
    let key = CreateKey::decode(&sample("create-imported-standard.json")).unwrap();
    assert_eq!((key.name.as_deref(), key.description), (Some("password"), None));
    assert_eq!(key.payload.unwrap().expose(), b"secret!");
    assert!(key.extractable);
}

#[test]
fn wire_create_refused() {
    let text = String::from_utf8(sample("create-refused.txt")).unwrap();
    let mut lines = 0;
    for line in text.lines() {
        let [code, message, body] = line.splitn(3, '|').collect::<Vec<_>>().try_into().unwrap();
        let error = CreateKey::decode(body.as_bytes()).unwrap_err();
        assert_eq!((error.code().as_str(), error.to_string().as_str()), (code, message), "{body}");
        lines += 1;
    }
    assert_eq!(lines, 20);
    assert_eq!(CreateKey::decode(b"\xff").unwrap_err(), BodyError::Encoding);
}

#[test]
fn wire_actions() {
    let wrap = Wrap::decode(&sample("action-wrap.json")).unwrap();
    assert_eq!((wrap.plaintext.unwrap().expose(), wrap.aad.len()), (&b"secret!"[..], 2));
    let unwrap = Unwrap::decode(&sample("action-unwrap.json")).unwrap();
    assert_eq!((unwrap.ciphertext.as_str(), unwrap.aad), ("eyJ4IjoxfQ==", vec!["volume-1".to_owned()]));
    let rotate = Rotate::decode(&sample("action-rotate-imported.json")).unwrap();
    assert_eq!(rotate.payload.unwrap().expose(), b"secret!");

    let version = |id: &str| VersionResource { id: id.into(), creation_date: None };
    let wrapped = ActionAnswer {
        plaintext: Some(Secret::new(b"secret!".to_vec())),
        ciphertext: Some("eyJ4IjoxfQ==".into()),
        key_version: version(ID),
        rewrapped_key_version: None,
    };
    assert_written(&wrapped, "action-wrap-answer.json");
    let rewrapped = ActionAnswer {
        plaintext: None,
        ciphertext: Some("eyJ4IjoxfQ==".into()),
        key_version: version(ID),
        rewrapped_key_version: Some(version(LATER_ID)),
    };
    assert_written(&rewrapped, "action-rewrap-answer.json");
}

#[test]
fn wire_optional_bodies_are_equal() {
    for body in [&b""[..], b" \n", b"null", b"{}", b" { } "] {
        assert!(Wrap::decode(body).unwrap().plaintext.is_none());
        assert!(Rotate::decode(body).unwrap().payload.is_none());
        no_body(body).unwrap();
        assert_eq!(Unwrap::decode(body).unwrap_err(), BodyError::NoBody);
    }
    assert_eq!(no_body(b"{\"x\":1}").unwrap_err(), BodyError::UnknownField("x".into()));
}

#[test]
fn wire_base64_refusals_have_the_service_s_words() {
    assert_eq!(
        Wrap::decode(br#"{"plaintext": "AAA$"}"#).unwrap_err().to_string(),
        "The field `plaintext` must be: a base64 encoded key material: illegal base64 data at input byte 3"
    );
    for body in [&br#"{"ciphertext": "AAA$"}"#[..], br#"{"aad": []}"#, br#"{"ciphertext": ""}"#] {
        let message = Unwrap::decode(body).unwrap_err().to_string();
        let start =
            "The field 'ciphertext' must be: the original base64 encoded ciphertext from the wrap operation";
        assert!(message.starts_with(start), "{message}");
    }
}

fn key() -> KeyResource {
    KeyResource {
        kind: TYPE_KEY,
        id: ID.into(),
        name: "orders".into(),
        aliases: vec!["orders-2020".into()],
        description: Some("wraps what orders keep".into()),
        tags: vec!["team-a".into()],
        state: 5,
        expiration_date: Some(time("2030-01-02T02:04:05Z")),
        extractable: true,
        crn: format!(
            "crn:v1:bluemix:public:hs-crypto:us-south:a/acc:aaaaaaaa-0000-4000-8000-000000000001:key:{ID}"
        ),
        imported: true,
        key_ring_id: "default".into(),
        creation_date: time("2020-08-12T23:38:09.5Z"),
        created_by: "IBMid-1".into(),
        last_update_date: Some(time("2020-08-13T23:38:09Z")),
        last_rotate_date: Some(time("2020-08-12T23:38:10Z")),
        key_version: Some(VersionResource {
            id: ID.into(),
            creation_date: Some(time("2020-08-12T23:38:09Z")),
        }),
        algorithm_type: "AES",
        algorithm_metadata: AlgorithmMetadata { bit_length: "256", mode: "CBC_PAD" },
        algorithm_bit_size: 256,
        algorithm_mode: "CBC_PAD",
        dual_auth_delete: Some(DualAuthDelete { enabled: false }),
        deleted: true,
        deletion: Some(Deletion {
            deletion_date: time("2020-08-13T23:38:09Z"),
            deleted_by: "IBMid-2".into(),
            restore_expiration_date: time("2020-09-12T23:38:09Z"),
            restore_allowed: true,
            purge_allowed_from: time("2020-08-14T03:38:09Z"),
            purge_allowed: false,
            purge_scheduled_on: time("2020-11-11T23:38:09Z"),
        }),
        payload: Some(Secret::new(b"secret!".to_vec())),
    }
}

#[test]
fn wire_keys() {
    assert_written(&Envelope::new(TYPE_KEY, vec![key()]), "key.json");
    let young = KeyResource {
        aliases: Vec::new(),
        description: None,
        tags: Vec::new(),
        state: 1,
        expiration_date: None,
        extractable: false,
        imported: false,
        deleted: false,
        deletion: None,
        ..key()
    };
    assert_written(&Envelope::new(TYPE_KEY, vec![young.into_short()]), "key-short.json");
}

#[test]
fn wire_versions() {
    let version = |id: &str, at: &str| VersionResource { id: id.into(), creation_date: Some(time(at)) };
    let versions = vec![version(LATER_ID, "2020-08-13T23:38:09Z"), version(ID, "2020-08-12T23:38:09Z")];
    let mut page = Envelope::new(TYPE_KEY_VERSION, versions);
    page.metadata.total_count = Some(7);
    assert_written(&page, "versions.json");
}

#[test]
fn wire_errors() {
    let message = "The field `name` must be: 2-90 characters long";
    let target = Some(Target::field("name"));
    let error = ErrorResource::new("Key could not be created", ReasonCode::InvalidField, message, target);
    assert_written(&Envelope::new(TYPE_ERROR, vec![error]), "error.json");
    let bare = ErrorResource::bare(401, "The user does not have access to the specified resource");
    assert_written(&Envelope::new(TYPE_ERROR, vec![bare]), "error-bare.json");
}

#[test]
fn wire_tokens() {
    let token = TokenAnswer {
        access_token: "a.b.c",
        refresh_token: "r",
        token_type: "Bearer",
        expires_in: 3600,
        expiration: 1_700_003_600,
        scope: "ibm openid",
    };
    assert_written(&token, "token.json");
    let error = IamErrorAnswer {
        code: "BXNIM0415E",
        message: "Provided API key could not be found.",
        context: IamContext { request_id: "q" },
    };
    assert_written(&error, "token-error.json");
}

#[test]
fn reason_codes_are_unique() {
    for (index, code) in ReasonCode::ALL.iter().enumerate() {
        assert!(ReasonCode::ALL[..index].iter().all(|other| other.as_str() != code.as_str()), "{code:?}");
        assert!((400..=503).contains(&code.status()));
    }
}

proptest! {
    #[test]
    fn diff_base64(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        use ::base64::{Engine as _, engine::general_purpose::STANDARD};
        let text = base64::encode(&bytes);
        prop_assert_eq!(text.as_str(), STANDARD.encode(&bytes));
        let decoded = base64::decode(&text).unwrap();
        prop_assert_eq!(decoded.expose(), &bytes[..]);
    }

    #[test]
    fn diff_base64_refusals(text in "[A-Da-d+/=!]{0,12}") {
        use ::base64::Engine as _;
        use ::base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
        let lax = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
        let theirs = GeneralPurpose::new(&::base64::alphabet::STANDARD, lax).decode(&text);
        prop_assert_eq!(base64::decode(&text).is_ok(), theirs.is_ok(), "{}", text);
    }

    #[test]
    fn prop_no_body_panics(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = CreateKey::decode(&body);
        let _ = Unwrap::decode(&body);
    }
}
