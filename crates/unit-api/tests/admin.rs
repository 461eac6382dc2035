//! The structures of administrative commands: their encodings, and decoders that do not panic on any bytes.

use proptest::prelude::*;
use unit_api::admin::{
    AdminBlock, AdminRefusal, AdminRequest, AdminResponse, AdminResponseBlock, AdministratorEntries,
    AdministratorEntry, Attributes, AuditChain, ControlPoints, DomainInfo, ExportTarget, ImporterKey,
    InstanceId, SignatureAlgorithm, SignerInfo, SignerInfos,
};
use unit_api::{Condition, NewRegister, Target, UnitError, UnitId, VerificationPattern};

const TARGET: Target = Target {
    unit: UnitId(*b"SIM00001\x01\x02\x03\x04\x05\x06\x07\x08"),
    domain_index: 3,
    domain_instance: 4,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

const fn signer(signature: &[u8]) -> SignerInfo<'_> {
    SignerInfo { ski: [0xab; 32], algorithm: SignatureAlgorithm::EcdsaP521Sha512, signature }
}

#[test]
fn a_block_is_the_documented_der() {
    let block = AdminBlock { command: 13, target: TARGET, transaction_counter: 0x0102, input: &[0xee, 0xff] };
    let mut out = [0; 128];
    let der = block.encode(&mut out).unwrap();
    let expected = concat!(
        "3038",
        "04040000000d",
        "04080000000300000004",
        "041053494d30303030310102030405060708",
        "041000000000000000000000000000000102",
        "0402eeff"
    );
    assert_eq!(hex(der), expected);
    assert_eq!(AdminBlock::decode(der), Ok(block));
}

#[test]
fn a_signer_info_is_the_documented_der() {
    let mut out = [0; 128];
    let der = signer(&[1, 2, 3]).encode(&mut out).unwrap();
    let expected = format!(
        "30430201038020{}300b0609608648016503040203300a06082a8648ce3d0403040403010203",
        "ab".repeat(32)
    );
    assert_eq!(hex(der), expected);
    assert_eq!(SignerInfo::decode(der), Ok(signer(&[1, 2, 3])));
}

#[test]
fn requests_carry_their_signers_in_order() {
    let rsa =
        SignerInfo { ski: [1; 32], algorithm: SignatureAlgorithm::Rsa2048X931Sha256, signature: &[9; 256] };
    let mut signatures = [0; 1024];
    let signatures = SignerInfos::encode(&[signer(&[1]), rsa], &mut signatures).unwrap();
    let request = AdminRequest { domain_index: 3, block: &[5, 6], signatures };
    let mut out = [0; 1024];
    let der = request.encode(&mut out).unwrap().to_vec();
    assert_eq!(AdminRequest::decode(&der), Ok(request));
    let signers: Result<Vec<_>, _> = request.signers().collect();
    assert_eq!(signers.unwrap(), [signer(&[1]), rsa]);
    let mut two = der.clone();
    two.extend(&der);
    let (first, rest) = AdminRequest::decode_first(&two).unwrap();
    assert_eq!((first, rest), (request, der.as_slice()));
}

#[test]
fn a_broken_signature_ends_the_list() {
    let mut good = [0; 128];
    let good = signer(&[1]).encode(&mut good).unwrap();
    // Not DER, and DER that is not a signature; the bytes after them are not decoded.
    for broken in [&[0x30, 0x7f][..], &[0x04, 0x00]] {
        let bytes = [broken, good].concat();
        let mut infos = SignerInfos::new(&bytes);
        assert!(infos.next().unwrap().is_err());
        assert!(infos.next().is_none());
    }
}

#[test]
fn responses_read_as_they_were_written() {
    let refusal = AdminRefusal::of(UnitError::NotEnoughSignatures);
    let output = refusal.reason.to_be_bytes();
    let block = AdminResponseBlock {
        command: 13,
        target: TARGET,
        transaction_counter: 7,
        return_code: refusal.return_code,
        output: &output,
    };
    let mut out = [0; 256];
    let der = block.encode(&mut out).unwrap().to_vec();
    let read = AdminResponseBlock::decode(&der).unwrap();
    assert_eq!(read, block);
    assert_eq!(read.result().unwrap_err().unit_error(), Some(UnitError::NotEnoughSignatures));
    assert_eq!((refusal.return_code, refusal.reason), (208, 21));
    let response = AdminResponse { domain_index: 3, return_code: 208, block: &der, signature: &[] };
    let der = response.encode(&mut out).unwrap();
    assert_eq!(AdminResponse::decode(der), Ok(response));
    assert!(response.signer().is_err());
}

