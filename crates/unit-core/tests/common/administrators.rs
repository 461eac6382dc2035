//! Administrators of the fixture: sign requests, send them, and decode the responses.

use super::module::{certificate, device_public, fixed_key, root};
use super::{Answer, Fixture, TestEnv, execute, status};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use tke_crypto::{
    AdministratorName, CERTIFICATE_BUFFER_LEN, PublicKey, SEALED_PART_MAX_LEN, SigningKey, seal_key_part,
    write_administrator_certificate,
};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, AdministratorEntries,
    Attributes, AuditChain, DomainInfo, ExportTarget, ImporterKey, KeyPartInput, Permissions,
    SignatureAlgorithm, SignerInfo, SignerInfos,
};
use unit_api::{Command, Target, UnitError, VerificationPattern};
use unit_core::Unit;
use unit_testkit::ScriptedRng;

/// An administrator with a fixed key.
pub(crate) struct Administrator {
    pub(crate) key: SigningKey,
    pub(crate) certificate: Vec<u8>,
    pub(crate) ski: [u8; 32],
}

/// Administrator number `n`, 0 to 9.
pub(crate) fn administrator(n: usize) -> &'static Administrator {
    static ALL: OnceLock<Vec<Administrator>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        (1..=10)
            .map(|byte| {
                let key = fixed_key(byte);
                let name = AdministratorName::try_from(format!("Administrator {byte}").as_str()).unwrap();
                let mut out = [0; CERTIFICATE_BUFFER_LEN];
                let certificate = write_administrator_certificate(&key, &name, &mut out).unwrap().to_vec();
                let ski = key.public().ski().0;
                Administrator { key, certificate, ski }
            })
            .collect()
    });
    &all[n]
}

/// Signatures by administrator and message.
type Made = Mutex<HashMap<(usize, Vec<u8>), Vec<u8>>>;

/// Cache of signatures, which are deterministic.
pub(crate) fn sign(n: usize, message: &[u8]) -> Vec<u8> {
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(Mutex::default);
    if let Some(signature) = made.lock().unwrap().get(&(n, message.to_vec())) {
        return signature.clone();
    }
    let signature = administrator(n).key.sign(message).to_vec();
    made.lock().unwrap().insert((n, message.to_vec()), signature.clone());
    signature
}

/// An unsigned administrative command.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) command: u32,
    pub(crate) target: Target,
    pub(crate) counter: u128,
    pub(crate) input: &'a [u8],
}

impl<'a> Ask<'a> {
    /// A command with the unit's target and next transaction counter.
    pub(crate) fn of(unit: &mut Unit<TestEnv>, command: AdminCommand, input: &'a [u8]) -> Self {
        let status = status(unit);
        let target = Target {
            unit: status.unit,
            domain_index: status.domain_index,
            domain_instance: status.domain_instance,
        };
        Self { command: command.id(), target, counter: status.transaction_counter + 1, input }
    }

    pub(crate) fn block(&self) -> Vec<u8> {
        let Self { command, target, counter, input } = *self;
        let block = AdminBlock { command, target, transaction_counter: counter, input };
        block.encode(&mut vec![0; input.len() + 64]).unwrap().to_vec()
    }

    /// The request, signed by these administrators.
    pub(crate) fn signed_by(&self, signers: &[usize]) -> Vec<u8> {
        let block = self.block();
        let signatures: Vec<_> = signers.iter().map(|n| (*n, sign(*n, &block))).collect();
        let infos: Vec<_> = signatures.iter().map(|(n, signature)| signer_info(*n, signature)).collect();
        self.with_signatures(&infos)
    }

    pub(crate) fn with_signatures(&self, signers: &[SignerInfo<'_>]) -> Vec<u8> {
        let mut buffer = vec![0; 512 * signers.len()];
        let signatures = SignerInfos::encode(signers, &mut buffer).unwrap();
        self.with_raw_signatures(signatures)
    }

    pub(crate) fn with_raw_signatures(&self, signatures: &[u8]) -> Vec<u8> {
        let block = self.block();
        let request = AdminRequest { domain_index: self.target.domain_index, block: &block, signatures };
        request.encode(&mut vec![0; block.len() + signatures.len() + 64]).unwrap().to_vec()
    }
}

pub(crate) fn signer_info(n: usize, signature: &[u8]) -> SignerInfo<'_> {
    SignerInfo { ski: administrator(n).ski, algorithm: SignatureAlgorithm::EcdsaP521Sha512, signature }
}

