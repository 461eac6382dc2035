//! Administrators with RSA keys, which early clients used, beside administrators with keys on P-521.

use crate::common::administrators::{
    Ask, administer, administrator, attributes, encoded_part, importer_of, query, seal, send, sign,
    signer_info,
};
use crate::common::{Fixture, TestEnv, status};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048};
use sha2::{Digest, Sha256};
use tke_crypto::{AdministratorCertificate, AdministratorKey, RsaPublicKey};
use unit_api::UnitError;
use unit_api::admin::{
    AdminCommand, AdministratorEntries, KeyPartInput, Permissions, SignatureAlgorithm, SignerInfo,
};
use unit_core::Unit;

// Source: OpenSSL 3.0, a key generated for this file only: `openssl genrsa 2048`, and `openssl req -x509 -new -sha256` with
// OU = TKE Administration, CN = Rosa, her subject key identifier, and key usage digitalSignature.
const PRIVATE_EXPONENT: &str = "\
    23ecf1e0cbe5176623d5725a878ca96e802539eee7cca22350f90b2c435cb0d6fbd558f6f8d40663185a19180df4c83dac82ef73\
    cdea72cb4ca5b7c7a96f31ef46971278ad9f3df14a806e60bcfe75fa9803ddfe9d04c0eb28b0996e807926d122b4b231f118c181\
    249739fd1e9a56a55e5947b85af6596240fbe96ad17af62433df3c6bc4c7c7ebc97f10ba18918470c7fb07563e38f417a5898319\
    193feb06ba6a1605fd251085483f78a61efe318bf635b1983c0108304e3c1818432186591ce3d701cd027183161cc9fa3e2fb0be\
    e391d087b809ab19f9cd007657c9f26ef4d9b0e099cb2628492ef30d7700a1710b847490cf0c8ca62df14a6185e7f8c9";
const CERTIFICATE: &str = "\
    308203253082020da0030201020214594447f680c74e9f102d13ffeb32c26b52a7e717300d06092a864886f70d01010b0500302c\
    311b3019060355040b0c12544b452041646d696e697374726174696f6e310d300b06035504030c04526f73613020170d32363131\
    32323036323631345a180f32303531303731343036323631345a302c311b3019060355040b0c12544b452041646d696e69737472\
    6174696f6e310d300b06035504030c04526f736130820122300d06092a864886f70d01010105000382010f003082010a02820101\
    00b7aef3367a95daeab1d2591302e655f140956e72837c6242c4b0cb5716965a443ccd166a34dd97baa1e050400d09d482a19ff9\
    6c8e015f4d0a5da309cf7c40adafae0e7465ef5fea706fb354c9c7bd1340b7dc9454e86e9011cf640a954d98c03d785e6666de8a\
    01002090d7de46ce2f275153b70947f21c9132f9f1703cddeafaf6060ef8c7d6118b658deeb8605ad1d3a57d8485210cced0c5ab\
    746f9780237332f0b3a9cff57e3ad385a5ee409bf07e91dcde04d90f2b0d6c2daeb88d1af2dad694684453bbcb950f7367d84131\
    558047ea4b5d8fafeb31473c038c144238e019553d5dd8b0d0daa0d7ac970c8b40c10b461b0ca05012151cd4b36c6caa01020301\
    0001a33d303b30290603551d0e04220420aeeeca667c4cc37b955f7074f0193b8db1ecd2cb2839748347dac95173dc01ea300e06\
    03551d0f0101ff040403020780300d06092a864886f70d01010b050003820101005c7555537eca0547e24cca7e1e0ea24750eda6\
    56d79479ed27cc2291b4aa5de60cf107aed158b6feebb3ddc16666857f82f508f44c545daebe6729144d2893d8b0c774527e7ec9\
    bc27248b8a6d55f044857f963c96f604f0eb3c7ab8e5ba420960f32d35d0862b909463c7e5f36f9f7ce376b91c9f5fea8bdaeca1\
    871bad148906b5ad07d1d9623880ba85bca87d33dccdf76b3f6864ecbfac8f39ca6382ad75ffac46c0418fe4e2cb01a8a73a09ae\
    081a39c55bc89d127e77381fa873b88181223457211f572b0a13a76f71e884688d0e84e56f12dd33e15ab37c09497bb3e149b1ae\
    cd7f1dcae179764974a5775602229b3c4f04b799d108d8401bc1a6ac4c";