#[test]
fn a_domain_tells_all_of_itself() {
    let pattern = VerificationPattern::from_bytes([7; 32]);
    let attributes =
        Attributes { signature_threshold: 2, revocation_threshold: 1, mode: 1, ..Attributes::first() };
    for new in
        [NewRegister::Empty, NewRegister::FullUncommitted(pattern), NewRegister::FullCommitted(pattern)]
    {
        let info = DomainInfo {
            current: Some(pattern),
            new,
            attributes,
            control_points: ControlPoints::first(),
            instance: InstanceId([8; 16]),
            boot_nonce: [9; 16],
            condition: Condition::Error(0x0242),
            administrators: 3,
            audit_records: 4,
            audit_head: [5; 32],
            administrators_digest: [9; 32],
            nonce: b"fresh",
        };
        let mut out = [0; 256];
        let bytes = info.encode(&mut out).unwrap().to_vec();
        let read = DomainInfo::decode(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{info:?}"));
    }
}

/// Flags repeat other fields: contradictions are rejected, and empty registers have no pattern.
#[test]
fn a_domain_contradicts_itself_nowhere() {
    let info = DomainInfo {
        current: None,
        new: NewRegister::Empty,
        attributes: Attributes::first(),
        control_points: ControlPoints::first(),
        instance: InstanceId([8; 16]),
        boot_nonce: [9; 16],
        condition: Condition::Operational,
        administrators: 0,
        audit_records: 1,
        audit_head: [5; 32],
        administrators_digest: [9; 32],
        nonce: b"",
    };
    let mut out = [0; 256];
    let mut bytes = info.encode(&mut out).unwrap().to_vec();
    assert!(DomainInfo::decode(&bytes).is_ok());
    // Patterns of the current and the new register, then flags: administrators, new register committed, imprint mode left,
    // two undefined ones.
    for (at, bit) in [(0, 1), (63, 0x80), (67, 0x01), (67, 0x08), (67, 0x10), (67, 0x20), (64, 0x80)] {
        bytes[at] ^= bit;
        assert!(DomainInfo::decode(&bytes).is_err(), "byte {at}");
        bytes[at] ^= bit;
    }
}

#[test]
fn small_structures_read_as_they_were_written() {
    let mut out = [0; 512];
    let importer = ImporterKey { point: &[4; 133], ski: [5; 32], instance: InstanceId([6; 16]) };
    let bytes = importer.encode(&mut out).unwrap().to_vec();
    assert_eq!(ImporterKey::decode(&bytes), Ok(importer));
    assert_eq!(bytes.len(), ImporterKey::LEN);
    let target = ExportTarget { response: &[1], certificate: &[2, 3] };
    let der = target.encode(&mut out).unwrap().to_vec();
    assert_eq!(ExportTarget::decode(&der), Ok(target));
    let entry = AdministratorEntry { ski: [1; 32], name: *b"Ada                           " };
    let both = [entry.to_bytes(), entry.to_bytes()].concat();
    assert!(AdministratorEntries::decode(&both).unwrap().iter().eq([entry, entry]));
    assert_eq!(entry.name(), Some("Ada"));
}

proptest! {
    #[test]
    fn prop_no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = AdminBlock::decode(&bytes);
        if let Ok(request) = AdminRequest::decode(&bytes) {
            let _ = request.decode_block();
            request.signers().for_each(drop);
        }
        SignerInfos::new(&bytes).for_each(drop);
        let _ = AdminRequest::decode_first(&bytes);
        if let Ok(response) = AdminResponse::decode(&bytes) {
            let _ = response.signer();
        }
        let _ = AdminResponseBlock::decode(&bytes).map(|block| block.result().is_ok());
        let _ = DomainInfo::decode(&bytes);
        let _ = AuditChain::decode(&bytes);
        let _ = ExportTarget::decode(&bytes);
        let _ = ImporterKey::decode(&bytes);
        let _ = Attributes::from_bytes(&bytes);
    }

    /// Encodings are unique: bytes that decode are the encoding of the result.
    #[test]
    fn prop_a_block_has_one_form(
        command in any::<u32>(), counter in any::<u128>(), input in proptest::collection::vec(any::<u8>(), 0..300),
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let block = AdminBlock { command, target: TARGET, transaction_counter: counter, input: &input };
        let mut out = vec![0; input.len() + 64];
        let mut der = block.encode(&mut out).unwrap().to_vec();
        prop_assert_eq!(AdminBlock::decode(&der), Ok(block));
        let at = flip.0.index(der.len());
        if let Some(byte) = der.get_mut(at) {
            *byte ^= flip.1;
        }
        if let Ok(other) = AdminBlock::decode(&der) {
            let mut again = vec![0; der.len()];
            prop_assert_eq!(other.encode(&mut again), Ok(der.as_slice()));
        }
    }
}