/// Sends a request and returns the whole response.
pub(crate) fn send_raw(unit: &mut Unit<TestEnv>, request: &[u8]) -> Vec<u8> {
    match execute(unit, Command::Administer { request }) {
        Ok(Answer::Administered(response)) => response,
        other => panic!("{other:?}"),
    }
}

/// Sends a request, and checks that target and counter in the response agree with the unit's status.
pub(crate) fn send(unit: &mut Unit<TestEnv>, request: &[u8]) -> Result<Vec<u8>, UnitError> {
    let response = send_raw(unit, request);
    let response = AdminResponse::decode(&response).unwrap();
    let block = AdminResponseBlock::decode(response.block).unwrap();
    let signer = response.signer().unwrap();
    assert_eq!(signer.ski, device_public().ski().0);
    if is_genuine(unit) {
        device_public().verify(response.block, signer.signature).unwrap();
    }
    let status = status(unit);
    assert_eq!((block.target.unit, block.target.domain_index), (status.unit, status.domain_index));
    assert_eq!(block.target.domain_instance, status.domain_instance);
    assert_eq!(block.transaction_counter, status.transaction_counter);
    assert_eq!((response.domain_index, response.return_code), (status.domain_index, block.return_code));
    match block.result() {
        Ok(output) => Ok(output.to_vec()),
        Err(refusal) => Err(refusal.unit_error().unwrap_or_else(|| panic!("{refusal}"))),
    }
}

/// The output in a response to a command that was executed.
pub(crate) fn output_of(response: &[u8]) -> Vec<u8> {
    let response = AdminResponse::decode(response).unwrap();
    AdminResponseBlock::decode(response.block).unwrap().result().unwrap().to_vec()
}

/// Whether the module of this unit makes valid signatures.
fn is_genuine(unit: &mut Unit<TestEnv>) -> bool {
    let query = Ask::of(unit, AdminCommand::QueryDeviceCertificate, b"");
    let response = send_raw(unit, &Ask { counter: 0, ..query }.signed_by(&[]));
    let response = AdminResponse::decode(&response).unwrap();
    !AdminResponseBlock::decode(response.block).unwrap().output.is_empty()
}

/// Sends a command with the right target and counter, signed by these administrators.
pub(crate) fn administer(
    unit: &mut Unit<TestEnv>,
    command: AdminCommand,
    input: &[u8],
    signers: &[usize],
) -> Result<Vec<u8>, UnitError> {
    let request = Ask::of(unit, command, input).signed_by(signers);
    send(unit, &request)
}

pub(crate) fn query(unit: &mut Unit<TestEnv>, command: AdminCommand, input: &[u8]) -> Vec<u8> {
    let ask = Ask { counter: 0, ..Ask::of(unit, command, input) };
    send(unit, &ask.signed_by(&[])).unwrap()
}

/// Subject key identifiers of the administrators.
pub(crate) fn installed(unit: &mut Unit<TestEnv>) -> Vec<[u8; 32]> {
    let bytes = query(unit, AdminCommand::QueryAdministrators, b"");
    AdministratorEntries::decode(&bytes).unwrap().iter().map(|entry| entry.ski).collect()
}

pub(crate) fn importer_of(output: &[u8]) -> PublicKey {
    PublicKey::from_point(ImporterKey::decode(output).unwrap().point).unwrap()
}

pub(crate) fn seal(importer: &PublicKey, part: &[u8; 32]) -> Vec<u8> {
    let mut counter = 0_u8;
    let mut rng = ScriptedRng::new(|bytes: &mut [u8]| {
        counter += 1;
        bytes.iter_mut().zip(part.iter().cycle()).for_each(|(to, from)| *to = from ^ counter);
        Ok(())
    });
    seal_key_part(importer, part, &mut rng, &mut [0; SEALED_PART_MAX_LEN]).unwrap().to_vec()
}

/// The concatenated requests of the parts of an import, each signed by these administrators.
pub(crate) fn signed_parts(ask: &Ask<'_>, sealed: &[Vec<u8>], signers: &[usize]) -> Vec<u8> {
    signed_as_of(sealed.len(), ask, sealed, signers)
}

/// As [`signed_parts`], with another number of parts in what is signed.
pub(crate) fn signed_as_of(parts: usize, ask: &Ask<'_>, sealed: &[Vec<u8>], signers: &[usize]) -> Vec<u8> {
    let parts = u32::try_from(parts).unwrap();
    let input = |sealed: &Vec<u8>| encoded_part(KeyPartInput::Part { parts, sealed });
    sealed.iter().flat_map(|sealed| Ask { input: &input(sealed), ..*ask }.signed_by(signers)).collect()
}

