//! The administrator of a test unit, and the requests that this administrator signs.

use crate::output;
use getrandom::SysRng;
use std::sync::OnceLock;
use tke_crypto::{
    AdministratorName, CERTIFICATE_BUFFER_LEN, PublicKey, SCALAR_LEN, SEALED_PART_MAX_LEN, SigningKey,
    seal_key_part, write_administrator_certificate,
};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, Attributes, ImporterKey, KeyPartInput, MODE_LEFT_IMPRINT,
    Permissions, SignatureAlgorithm, SignerInfo, SignerInfos,
};
use unit_api::{Target, VerificationPattern};

/// The key whose scalar is a zero byte followed by these bytes.
pub(crate) fn fixed_key(byte: u8) -> SigningKey {
    let mut scalar = [byte; SCALAR_LEN];
    if let Some(first) = scalar.first_mut() {
        *first = 0;
    }
    SigningKey::from_scalar(&scalar).expect("such a scalar is in range")
}

fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| fixed_key(0x01))
}

/// The DER of a request to a unit with this counter value, signed by the administrator or unsigned.
///
/// # Panics
/// If the input is too long for a request.
#[must_use]
pub fn request(target: Target, counter: u128, command: AdminCommand, input: &[u8], signed: bool) -> Vec<u8> {
    let block = AdminBlock { command: command.id(), target, transaction_counter: counter, input };
    let mut out = vec![0; input.len() + 128];
    let block = block.encode(&mut out).expect("there is room for the block");
    let mut signatures = [0; 512];
    let signatures = if signed {
        let signer = SignerInfo {
            ski: key().public().ski().0,
            algorithm: SignatureAlgorithm::EcdsaP521Sha512,
            signature: &key().sign(block),
        };
        SignerInfos::encode(&[signer], &mut signatures).expect("there is room for a signature")
    } else {
        &[]
    };
    let request = AdminRequest { domain_index: target.domain_index, block, signatures };
    let mut out = vec![0; block.len() + 1024];
    request.encode(&mut out).expect("there is room for the request").to_vec()
}

/// Installs the administrator in a unit in imprint mode and leaves that mode, with thresholds of 1 and the permissions of a
/// recovery unit. `exchange` sends a request to the unit and returns the response.
///
/// # Panics
/// If the unit refuses.
pub fn secure(target: Target, counter: u128, mut exchange: impl FnMut(&[u8]) -> Vec<u8>) {
    let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
    let name = AdministratorName::try_from("Bench").expect("a short name");
    let certificate =
        write_administrator_certificate(key(), &name, &mut buffer).expect("there is room for a certificate");
    let attributes = Attributes {
        signature_threshold: 1,
        revocation_threshold: 1,
        permissions: Permissions::recovery(),
        mode: MODE_LEFT_IMPRINT,
    };
    let add = request(target, counter + 1, AdminCommand::AddAdministrator, certificate, false);
    let set = request(target, counter + 2, AdminCommand::SetAttributes, &attributes.to_bytes(), true);
    for request in [add, set] {
        output(&exchange(&request)).expect("the unit takes its administrator");
    }
}

/// Generates a random master key in a secured unit.
///
/// # Panics
/// If the unit refuses.
pub fn generate_master_key(
    target: Target,
    counter: u128,
    mut exchange: impl FnMut(&[u8]) -> Vec<u8>,
) -> VerificationPattern {
    let request = request(target, counter + 1, AdminCommand::GenerateMasterKey, &[], true);
    let made = output(&exchange(&request)).expect("the unit draws a master key");
    VerificationPattern::from_bytes(made.try_into().expect("a pattern of 32 bytes"))
}

/// The input of an import: each part sealed for an importer key and signed separately.
///
/// # Panics
/// If a part cannot be sealed.
pub(crate) fn import_input(target: Target, counter: u128, importer: &[u8], parts: &[[u8; 32]]) -> Vec<u8> {
    let importer = ImporterKey::decode(importer).expect("an importer key");
    let importer = PublicKey::from_point(importer.point).expect("a point of the curve");
    let mut input = Vec::new();
    for part in parts {
        let mut out = [0; SEALED_PART_MAX_LEN];
        let sealed = seal_key_part(&importer, part, &mut SysRng, &mut out).expect("the part is sealed");
        let part = KeyPartInput::Part { parts: u32::try_from(parts.len()).expect("few parts"), sealed };
        let mut out = [0; SEALED_PART_MAX_LEN + 32];
        let part = part.encode(&mut out).expect("there is room for the part");
        input.extend(request(target, counter, AdminCommand::ImportKeyParts, part, true));
    }
    input
}
