//! Key parts in files, and sets of them.

use crate::WEAK;
use sha2::{Digest, Sha256};
use tke::part::{
    KeyPartFile, KeyPartHolder, KeyPartSet, PartFileError, PartInvalid, PartLabel, PartOrigin, PartSetError,
    list_key_parts,
};
use tke::secret_file::{Folder, Password, SecretFileError};
use tke_crypto::{SigningKey, open_key_part};

const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const B: &str = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";
const C: &str = "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
const A_XOR_B: &str = "a5a4a7a6a1a0a3a2adacafaea9a8abaab5b4b7b6b1b0b3b2bdbcbfbeb9b8bbba";

struct Bench {
    _dir: tempfile::TempDir,
    folder: Folder,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { folder: Folder::open(dir.path()).unwrap(), _dir: dir }
    }

    fn enter(&self, hex: &str) -> Result<KeyPartFile, PartFileError> {
        KeyPartFile::enter(&self.folder, label("part"), hex, &password(), WEAK)
    }

    fn files(&self, parts: &[&str]) -> Vec<KeyPartFile> {
        parts.iter().map(|part| self.enter(part).unwrap()).collect()
    }
}

fn password() -> Password {
    Password::new("correct horse".to_owned())
}

fn label(text: &str) -> PartLabel {
    PartLabel::try_from(text).unwrap()
}

#[tokio::test]
async fn a_part_comes_back_and_goes_out_sealed_alone() {
    let bench = Bench::new();
    let made = bench.enter(A).unwrap();
    let opened = KeyPartFile::open(&made.listed().path, &password()).unwrap();
    let pattern = "491176b0f443c65a7c7d72df47d6cbc0d04e111fb5a619f60d3e776700000000";
    assert_eq!(opened.pattern().to_string(), pattern);
    assert_eq!(made.pattern().to_string(), pattern);

    let importer = SigningKey::from_scalar(&[1; 66]).unwrap();
    let sealed = opened.seal_for(&importer.public()).await.unwrap();
    assert_eq!(open_key_part(&importer, &sealed.0).unwrap()[..4], [0, 1, 2, 3]);

    let wrong = KeyPartFile::open(&made.listed().path, &Password::new("wrong horse".to_owned()));
    assert!(matches!(wrong, Err(PartFileError::File(SecretFileError::WrongPassword))));
}

#[test]
fn a_file_shows_neither_part_nor_pattern() {
    let bench = Bench::new();
    let made = bench.enter(B).unwrap();
    let path = &made.listed().path;
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(made.id().0, <[u8; 32]>::from(Sha256::digest(&bytes)), "named by the encrypted container");
    let shown = format!("{} {} {made:?}", String::from_utf8(bytes).unwrap(), path.display()).to_lowercase();
    assert!(!shown.contains(&made.pattern().to_string()[..8]), "{shown}");
    assert!(!shown.contains("a5a5a5a5"), "{shown}");
}

#[test]
fn random_parts_differ_and_are_listed() {
    let bench = Bench::new();
    let make = || KeyPartFile::generate(&bench.folder, label("one"), &password(), WEAK).unwrap();
    let (one, two) = (make(), make());
    assert!(!one.pattern().is_of_same_key(&two.pattern()));
    std::fs::write(bench.folder.path().join("x.mkpart"), b"no part").unwrap();
    let listed = list_key_parts(&bench.folder).unwrap();
    assert_eq!(listed.parts.len(), 2);
    assert!(listed.parts.iter().all(|part| part.origin == PartOrigin::Random));
    assert!(listed.parts.contains(one.listed()));
    assert_eq!(listed.unreadable.len(), 1);
}

#[test]
fn what_is_no_part_leaves_no_file() {
    let bench = Bench::new();
    for (text, why) in [
        ("0".repeat(64), PartInvalid::Zero),
        ("1".repeat(62), PartInvalid::NotHexadecimal),
        ("1".repeat(66), PartInvalid::NotHexadecimal),
        ("x".repeat(64), PartInvalid::NotHexadecimal),
    ] {
        assert!(matches!(bench.enter(&text), Err(PartFileError::Invalid(e)) if e == why));
    }
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 0);
}

#[test]
fn two_or_three_parts_make_a_master_key() {
    let bench = Bench::new();
    for (parts, expected) in [
        (&[A, B][..], "0c7116b0cabdb39ac9ff6073862e2a4f470786265a3ce8723c237eb400000000"),
        (&[B, C, A][..], "947d5b800a42f1596c6b39093bb9e21ed61bc86294c1469157395fe000000000"),
    ] {
        let set = KeyPartSet::of_files(bench.files(parts)).unwrap();
        assert_eq!(set.combined_pattern().to_string(), expected);
        assert_eq!(set.holders().len(), parts.len());
    }
    for number in [&[A][..], &[A, B, C, A_XOR_B], &[]] {
        let refused = KeyPartSet::of_files(bench.files(number));
        assert!(matches!(refused, Err(PartSetError::Number(n)) if n == number.len()));
    }
    for degenerate in [&[A, A][..], &[A, B, A], &[A, B, A_XOR_B]] {
        let refused = KeyPartSet::of_files(bench.files(degenerate));
        assert!(matches!(refused, Err(PartSetError::Degenerate)));
    }
}
