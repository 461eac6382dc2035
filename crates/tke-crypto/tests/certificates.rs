//! Certificates, written, read back, altered and exchanged.

use crate::common::{fixture, hex, signing_key};
use tke_crypto::{
    AdministratorCertificate, AdministratorKey, AdministratorName, BufferTooSmall, CERTIFICATE_BUFFER_LEN,
    CertificateInvalid, CertificateSerial, IssueError, MAX_CERTIFICATE_LEN, MAX_REVOCATION_LIST_LEN,
    ModuleCertificate, ModuleDescription, ModuleSubject, PublicKey, Revocation, RevocationList,
    RevocationListInvalid, RootName, SigningKey, Validity, administrator_tbs, assemble_certificate,
    issue_module_certificate, revocation_list_len, root_certificate_key, write_administrator_certificate,
    write_revocation_list, write_root_certificate,
};

const MODULE_ID: &[u8; 16] = b"93AABBCC\x00\x11\x22\x33\xcc\xdd\xee\xff";

fn administrator_certificate(key: &SigningKey, name: &str) -> Vec<u8> {
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    write_administrator_certificate(key, &name.try_into().unwrap(), &mut out).unwrap().to_vec()
}

fn root_certificate(key: &SigningKey) -> Vec<u8> {
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    write_root_certificate(key, &"A root".try_into().unwrap(), &mut out).unwrap().to_vec()
}

fn subject(key: &PublicKey) -> ModuleSubject<'_> {
    ModuleSubject {
        module_id: MODULE_ID,
        key,
        description: ModuleDescription { engine_class: 3, firmware: [0xf1; 32] },
        validity: Validity { not_before: 1_700_000_000, not_after: 3_000_000_000 },
    }
}

fn module_certificate(root: &SigningKey, key: &SigningKey) -> Vec<u8> {
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let root_name = RootName::try_from("A root").unwrap();
    issue_module_certificate(root, &root_name, &subject(&key.public()), &mut out).unwrap().to_vec()
}

/// Every copy of `der` with one bit flipped.
fn with_a_bit_flipped(der: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..8 * der.len()).map(|bit| {
        let mut tampered = der.to_vec();
        tampered[bit / 8] ^= 1 << (bit % 8);
        tampered
    })
}

#[test]
fn an_administrators_certificate_is_read_back() {
    let key = signing_key(1);
    for name in ["A", "Alice", "123456789012345678901234567890"] {
        let certificate = AdministratorCertificate::parse(&administrator_certificate(&key, name)).unwrap();
        assert_eq!(certificate.key, AdministratorKey::P521(key.public()));
        assert_eq!(certificate.name.as_str(), name);
        assert_eq!(certificate.ski, key.public().ski());
    }
}

#[test]
fn the_longest_certificate_fits_the_buffer_and_a_shorter_buffer_is_refused() {
    let (root, key) = (signing_key(1), signing_key(2));
    let name = RootName::try_from("x".repeat(RootName::MAX_LEN).as_str()).unwrap();
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let len = issue_module_certificate(&root, &name, &subject(&key.public()), &mut out).unwrap().len();
    assert_eq!(
        issue_module_certificate(&root, &name, &subject(&key.public()), &mut vec![0; len - 1]),
        Err(IssueError::BufferTooSmall)
    );
    assert!(write_root_certificate(&root, &name, &mut out).is_ok());
    assert_eq!(write_root_certificate(&root, &name, &mut [0; 600]), Err(BufferTooSmall));
}

#[test]
fn a_certificate_is_assembled_from_a_signature_made_elsewhere() {
    let key = signing_key(3);
    let mut tbs = [0; CERTIFICATE_BUFFER_LEN];
    let name = AdministratorName::try_from("Bob").unwrap();
    let tbs = administrator_tbs(&name, &key.public(), &mut tbs).unwrap();
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let der = assemble_certificate(tbs, &key.sign(tbs), &mut out).unwrap();
    assert_eq!(der, administrator_certificate(&key, "Bob"));

    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let forged = assemble_certificate(tbs, &signing_key(4).sign(tbs), &mut out).unwrap();
    assert_eq!(AdministratorCertificate::parse(forged), Err(CertificateInvalid::SignatureInvalid));
}

#[test]
fn an_administrators_certificate_with_any_bit_flipped_is_refused() {
    let der = administrator_certificate(&signing_key(5), "Alice");
    assert!(with_a_bit_flipped(&der).all(|der| AdministratorCertificate::parse(&der).is_err()));
}

#[test]
fn an_rsa_administrators_certificate_with_any_bit_flipped_is_refused() {
    let text = String::from_utf8(fixture("kat/certificates/administrators.txt")).unwrap();
    for label in ["cryptography-rsa-pkcs1", "openssl-rsa-x931"] {
        let der = hex(text.lines().find(|line| line.starts_with(label)).unwrap().rsplit(' ').next().unwrap());
        assert!(matches!(AdministratorCertificate::parse(&der).unwrap().key, AdministratorKey::Rsa2048(_)));
        assert!(with_a_bit_flipped(&der).all(|der| AdministratorCertificate::parse(&der).is_err()));
    }
}

#[test]
fn a_modules_certificate_with_any_bit_flipped_is_refused() {
    let (root, key) = (signing_key(6), signing_key(7));
    let der = module_certificate(&root, &key);
    assert!(with_a_bit_flipped(&der).all(|der| ModuleCertificate::verify(&der, &root.public()).is_err()));
}