/// Rosa, who has an RSA key.
struct Rosa {
    certificate: Vec<u8>,
    key: RsaPublicKey,
    ski: [u8; 32],
}

fn rosa() -> Rosa {
    let certificate = unhex(CERTIFICATE);
    let AdministratorCertificate { key, ski, .. } = AdministratorCertificate::parse(&certificate).unwrap();
    let AdministratorKey::Rsa2048(key) = key else { panic!("her key is on P-521") };
    Rosa { certificate, key, ski: ski.0 }
}

fn unhex(digits: &str) -> Vec<u8> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { panic!("half a byte") };
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

impl Rosa {
    /// ANSI X9.31-1998 with SHA-256: the padded digest raised to the private exponent, or the modulus less that.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let digest = Sha256::digest(message);
        let filler = 256 - 2 - digest.len() - 2;
        let padded = [&[0x6b], &vec![0xbb; filler][..], &[0xba], &digest, &[0x34, 0xcc]].concat();
        let modulus = U2048::from_be_slice(self.key.modulus());
        let params = FixedMontyParams::new_vartime(Odd::new(modulus).unwrap());
        let exponent = U2048::from_be_slice(&unhex(PRIVATE_EXPONENT));
        let signed = FixedMontyForm::new(&U2048::from_be_slice(&padded), &params).pow(&exponent).retrieve();
        signed.min(modulus.wrapping_sub(&signed)).to_be_bytes().as_ref().to_vec()
    }

    fn signer_info<'s>(&self, signature: &'s [u8]) -> SignerInfo<'s> {
        SignerInfo { ski: self.ski, algorithm: SignatureAlgorithm::Rsa2048X931Sha256, signature }
    }
}

/// The request, signed by Rosa and by these administrators on P-521.
fn signed_with(rosa: &Rosa, ask: &Ask<'_>, others: &[usize]) -> Vec<u8> {
    let block = ask.block();
    let hers = rosa.sign(&block);
    let theirs: Vec<_> = others.iter().map(|n| (*n, sign(*n, &block))).collect();
    let signers: Vec<_> = std::iter::once(rosa.signer_info(&hers))
        .chain(theirs.iter().map(|(n, signature)| signer_info(*n, signature)))
        .collect();
    ask.with_signatures(&signers)
}

fn installed(unit: &mut Unit<TestEnv>) -> Vec<[u8; 32]> {
    let bytes = query(unit, AdminCommand::QueryAdministrators, b"");
    AdministratorEntries::decode(&bytes).unwrap().iter().map(|entry| entry.ski).collect()
}

/// A unit with the administrators Rosa and 0, and thresholds of 2.
fn ruled_by_both(fixture: &Fixture, rosa: &Rosa) -> Unit<TestEnv> {
    let mut unit = fixture.start();
    for certificate in [&rosa.certificate, &administrator(0).certificate] {
        administer(&mut unit, AdminCommand::AddAdministrator, certificate, &[]).unwrap();
    }
    let thresholds = attributes(2, 2, Permissions::recovery()).to_bytes();
    let ask = Ask::of(&mut unit, AdminCommand::SetAttributes, &thresholds);
    send(&mut unit, &signed_with(rosa, &ask, &[0])).unwrap();
    assert_eq!(status(&mut unit).signature_threshold, 2);
    unit
}

