//! The customer of the unit: an administrator's signature key, and two parts of a master key.

use crate::{Counter, Device, run};
use tke_crypto::{
    AdministratorName, CERTIFICATE_BUFFER_LEN, PublicKey, SCALAR_LEN, SEALED_PART_MAX_LEN,
    SigningKey, seal_key_part, write_administrator_certificate,
};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, Attributes, ImporterKey,
    KeyPartInput, Permissions, SignatureAlgorithm, SignerInfo,
};
use unit_api::{Command, Response, Target};
use unit_core::Unit;

/// The signature key whose scalar has these bytes.
pub(crate) fn fixed_key(byte: u8) -> Option<SigningKey> {
    let mut scalar = [byte; SCALAR_LEN];
    *scalar.first_mut()? = 0;
    SigningKey::from_scalar(&scalar).ok()
}

/// Installs an administrator, leaves imprint mode, imports two key parts, and commits and activates their master key.
pub(crate) fn load_a_master_key(unit: &mut Unit<Device>, out: &mut [u8]) -> Option<()> {
    let key = fixed_key(1)?;
    let mut certificate = [0; CERTIFICATE_BUFFER_LEN];
    let name = AdministratorName::try_from("Administrator").ok()?;
    let certificate = write_administrator_certificate(&key, &name, &mut certificate).ok()?;
    administer(unit, AdminCommand::AddAdministrator, certificate, None, out)?;
    let attributes = Attributes {
        signature_threshold: 1,
        revocation_threshold: 1,
        permissions: Permissions::operational(),
        mode: 1,
    };
    administer(unit, AdminCommand::SetAttributes, &attributes.to_bytes(), Some(&key), out)?;

    let shown = administer(unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], Some(&key), out)?;
    let importer = PublicKey::from_point(ImporterKey::decode(shown).ok()?.point).ok()?;
    let mut parts = [0; 2048];
    let mut len = 0;
    for byte in [3, 5] {
        let mut sealed = [0; SEALED_PART_MAX_LEN];
        let sealed = seal_key_part(&importer, &[byte; 32], &mut Counter(byte), &mut sealed).ok()?;
        let mut part = [0; SEALED_PART_MAX_LEN + 32];
        let part = KeyPartInput::Part { parts: 2, sealed }.encode(&mut part).ok()?;
        len += request(unit, AdminCommand::ImportKeyParts, part, Some(&key), out, parts.get_mut(len..)?)?;
    }
    let shown = administer(unit, AdminCommand::ImportKeyParts, parts.get(..len)?, None, out)?;
    let pattern: [u8; 32] = shown.try_into().ok()?;
    administer(unit, AdminCommand::CommitNew, &pattern, Some(&key), out)?;
    administer(unit, AdminCommand::ActivateNew, &pattern, Some(&key), out)?;
    Some(())
}

/// Sends a command and returns its output, if it was executed.
fn administer<'o>(
    unit: &mut Unit<Device>,
    command: AdminCommand,
    input: &[u8],
    signer: Option<&SigningKey>,
    out: &'o mut [u8],
) -> Option<&'o [u8]> {
    let mut buffer = [0; 4096];
    let len = request(unit, command, input, signer, out, &mut buffer)?;
    let request = buffer.get(..len)?;
    let Response::Administered(response) = run(unit, Command::Administer { request }, out)? else {
        return None;
    };
    let block = AdminResponse::decode(response).ok()?.block;
    AdminResponseBlock::decode(block).ok()?.result().ok()
}

/// Writes the signed request of a command, with the next transaction counter, to the start of `to`. Returns its length.
fn request(
    unit: &mut Unit<Device>,
    command: AdminCommand,
    input: &[u8],
    signer: Option<&SigningKey>,
    out: &mut [u8],
    to: &mut [u8],
) -> Option<usize> {
    let Response::Status(status) = run(unit, Command::Status, out)? else { return None };
    let target = Target {
        unit: status.unit,
        domain_index: status.domain_index,
        domain_instance: status.domain_instance,
    };
    let transaction_counter = status.transaction_counter + 1;
    let mut block = [0; 3072];
    let block =
        AdminBlock { command: command.id(), target, transaction_counter, input }.encode(&mut block).ok()?;
    let mut signer_info = [0; 256];
    let signatures = match signer {
        Some(key) => {
            let (ski, algorithm) = (key.public().ski().0, SignatureAlgorithm::EcdsaP521Sha512);
            let signature = &key.sign(block);
            SignerInfo { ski, algorithm, signature }.encode(&mut signer_info).ok()?
        }
        None => &[],
    };
    let request = AdminRequest { domain_index: target.domain_index, block, signatures };
    request.encode(to).ok().map(<[u8]>::len)
}
