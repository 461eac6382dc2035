//! Signature keys in files, of our own make and of HPCS's.

use crate::WEAK;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use tke::holder::{
    HpcsKeyFile, HpcsKeyFileError, KeyFileError, SignatureKey, SignatureKeyFile, list_signature_keys,
    sign_with_all,
};
use tke::secret_file::{Folder, Password, SecretFileError};
use tke_crypto::{AdministratorName, SigningKey};

fn password() -> Password {
    Password::new("correct horse".to_owned())
}

fn name(name: &str) -> AdministratorName {
    AdministratorName::try_from(name).unwrap()
}

fn folder() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path().join("keys")).unwrap();
    (dir, folder)
}

#[tokio::test]
async fn a_key_signs_before_and_after_it_is_opened_again() {
    let (_dir, folder) = folder();
    assert_eq!(std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    let made = SignatureKeyFile::create(&folder, name("Ada"), &password(), WEAK).unwrap();
    assert_eq!(made.warning, None);
    let opened = SignatureKeyFile::open(made.key.path(), &password()).unwrap();
    assert_eq!(opened.ski(), made.key.ski());
    assert_eq!(opened.name().as_str(), "Ada");
    for key in [&made.key, &opened] {
        let signature = key.sign(b"command").await.unwrap();
        made.key.public_key().verify(b"command", &signature).unwrap();
    }
    let wrong = SignatureKeyFile::open(made.key.path(), &Password::new("correct hearse".to_owned()));
    assert!(matches!(wrong, Err(KeyFileError::File(SecretFileError::WrongPassword))));
}

#[test]
fn equal_names_are_a_warning_that_names_the_others() {
    let (_dir, folder) = folder();
    let first = SignatureKeyFile::create(&folder, name("Ada"), &password(), WEAK).unwrap();
    let second = SignatureKeyFile::create(&folder, name("Ada"), &password(), WEAK).unwrap();
    let warning = second.warning.unwrap();
    assert_eq!(warning.name, name("Ada"));
    assert_eq!(warning.others, [first.key.ski()]);
    let other = SignatureKeyFile::create(&folder, name("Bob"), &password(), WEAK).unwrap();
    assert_eq!(other.warning, None);
}

#[test]
fn a_listing_shows_keys_and_what_is_none() {
    let (_dir, folder) = folder();
    let made = SignatureKeyFile::create(&folder, name("Ada"), &password(), WEAK).unwrap();
    std::fs::write(folder.path().join("x.sigkey"), b"not a key").unwrap();
    std::fs::write(folder.path().join("notes.txt"), b"not a key").unwrap();
    let listed = list_signature_keys(&folder).unwrap();
    assert_eq!(listed.keys.len(), 1);
    assert_eq!(listed.keys[0].ski, made.key.ski());
    assert_eq!(listed.keys[0].path, made.key.path());
    assert_eq!(listed.unreadable.len(), 1);
    assert!(listed.unreadable[0].0.ends_with("x.sigkey"));
}

#[test]
fn a_name_has_at_most_thirty_printable_characters() {
    assert!(AdministratorName::try_from("x".repeat(30).as_str()).is_ok());
    assert!(AdministratorName::try_from("x".repeat(31).as_str()).is_err());
    assert!(AdministratorName::try_from("Ada\n").is_err());
}

#[test]
fn debug_shows_no_secret() {
    let (_dir, folder) = folder();
    let made = SignatureKeyFile::create(&folder, name("Ada"), &password(), WEAK).unwrap();
    let shown = format!("{made:?}");
    assert!(shown.contains("Ada"));
    let longest = shown.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert_eq!(longest, Some(64), "nothing longer than an identifier: {shown}");
}

#[tokio::test]
async fn several_keys_sign_in_their_order() {
    let (_dir, folder) = folder();
    let made: Vec<_> = ["Ada", "Bob", "Cyd"]
        .map(|n| SignatureKeyFile::create(&folder, name(n), &password(), WEAK).unwrap().key)
        .into();
    let keys: Vec<&dyn SignatureKey> = made.iter().map(|key| key as &dyn SignatureKey).collect();
    let signatures = sign_with_all(&keys, b"command").await.unwrap();
    assert_eq!(signatures.len(), 3);
    for (key, (ski, signature)) in made.iter().zip(signatures) {
        assert_eq!(key.ski(), ski);
        key.public_key().verify(b"command", &signature).unwrap();
    }
}

/// A file as HPCS makes it, of these ingredients.
fn hpcs_file(key: &SigningKey, plaintext: &[u8], encode: fn(&[u8]) -> String) -> Vec<u8> {
    let (salt, nonce) = ([7; 32], [9; 12]);
    let mut kek = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(b"correct horse", &salt, 4096, &mut kek);
    let mut sealed = plaintext.to_vec();
    let tag = Aes256Gcm::new((&kek).into())
        .encrypt_inout_detached(&Nonce::from(nonce), &[], sealed.as_mut_slice().into())
        .unwrap();
    let enckey = [&nonce[..], &sealed, &tag].concat();
    let json = serde_json::json!({
        "ski": encode(key.public().ski().as_bytes()), "seaSalt": encode(&salt),
        "enckey": encode(&enckey), "keyType": "p521ec",
    });
    serde_json::to_vec(&json).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn p521_key() -> SigningKey {
    SigningKey::from_scalar(&[1; 66]).unwrap()
}

/// `ECPrivateKey` of RFC 5915 with its optional fields left out.
fn sec1(scalar: &[u8]) -> Vec<u8> {
    [&[0x30, 71, 0x02, 1, 1, 0x04, 66], scalar].concat()
}

#[test]
fn a_file_of_hpcs_opens_in_every_form_it_may_have() {
    let key = p521_key();
    let scalar = [1; 66];
    let pkcs8 = [
        &[0x30, 96, 0x02, 1, 0, 0x30, 16][..],
        &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 5, 0x2b, 0x81, 4, 0, 0x23],
        &[0x04, 73],
        &sec1(&scalar),
    ]
    .concat();
    for plaintext in [scalar.to_vec(), sec1(&scalar), pkcs8] {
        for encode in [hex, base64] {
            let file = HpcsKeyFile::parse(&hpcs_file(&key, &plaintext, encode)).unwrap();
            assert_eq!(file.ski(), key.public().ski());
            assert_eq!(file.open(&password()).unwrap().public().ski(), key.public().ski());
        }
    }
}

#[test]
fn a_file_of_hpcs_that_is_wrong_anywhere_opens_in_no_way() {
    let key = p521_key();
    let good = hpcs_file(&key, &[1; 66], hex);
    let file = HpcsKeyFile::parse(&good).unwrap();
    let wrong = file.open(&Password::new("correct hearse".to_owned()));
    assert!(matches!(wrong, Err(HpcsKeyFileError::WrongPassword)));
    // The right password, but another key than the file names.
    let other = HpcsKeyFile::parse(&hpcs_file(&key, &[2; 66], hex)).unwrap();
    assert!(matches!(other.open(&password()), Err(HpcsKeyFileError::WrongPassword)));
    for field in ["ski", "seaSalt", "enckey"] {
        let mut json: serde_json::Value = serde_json::from_slice(&good).unwrap();
        let text = json[field].as_str().unwrap().to_owned();
        let first = if text.starts_with('0') { "1" } else { "0" };
        json[field] = format!("{first}{}", &text[1..]).into();
        let changed = HpcsKeyFile::parse(&serde_json::to_vec(&json).unwrap()).unwrap();
        assert!(matches!(changed.open(&password()), Err(HpcsKeyFileError::WrongPassword)), "{field}");
    }
    let rsa = String::from_utf8(good).unwrap().replace("p521ec", "rsa2048");
    assert!(matches!(HpcsKeyFile::parse(rsa.as_bytes()), Err(HpcsKeyFileError::InvalidFormat(_))));
}

#[test]
fn a_file_of_hpcs_is_imported_under_our_protection() {
    let (_dir, folder) = folder();
    let file = HpcsKeyFile::parse(&hpcs_file(&p521_key(), &sec1(&[1; 66]), hex)).unwrap();
    let better = Password::new("a much better one".to_owned());
    let made = SignatureKeyFile::import(&folder, &file, &password(), name("Ada"), &better, WEAK).unwrap();
    let opened = SignatureKeyFile::open(made.key.path(), &better).unwrap();
    assert_eq!(opened.ski(), p521_key().public().ski());
    // Twice the same key is no second file.
    let again = SignatureKeyFile::import(&folder, &file, &password(), name("Ada"), &better, WEAK);
    assert!(matches!(again, Err(KeyFileError::File(e)) if e.already_exists()));
}

proptest! {
    #[test]
    fn prop_nothing_makes_the_hpcs_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = HpcsKeyFile::parse(&bytes);
    }

    #[test]
    fn prop_no_plaintext_makes_the_hpcs_reader_panic(plaintext in proptest::collection::vec(any::<u8>(), 0..120)) {
        let file = HpcsKeyFile::parse(&hpcs_file(&p521_key(), &plaintext, hex)).unwrap();
        let _ = file.open(&password());
    }
}