pub(crate) fn encoded_part(input: KeyPartInput<'_>) -> Vec<u8> {
    input.encode(&mut vec![0; 4096]).unwrap().to_vec()
}

/// Generates an importer key and imports parts, 32 bytes each, everything signed by these.
pub(crate) fn import_parts(
    unit: &mut Unit<TestEnv>,
    parts: &[u8],
    signers: &[usize],
) -> Result<VerificationPattern, UnitError> {
    let shown = administer(unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], signers)?;
    let importer = importer_of(&shown);
    let sealed: Vec<_> = parts.as_chunks().0.iter().map(|part| seal(&importer, part)).collect();
    import_sealed(unit, &sealed, signers)
}

pub(crate) fn import_sealed(
    unit: &mut Unit<TestEnv>,
    sealed: &[Vec<u8>],
    signers: &[usize],
) -> Result<VerificationPattern, UnitError> {
    let ask = Ask::of(unit, AdminCommand::ImportKeyParts, b"");
    let parts = signed_parts(&ask, sealed, signers);
    send(unit, &Ask { input: &parts, ..ask }.signed_by(&[])).map(|output| pattern_of(&output))
}

/// Imports the master key that another unit has exported with this response.
pub(crate) fn import_export(
    unit: &mut Unit<TestEnv>,
    response: &[u8],
    certificate: &[u8],
    signers: &[usize],
) -> Result<VerificationPattern, UnitError> {
    let ask = Ask::of(unit, AdminCommand::ImportKeyParts, b"");
    let input = encoded_part(KeyPartInput::Export { response, certificate });
    let part = Ask { input: &input, ..ask }.signed_by(signers);
    send(unit, &Ask { input: &part, ..ask }.signed_by(&[])).map(|output| pattern_of(&output))
}

pub(crate) fn pattern_of(output: &[u8]) -> VerificationPattern {
    VerificationPattern::from_bytes(output.try_into().unwrap())
}

pub(crate) fn attributes(sign: u32, revoke: u32, permissions: Permissions) -> Attributes {
    let mode = u32::from(sign != 0 || revoke != 0);
    Attributes { signature_threshold: sign, revocation_threshold: revoke, permissions, mode }
}

/// Installs administrators 0 to `count` − 1 and leaves imprint mode.
pub(crate) fn secure(unit: &mut Unit<TestEnv>, count: usize, attributes: Attributes) {
    for n in 0..count {
        administer(unit, AdminCommand::AddAdministrator, &administrator(n).certificate, &[]).unwrap();
    }
    let signers: Vec<_> = (0..attributes.signature_threshold as usize).collect();
    administer(unit, AdminCommand::SetAttributes, &attributes.to_bytes(), &signers).unwrap();
}

/// A secured unit with this many administrators and these thresholds.
pub(crate) fn ruled(
    administrators: usize,
    sign: u32,
    revoke: u32,
    permissions: Permissions,
) -> Unit<TestEnv> {
    let mut unit = Fixture::quick(1).start();
    secure(&mut unit, administrators, attributes(sign, revoke, permissions));
    unit
}

/// The first administrators, as many as the unit's signature threshold.
pub(crate) fn quorum(unit: &mut Unit<TestEnv>) -> Vec<usize> {
    (0..usize::from(status(unit).signature_threshold)).collect()
}

pub(crate) fn domain(unit: &mut Unit<TestEnv>) -> Vec<u8> {
    query(unit, AdminCommand::QueryDomain, b"")
}

pub(crate) fn with_domain<T>(unit: &mut Unit<TestEnv>, look: impl FnOnce(&DomainInfo<'_>) -> T) -> T {
    look(&DomainInfo::decode(&domain(unit)).unwrap())
}

/// Bytes of the audit records that the unit keeps.
pub(crate) fn audit(unit: &mut Unit<TestEnv>) -> Vec<u8> {
    let bytes = query(unit, AdminCommand::QueryAudit, b"");
    AuditChain::decode(&bytes).unwrap();
    bytes
}

/// An export target: the signed importer key of this fixture's unit, and the certificate of its module.
pub(crate) fn export_target(fixture: &Fixture) -> Vec<u8> {
    let mut unit = fixture.in_service();
    let ask = Ask::of(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]);
    let response = send_raw(&mut unit, &ask.signed_by(&[0]));
    target_of(&response, &certificate(fixture.identity.unit, root()))
}

pub(crate) fn target_of(response: &[u8], certificate: &[u8]) -> Vec<u8> {
    let target = ExportTarget { response, certificate };
    target.encode(&mut vec![0; response.len() + certificate.len() + 32]).unwrap().to_vec()
}
