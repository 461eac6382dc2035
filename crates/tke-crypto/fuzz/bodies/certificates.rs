//! Arbitrary bytes as a certificate, as the signed part of one, and as a key and a signature. The first byte selects.

use std::sync::OnceLock;
use tke_crypto::{
    AdministratorCertificate, AdministratorKey, AdministratorName, CERTIFICATE_BUFFER_LEN,
    CertificateInvalid, CertificateSerial, MAX_CERTIFICATE_LEN, ModuleCertificate, ModuleDescription,
    ModuleSubject, PublicKey, Revocation, RevocationList, RootName, SCALAR_LEN, Signature, SigningKey,
    Validity, assemble_certificate, issue_module_certificate, revocation_list_len, root_certificate_key,
    write_administrator_certificate, write_revocation_list, write_root_certificate,
};

/// Message of the valid signatures in the corpus.
const MESSAGE: &[u8] = b"a message";
/// Issuer of the valid certificates in the corpus.
const ROOT_NAME: &str = "Fuzz Root";

/// A key that inputs cannot sign with; it is the root's and an administrator's.
struct Own {
    key: SigningKey,
    public: PublicKey,
    signature: Signature,
}

fn own() -> &'static Own {
    static OWN: OnceLock<Own> = OnceLock::new();
    OWN.get_or_init(|| {
        let mut scalar = [0x71; SCALAR_LEN];
        scalar[0] = 0;
        let key = SigningKey::from_scalar(&scalar).unwrap();
        Own { public: key.public(), signature: key.sign(MESSAGE), key }
    })
}

/// Panics if a reader panics or accepts bytes that were not signed.
pub(crate) fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, der)) => certificate(der),
        Some((1, tbs)) => signed(tbs),
        Some((2, bytes)) => key_and_signature(bytes),
        Some((_, list)) => revocation_list(list),
        None => {}
    }
}

/// A certificate of or by our own key must be one that this crate writes, byte for byte: no other program has the key, and
/// a certificate has one encoding.
fn certificate(der: &[u8]) {
    let own = own();
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let (administrator, module, root) = read(der);
    if let Ok(administrator) = &administrator {
        holds_together(administrator);
        refused_with_a_bit_flipped(der);
        if administrator.key == AdministratorKey::P521(own.public.clone()) {
            let written = write_administrator_certificate(&own.key, &administrator.name, &mut out);
            assert_eq!(written, Ok(der), "our key's certificate was forged");
        }
    }
    if let Ok(module) = &module {
        let name = RootName::try_from(ROOT_NAME).unwrap();
        let subject = ModuleSubject {
            module_id: &module.module_id,
            key: &module.key,
            description: module.description.expect("our root describes every module"),
            validity: module.validity,
        };
        let written = issue_module_certificate(&own.key, &name, &subject, &mut out);
        assert_eq!(written, Ok(der), "our root's certificate for a module was forged");
    }
    if root.as_ref() == Ok(&own.public) {
        let name = RootName::try_from(ROOT_NAME).unwrap();
        assert_eq!(write_root_certificate(&own.key, &name, &mut out), Ok(der), "our root was forged");
    }
}

/// A revocation list of our own root must be one that this crate writes, byte for byte.
fn revocation_list(der: &[u8]) {
    let own = own();
    let Ok(list) = RevocationList::verify(der, &own.public) else { return };
    let revoked: Vec<Revocation> = list.revocations().collect();
    let mut out = vec![0; revocation_list_len(revoked.len())];
    let name = RootName::try_from(ROOT_NAME).unwrap();
    let written = write_revocation_list(&own.key, &name, list.number, list.issued_at, &revoked, &mut out);
    assert_eq!(written, Ok(der), "our root's revocation list was forged");
}

type Readings = (
    Result<AdministratorCertificate, CertificateInvalid>,
    Result<ModuleCertificate, CertificateInvalid>,
    Result<PublicKey, CertificateInvalid>,
);

/// Reads the bytes as each kind of certificate. Length and shape must be judged alike for every kind.
fn read(der: &[u8]) -> Readings {
    let readings = (
        AdministratorCertificate::parse(der),
        ModuleCertificate::verify(der, &own().public),
        root_certificate_key(der),
    );
    let refusals = [readings.0.as_ref().err(), readings.1.as_ref().err(), readings.2.as_ref().err()]
        .map(Option::<&_>::copied);
    for general in [CertificateInvalid::TooLong, CertificateInvalid::Malformed] {
        let count = refusals.iter().filter(|refusal| **refusal == Some(general)).count();
        assert!(
            count == 0 || count == refusals.len(),
            "a certificate of one kind, and none of another: {refusals:?}"
        );
    }
    assert_eq!(refusals[0] == Some(CertificateInvalid::TooLong), der.len() > MAX_CERTIFICATE_LEN);
    readings
}

fn holds_together(certificate: &AdministratorCertificate) {
    assert_eq!(certificate.ski, certificate.key.ski());
    assert_eq!(AdministratorKey::from_bytes(&certificate.key.to_bytes()), Ok(certificate.key.clone()));
    assert_eq!(AdministratorName::try_from(certificate.name.as_str()), Ok(certificate.name.clone()));
}

