//! Certificates, written, read back, altered and exchanged.

use crate::common::{fixture, hex, signing_key};
use tke_crypto::{
    AdministratorCertificate, AdministratorKey, AdministratorName, BufferTooSmall, CERTIFICATE_BUFFER_LEN,
    CertificateInvalid, IssueError, MAX_CERTIFICATE_LEN, ModuleCertificate, RootName, SigningKey,
    administrator_tbs, assemble_certificate, issue_module_certificate, root_certificate_key,
    write_administrator_certificate, write_root_certificate,
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

fn module_certificate(root: &SigningKey, key: &SigningKey) -> Vec<u8> {
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let root_name = RootName::try_from("A root").unwrap();
    issue_module_certificate(root, &root_name, MODULE_ID, &key.public(), &mut out).unwrap().to_vec()
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
    let len = issue_module_certificate(&root, &name, MODULE_ID, &key.public(), &mut out).unwrap().len();
    assert_eq!(
        issue_module_certificate(&root, &name, MODULE_ID, &key.public(), &mut vec![0; len - 1]),
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
    assert_eq!((&certificate.module_id, certificate.key), (MODULE_ID, key.public()));
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
    assert_eq!(
        issue_module_certificate(&key, &name, &[0; 16], &key.public(), &mut out),
        Err(IssueError::ModuleIdInvalid)
    );
}
