//! Properties over arbitrary bytes: every reader returns for every input.

use crate::common::{generator, signing_key};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::LazyLock;
use tke_crypto::{
    AdministratorCertificate, AdministratorKey, AdministratorName, CERTIFICATE_BUFFER_LEN, ModuleCertificate,
    PublicKey, SEALED_PART_MAX_LEN, SigningKey, open_key_part, root_certificate_key, seal_key_part,
    sealed_for, write_administrator_certificate,
};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| signing_key(1));
static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    write_administrator_certificate(&KEY, &"Alice".try_into().unwrap(), &mut out).unwrap().to_vec()
});
static SEALED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = [0; SEALED_PART_MAX_LEN];
    seal_key_part(&KEY.public(), &[7; 32], &mut generator(2), &mut out).unwrap().to_vec()
});

/// Passes `bytes` to every reader.
fn read_as_everything(bytes: &[u8]) {
    let key = KEY.public();
    let _ = AdministratorCertificate::parse(bytes);
    let _ = ModuleCertificate::verify(bytes, &key);
    let _ = root_certificate_key(bytes);
    let _ = sealed_for(bytes);
    let _ = open_key_part(&KEY, bytes);
    let _ = PublicKey::from_point(bytes);
    let _ = key.verify(b"message", bytes);
    if let Ok(bytes) = bytes.try_into() {
        let _ = AdministratorKey::from_bytes(bytes);
    }
}

/// `good` with some bytes replaced, removed and inserted.
fn mutated(good: &'static LazyLock<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6).prop_map(|edits| {
        let mut bytes = LazyLock::force(good).clone();
        for (index, byte, edit) in edits {
            let at = index.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn prop_no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..700)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn prop_no_mutated_certificate_is_accepted_or_makes_a_reader_panic(bytes in mutated(&CERTIFICATE)) {
        read_as_everything(&bytes);
        prop_assert_eq!(AdministratorCertificate::parse(&bytes).is_ok(), bytes == **CERTIFICATE);
    }

    #[test]
    fn prop_no_mutated_sealed_part_opens_or_makes_a_reader_panic(bytes in mutated(&SEALED)) {
        read_as_everything(&bytes);
        prop_assert_eq!(open_key_part(&KEY, &bytes).is_ok(), bytes == **SEALED);
    }

    #[test]
    fn prop_names_are_read_back(name in "[!-~]([ -~]{0,28}[!-~])?") {
        let mut out = [0; CERTIFICATE_BUFFER_LEN];
        let name = AdministratorName::try_from(name.as_str()).unwrap();
        let der = write_administrator_certificate(&KEY, &name, &mut out).unwrap();
        prop_assert_eq!(AdministratorCertificate::parse(der).unwrap().name, name);
    }

    #[test]
    fn prop_parts_are_opened_as_sealed(part in any::<[u8; 32]>(), seed in any::<u64>()) {
        let importer = signing_key(seed);
        let mut out = [0; SEALED_PART_MAX_LEN];
        let der = seal_key_part(&importer.public(), &part, &mut generator(!seed), &mut out).unwrap();
        prop_assert_eq!(*open_key_part(&importer, der).unwrap(), part);
    }
}