/// The bytes themselves select the bit, so that fuzzing tries all of them.
fn refused_with_a_bit_flipped(der: &[u8]) {
    let bit =
        der.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte)) % (8 * der.len());
    let mut flipped = der.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    assert!(
        AdministratorCertificate::parse(&flipped).is_err(),
        "bit {bit} was flipped and the certificate accepted"
    );
}

/// Arbitrary bytes as the signed part: if the wrong signature was the only defect, the same bytes with a valid signature
/// must be accepted.
fn signed(tbs: &[u8]) {
    let own = own();
    let mut out = vec![0; tbs.len() + CERTIFICATE_BUFFER_LEN];
    let (administrator, module, root) = read(assemble_certificate(tbs, &own.signature, &mut out).unwrap());
    assert!(
        administrator.is_err() && module.is_err() && root.is_err(),
        "a signature over another message was accepted"
    );
    let before = [administrator.err(), module.err(), root.err()];
    let wrong = Some(CertificateInvalid::SignatureInvalid);
    if !before.contains(&wrong) {
        return;
    }
    let der = assemble_certificate(tbs, &own.key.sign(tbs), &mut out).unwrap();
    let (again, module_again, root_again) = read(der);
    let after = [again.as_ref().err(), module_again.as_ref().err(), root_again.as_ref().err()];
    for (before, after) in before.iter().zip(after) {
        let allowed = *before == wrong && after.is_none() || before.as_ref() == after;
        assert!(allowed, "{before:?} became {after:?} with a signature that is right");
    }
    if let Ok(administrator) = &again {
        holds_together(administrator);
        assert_eq!(administrator.key, AdministratorKey::P521(own.public.clone()), "another key signed this");
        refused_with_a_bit_flipped(der);
    }
    if let Ok(key) = root_again {
        assert_eq!(key, own.public, "another key signed this");
    }
}

/// A key in the units' encoding, followed by a signature; a point; a signature of our own.
fn key_and_signature(bytes: &[u8]) {
    if let Some((encoded, signature)) = bytes.split_first_chunk::<{ AdministratorKey::ENCODED_LEN }>()
        && let Ok(key) = AdministratorKey::from_bytes(encoded)
    {
        assert_eq!(key.to_bytes(), *encoded, "a key has two forms");
        let verified = key.verify(MESSAGE, signature);
        let is_own = signature == &own().signature[..] && key == AdministratorKey::P521(own().public.clone());
        assert!(
            verified.is_err() || is_own || matches!(key, AdministratorKey::Rsa2048(_)),
            "a forged signature"
        );
    }
    if let Ok(point) = PublicKey::from_point(bytes) {
        assert_eq!(point.to_point()[..], *bytes, "a point has two forms");
    }
    if own().public.verify(MESSAGE, bytes).is_ok() {
        assert_eq!(own().signature[..], *bytes, "our signature was forged, or has two forms");
    }
}

/// Seeds: valid certificates, their signed parts, keys and signatures.
#[allow(dead_code, reason = "who fuzzes starts from files")]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let Own { key, public, signature } = own();
    let mut out = [0; CERTIFICATE_BUFFER_LEN];
    let root_name = RootName::try_from(ROOT_NAME).unwrap();
    let alice = AdministratorName::try_from("Alice").unwrap();
    let administrator = write_administrator_certificate(key, &alice, &mut out).unwrap().to_vec();
    let root = write_root_certificate(key, &root_name, &mut out).unwrap().to_vec();
    let id = b"93AABBCC\x00\x11\x22\x33\xcc\xdd\xee\xff";
    let subject = ModuleSubject {
        module_id: id,
        key: public,
        description: ModuleDescription { engine_class: 3, firmware: [0xf1; 32] },
        validity: Validity { not_before: 1_700_000_000, not_after: 3_000_000_000 },
    };
    let module = issue_module_certificate(key, &root_name, &subject, &mut out).unwrap().to_vec();
    let revoked = [1, 2].map(|n| Revocation { serial: CertificateSerial([n; 20]), at: 1_750_000_000 });
    let mut list_out = vec![0; revocation_list_len(revoked.len())];
    let list = write_revocation_list(key, &root_name, 7, 1_800_000_000, &revoked, &mut list_out).unwrap();
    let stored = AdministratorKey::P521(public.clone()).to_bytes();
    let tbs = |der: &[u8]| {
        // After the outer header of 4 bytes; the inner header is 4 bytes, with 2 bytes of length.
        let len = usize::from(u16::from_be_bytes([der[6], der[7]]));
        der[4..8 + len].to_vec()
    };
    let with = |mode: u8, bytes: &[u8]| [&[mode], bytes].concat();
    vec![
        ("administrator", with(0, &administrator)),
        ("root", with(0, &root)),
        ("module", with(0, &module)),
        ("administrator-signed", with(1, &tbs(&administrator))),
        ("root-signed", with(1, &tbs(&root))),
        ("module-signed", with(1, &tbs(&module))),
        ("key", with(2, &[&stored[..], signature].concat())),
        ("point", with(2, &public.to_point())),
        ("signature", with(2, signature)),
        ("revocation-list", with(3, list)),
    ]
}