#[test]
fn truncated_and_extended_certificates_are_refused() {
    let der = administrator_certificate(&signing_key(8), "Alice");
    for len in 0..der.len() {
        assert_eq!(AdministratorCertificate::parse(&der[..len]), Err(CertificateInvalid::Malformed));
    }
    let longer = [&der[..], &[0]].concat();
    assert_eq!(AdministratorCertificate::parse(&longer), Err(CertificateInvalid::Malformed));
    let longest = [&der[..], &[0; MAX_CERTIFICATE_LEN][..]].concat();
    assert_eq!(AdministratorCertificate::parse(&longest), Err(CertificateInvalid::TooLong));
}

#[test]
fn a_modules_certificate_verifies_only_under_its_root() {
    let (root, key) = (signing_key(9), signing_key(10));
    assert_eq!(root_certificate_key(&root_certificate(&root)).unwrap(), root.public());
    let der = module_certificate(&root, &key);
    let certificate = ModuleCertificate::verify(&der, &root.public()).unwrap();
    let public = key.public();
    let subject = subject(&public);
    assert_eq!((&certificate.module_id, &certificate.key), (MODULE_ID, &public));
    assert_eq!(certificate.description, Some(subject.description));
    assert_eq!(certificate.validity, subject.validity);
    assert_eq!(ModuleCertificate::verify(&der, &key.public()), Err(CertificateInvalid::SignatureInvalid));
}

#[test]
fn a_certificate_of_another_kind_is_refused() {
    let (root, key) = (signing_key(11), signing_key(12));
    let (of_root, of_module) = (root_certificate(&root), module_certificate(&root, &key));
    let of_administrator = administrator_certificate(&root, "93AABBCC-00112233ccddeeff");
    assert_eq!(AdministratorCertificate::parse(&of_root), Err(CertificateInvalid::ExtensionInvalid));
    assert_eq!(AdministratorCertificate::parse(&of_module), Err(CertificateInvalid::SignatureInvalid));
    assert_eq!(root_certificate_key(&of_module), Err(CertificateInvalid::ExtensionInvalid));
    assert_eq!(root_certificate_key(&of_administrator), Err(CertificateInvalid::ExtensionInvalid));
    assert_eq!(
        ModuleCertificate::verify(&of_root, &root.public()),
        Err(CertificateInvalid::ExtensionInvalid)
    );
    assert_eq!(
        ModuleCertificate::verify(&of_administrator, &root.public()),
        Err(CertificateInvalid::NameInvalid),
        "the padding is part of a module's name"
    );
}

#[test]
fn a_module_without_a_visible_serial_number_is_refused_a_certificate() {
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let key = signing_key(13);
    let name = RootName::try_from("A root").unwrap();
    let public = key.public();
    let unnamed = ModuleSubject { module_id: &[0; 16], ..subject(&public) };
    assert_eq!(issue_module_certificate(&key, &name, &unnamed, &mut out), Err(IssueError::ModuleIdInvalid));
}

#[test]
fn certificates_of_one_key_have_serial_numbers_of_their_own() {
    let (root, key) = (signing_key(14), signing_key(15).public());
    let name = RootName::try_from("A root").unwrap();
    let first = subject(&key);
    let other_firmware = ModuleDescription { firmware: [0xf2; 32], ..first.description };
    let later = Validity { not_before: first.validity.not_before + 1, ..first.validity };
    let subjects = [
        first,
        ModuleSubject { description: other_firmware, ..first },
        ModuleSubject { validity: later, ..first },
    ];
    let serials = subjects.map(|subject| {
        let mut out = [0; CERTIFICATE_BUFFER_LEN];
        let der = issue_module_certificate(&root, &name, &subject, &mut out).unwrap();
        ModuleCertificate::verify(der, &root.public()).unwrap().serial
    });
    assert!(serials[0] != serials[1] && serials[0] != serials[2] && serials[1] != serials[2]);
}

fn revocation_list(root: &SigningKey, number: u64, revoked: &[Revocation]) -> Vec<u8> {
    let name = RootName::try_from("A root").unwrap();
    let mut out = vec![0; revocation_list_len(revoked.len())];
    write_revocation_list(root, &name, number, 1_800_000_000, revoked, &mut out).unwrap().to_vec()
}

#[test]
fn a_revocation_list_is_read_back() {
    let root = signing_key(16);
    for count in [0_u8, 1, 2, 200] {
        let revoked: Vec<_> = (0..count)
            .map(|n| Revocation { serial: CertificateSerial([n; 20]), at: 1_700_000_000 + u64::from(n) })
            .collect();
        let der = revocation_list(&root, u64::MAX - u64::from(count), &revoked);
        let list = RevocationList::verify(&der, &root.public()).unwrap();
        assert_eq!((list.number, list.issued_at), (u64::MAX - u64::from(count), 1_800_000_000));
        assert_eq!(list.revocations().collect::<Vec<_>>(), revoked);
        assert!(revoked.iter().all(|one| list.revokes(&one.serial)));
        assert!(!list.revokes(&CertificateSerial([0xaa; 20])) || count > 0xaa);
    }
}

#[test]
fn a_revocation_list_with_any_bit_flipped_or_of_another_root_is_refused() {
    let (root, other) = (signing_key(17), signing_key(18));
    let der = revocation_list(&root, 7, &[Revocation { serial: CertificateSerial([5; 20]), at: 0 }]);
    assert_eq!(
        RevocationList::verify(&der, &other.public()).unwrap_err(),
        RevocationListInvalid::SignatureInvalid
    );
    for tampered in with_a_bit_flipped(&der) {
        assert!(RevocationList::verify(&tampered, &root.public()).is_err());
    }
    for len in 0..der.len() {
        assert_eq!(
            RevocationList::verify(&der[..len], &root.public()).unwrap_err(),
            RevocationListInvalid::Malformed
        );
    }
    assert_eq!(
        RevocationList::verify(&vec![0; MAX_REVOCATION_LIST_LEN + 1], &root.public()).unwrap_err(),
        RevocationListInvalid::TooLong
    );
}