#[test]
fn an_rsa_administrator_reaches_a_threshold_with_one_on_p521() {
    let (fixture, rosa) = (Fixture::quick(1), rosa());
    drop(ruled_by_both(&fixture, &rosa));
    // The RSA key, which is longer than a key on P-521, survives a restart.
    let mut unit = fixture.start();
    assert_eq!(installed(&mut unit), [rosa.ski, administrator(0).ski]);
    let ask = Ask::of(&mut unit, AdminCommand::AddAdministrator, &administrator(1).certificate);
    for too_few in [signed_with(&rosa, &ask, &[]), ask.signed_by(&[0])] {
        assert_eq!(send(&mut unit, &too_few), Err(UnitError::NotEnoughSignatures));
    }
    send(&mut unit, &signed_with(&rosa, &ask, &[0])).unwrap();
    assert_eq!(installed(&mut unit), [rosa.ski, administrator(0).ski, administrator(1).ski]);

    let again = administer(&mut unit, AdminCommand::AddAdministrator, &rosa.certificate, &[0, 1]);
    assert_eq!(again, Err(UnitError::AdministratorInstalled));
    administer(&mut unit, AdminCommand::RemoveAdministrator, &rosa.ski, &[0, 1]).unwrap();
    let ask = Ask::of(&mut unit, AdminCommand::ClearNew, b"");
    assert_eq!(send(&mut unit, &signed_with(&rosa, &ask, &[0])), Err(UnitError::SignerUnknown));
}

#[test]
fn key_parts_may_be_signed_with_rsa() {
    let rosa = rosa();
    let mut unit = ruled_by_both(&Fixture::quick(1), &rosa);
    let shown = administer(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], &[0]).unwrap();
    let importer = importer_of(&shown);
    let ask = Ask::of(&mut unit, AdminCommand::ImportKeyParts, b"");
    let parts: Vec<u8> = [1, 2]
        .map(|byte| seal(&importer, &[byte; 32]))
        .iter()
        .map(|sealed| encoded_part(KeyPartInput::Part { parts: 2, sealed }))
        .flat_map(|input| signed_with(&rosa, &Ask { input: &input, ..ask }, &[0]))
        .collect();
    let pattern = send(&mut unit, &Ask { input: &parts, ..ask }.signed_by(&[])).unwrap();
    let ask = Ask::of(&mut unit, AdminCommand::CommitNew, &pattern);
    send(&mut unit, &signed_with(&rosa, &ask, &[0])).unwrap();
}

#[test]
fn who_signs_in_another_way_than_his_own_is_refused() {
    let rosa = rosa();
    let mut unit = ruled_by_both(&Fixture::quick(1), &rosa);
    let ask = Ask::of(&mut unit, AdminCommand::ClearNew, b"");
    let block = ask.block();
    let (hers, theirs) = (rosa.sign(&block), sign(0, &block));
    let (ecdsa, rsa) = (SignatureAlgorithm::EcdsaP521Sha512, SignatureAlgorithm::Rsa2048X931Sha256);
    let mut tampered = hers.clone();
    tampered.reverse();
    let other = rosa.sign(b"another message");
    let refused = [
        (SignerInfo { algorithm: ecdsa, ..rosa.signer_info(&hers) }, UnitError::SignatureMalformed),
        (SignerInfo { algorithm: ecdsa, ..rosa.signer_info(&theirs) }, UnitError::SignatureMalformed),
        (SignerInfo { algorithm: rsa, ..signer_info(0, &theirs) }, UnitError::SignatureMalformed),
        (SignerInfo { algorithm: rsa, ..signer_info(0, &hers) }, UnitError::SignatureMalformed),
        (rosa.signer_info(&theirs), UnitError::SignatureWrong),
        (rosa.signer_info(&tampered), UnitError::SignatureWrong),
        (rosa.signer_info(&other), UnitError::SignatureWrong),
        (signer_info(0, &hers), UnitError::SignatureWrong),
    ];
    for (at, (signer, expected)) in refused.into_iter().enumerate() {
        let request = ask.with_signatures(&[signer]);
        assert_eq!(send(&mut unit, &request), Err(expected), "{at}");
    }
    assert_eq!(ask.block(), Ask::of(&mut unit, AdminCommand::ClearNew, b"").block(), "the counter moved");
    send(&mut unit, &signed_with(&rosa, &ask, &[])).unwrap();
}
