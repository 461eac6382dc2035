//! The container that signature keys and key parts are kept in.

use crate::WEAK;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use tke::secret_file::{KdfCost, Password, PublicFields, SecretFile, SecretFileError};

const PURPOSE: &str = "thing";
const SECRET: &[u8] = b"a secret of the test";

fn password() -> Password {
    Password::new("correct horse".to_owned())
}

fn sealed() -> SecretFile {
    let public = PublicFields::from([("name".to_owned(), "Ada".to_owned())]);
    SecretFile::seal(PURPOSE, public, &password(), WEAK, SECRET).unwrap()
}

fn open(json: &Value) -> Result<Vec<u8>, SecretFileError> {
    let file = SecretFile::parse(serde_json::to_vec(json).unwrap())?;
    file.open(PURPOSE, &password()).map(|secret| secret.to_vec())
}

#[test]
fn what_was_sealed_opens_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = sealed();
    file.write_new(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = SecretFile::read(&path).unwrap();
    assert_eq!(read.open(PURPOSE, &password()).unwrap().as_slice(), SECRET);
    assert_eq!(read.public()["name"], "Ada");
    assert_eq!(read.digest(), file.digest());
    assert!(file.write_new(&path).unwrap_err().already_exists());
}

#[cfg(debug_assertions)]
#[test]
fn attack_a_file_whose_password_can_be_guessed_is_known_as_such() {
    assert!(sealed().has_weak_kdf());
    let standard = SecretFile::seal(PURPOSE, PublicFields::new(), &password(), KdfCost::STANDARD, SECRET);
    assert!(!standard.unwrap().has_weak_kdf());
}

#[test]
fn a_standard_file_says_what_it_costs() {
    let file =
        SecretFile::seal(PURPOSE, PublicFields::new(), &password(), KdfCost::STANDARD, SECRET).unwrap();
    let json: Value = serde_json::from_slice(file.as_bytes()).unwrap();
    assert_eq!(json["kdf"]["memory_kib"], 65536);
    assert_eq!(json["kdf"]["passes"], 3);
    assert_eq!(file.open(PURPOSE, &password()).unwrap().as_slice(), SECRET);
}

#[test]
fn a_wrong_password_opens_nothing() {
    let wrong = Password::new("correct horsf".to_owned());
    assert!(matches!(sealed().open(PURPOSE, &wrong), Err(SecretFileError::WrongPassword)));
    let other = sealed().open("other thing", &password());
    assert!(matches!(other, Err(SecretFileError::WrongPurpose { expected: "other thing", .. })));
}

#[test]
fn a_short_password_protects_nothing() {
    let short = Password::new("1234567".to_owned());
    let refused = SecretFile::seal(PURPOSE, PublicFields::new(), &short, WEAK, SECRET);
    assert!(matches!(refused, Err(SecretFileError::PasswordTooShort)));
}

/// Every leaf of the JSON is changed, one at a time, in every way that its type has.
#[test]
fn no_field_can_be_changed() {
    let original: Value = serde_json::from_slice(sealed().as_bytes()).unwrap();
    assert_eq!(open(&original).unwrap(), SECRET);
    let leaves = leaves(&original, String::new());
    assert_eq!(leaves.len(), 12, "{leaves:?}");
    for leaf in leaves {
        let mut changed = original.clone();
        let place = changed.pointer_mut(&leaf).unwrap();
        let others = match place.clone() {
            Value::Number(number) => {
                let number = number.as_u64().unwrap();
                vec![json!(number + 1), json!(0), json!(u32::MAX), json!(-1)]
            }
            Value::String(text) => {
                let mut flipped = text.clone().into_bytes();
                flipped[0] = if flipped[0] == b'A' { b'B' } else { b'A' };
                let shorter = text[..text.len() - 4.min(text.len())].to_owned();
                vec![json!(String::from_utf8(flipped).unwrap()), json!(shorter), json!("")]
            }
            other => vec![other],
        };
        for other in others {
            *changed.pointer_mut(&leaf).unwrap() = other.clone();
            assert!(open(&changed).is_err(), "{leaf} may be {other}");
        }
    }
}

#[test]
fn no_field_can_be_added_or_moved() {
    let original: Value = serde_json::from_slice(sealed().as_bytes()).unwrap();
    for place in ["", "/kdf", "/cipher", "/public"] {
        let mut changed = original.clone();
        changed.pointer_mut(place).unwrap()["comment"] = json!("x");
        assert!(open(&changed).is_err(), "{place}");
    }
    let mut changed = original;
    changed["public"] = json!({"nam": "eAda"});
    assert!(matches!(open(&changed), Err(SecretFileError::WrongPassword)));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?} {:?}", password(), sealed());
    assert!(!shown.contains("correct") && !shown.contains("secret of"), "{shown}");
}

fn leaves(value: &Value, path: String) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| leaves(value, format!("{path}/{name}"))).collect()
        }
        _ => vec![path],
    }
}

proptest! {
    #[test]
    fn prop_nothing_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = SecretFile::parse(bytes);
    }

    #[test]
    fn prop_any_secret_comes_back(secret in proptest::collection::vec(any::<u8>(), 0..400)) {
        let file = SecretFile::seal(PURPOSE, PublicFields::new(), &password(), WEAK, &secret);
        let read = SecretFile::parse(file.unwrap().as_bytes().to_vec()).unwrap();
        prop_assert_eq!(read.open(PURPOSE, &password()).unwrap().to_vec(), secret);
    }

    #[test]
    fn prop_no_byte_of_a_file_can_be_changed_for_another_secret(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = sealed().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(file) = SecretFile::parse(bytes)
            && let Ok(secret) = file.open(PURPOSE, &password())
        {
            prop_assert_eq!(secret.as_slice(), SECRET);
        }
    }
}
