//! Administrators, a signer who is none, the module and its root, and their signatures.

use crate::fixture::{Disk, Fixture, IDENTITY, Lasting};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;
use tke_crypto::{
    AdministratorName, CERTIFICATE_BUFFER_LEN, ModuleDescription, ModuleSubject, PublicKey, RootName,
    SCALAR_LEN, SEALED_PART_MAX_LEN, SigningKey, Ski, Validity, issue_module_certificate, seal_key_part,
    write_administrator_certificate,
};
use unit_api::Target;
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, AdministratorEntries,
    Attributes, ExportTarget, ImporterKey, KeyPartInput, Permissions, SignatureAlgorithm, SignerInfo,
    SignerInfos,
};
use unit_testkit::ScriptedRng;

/// A signer with a fixed key.
pub(crate) struct Signer {
    key: SigningKey,
    pub(crate) certificate: Vec<u8>,
    pub(crate) ski: [u8; 32],
}

fn fixed_key(byte: u8) -> SigningKey {
    let mut scalar = [byte; SCALAR_LEN];
    scalar[0] = 0;
    SigningKey::from_scalar(&scalar).unwrap()
}

/// Index of a signer who is not an administrator of any unit, unless the input replaces the first administrator.
pub(crate) const STRANGER: usize = 3;

/// Administrators 0 to 2, and [`STRANGER`].
pub(crate) fn signer(n: usize) -> &'static Signer {
    static ALL: OnceLock<Vec<Signer>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        (1..=4)
            .map(|byte| {
                let key = fixed_key(byte);
                let name = AdministratorName::try_from(format!("Administrator {byte}").as_str()).unwrap();
                let mut out = [0; CERTIFICATE_BUFFER_LEN];
                let certificate = write_administrator_certificate(&key, &name, &mut out).unwrap().to_vec();
                let ski = key.public().ski().0;
                Signer { key, certificate, ski }
            })
            .collect()
    });
    &all[n]
}

struct Manufacturer {
    root: PublicKey,
    device: SigningKey,
    device_public: PublicKey,
    certificate: Vec<u8>,
}

fn manufacturer() -> &'static Manufacturer {
    static ONE: OnceLock<Manufacturer> = OnceLock::new();
    ONE.get_or_init(|| {
        let (root, device) = (fixed_key(0x71), fixed_key(0x72));
        let name = RootName::try_from("Fuzz Root").unwrap();
        let mut out = [0; CERTIFICATE_BUFFER_LEN];
        let device_public = device.public();
        let module = ModuleSubject {
            module_id: &IDENTITY.unit.0,
            key: &device_public,
            description: ModuleDescription { engine_class: 1, firmware: [0xf1; 32] },
            validity: Validity { not_before: 0, not_after: u64::MAX },
        };
        let certificate = issue_module_certificate(&root, &name, &module, &mut out).unwrap().to_vec();
        Manufacturer { root: root.public(), certificate, device_public, device }
    })
}

pub(crate) fn root_public() -> &'static PublicKey {
    &manufacturer().root
}

pub(crate) fn device_public() -> &'static PublicKey {
    &manufacturer().device_public
}

pub(crate) fn device_ski() -> Ski {
    static SKI: OnceLock<Ski> = OnceLock::new();
    *SKI.get_or_init(|| device_public().ski())
}

pub(crate) fn certificate() -> &'static [u8] {
    &manufacturer().certificate
}

pub(crate) fn device_key() -> &'static SigningKey {
    &manufacturer().device
}

/// Signatures by signer and message.
type Signatures = HashMap<(usize, Vec<u8>), Vec<u8>>;

thread_local! {
    /// Cache of signatures.
    static MADE: RefCell<Signatures> = RefCell::default();
}

fn sign(n: usize, message: &[u8]) -> Vec<u8> {
    MADE.with_borrow_mut(|made| {
        if made.len() > 10_000 {
            made.clear();
        }
        made.entry((n, message.to_vec())).or_insert_with(|| signer(n).key.sign(message).to_vec()).clone()
    })
}

/// Signatures of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// Without a signature.
    Unsigned,
    First,
    FirstAndSecond,
    FirstTwice,
    /// By [`STRANGER`], under its own key identifier.
    Stranger,
    /// By [`STRANGER`], under the first administrator's key identifier.
    StrangerAsFirst,
    /// By the first administrator, over another block.
    FirstElsewhere,
}

impl Signed {
    pub(crate) const ALL: [Self; 7] = [
        Self::Unsigned,
        Self::First,
        Self::FirstAndSecond,
        Self::FirstTwice,
        Self::Stranger,
        Self::StrangerAsFirst,
        Self::FirstElsewhere,
    ];

    /// Number of valid signatures by installed administrators; 0 if one of the signers is not installed.
    pub(crate) fn count(self, installed: &[[u8; 32]]) -> usize {
        let by: &[usize] = match self {
            Self::First | Self::FirstTwice => &[0],
            Self::FirstAndSecond => &[0, 1],
            Self::Stranger => &[STRANGER],
            Self::Unsigned | Self::StrangerAsFirst | Self::FirstElsewhere => &[],
        };
        if by.iter().all(|n| installed.contains(&signer(*n).ski)) { by.len() } else { 0 }
    }

    fn signatures(self, block: &[u8]) -> Vec<u8> {
        // Signer that is named, signer whose key signs, message.
        let made: &[(usize, usize, &[u8])] = match self {
            Self::Unsigned => &[],
            Self::First => &[(0, 0, block)],
            Self::FirstAndSecond => &[(0, 0, block), (1, 1, block)],
            Self::FirstTwice => &[(0, 0, block), (0, 0, block)],
            Self::Stranger => &[(STRANGER, STRANGER, block)],
            Self::StrangerAsFirst => &[(0, STRANGER, block)],
            Self::FirstElsewhere => &[(0, 0, b"another block")],
        };
        let made: Vec<_> =
            made.iter().map(|(name, key, over)| (signer(*name).ski, sign(*key, over))).collect();
        let algorithm = SignatureAlgorithm::EcdsaP521Sha512;
        let infos: Vec<_> =
            made.iter().map(|(ski, signature)| SignerInfo { ski: *ski, algorithm, signature }).collect();
        SignerInfos::encode(&infos, &mut vec![0; 512 * infos.len()]).unwrap().to_vec()
    }
}

/// An administrative request to a unit in this state, with its next transaction counter; 0 for a query.
pub(crate) fn request(state: &Lasting, command: u32, input: &[u8], signed: Signed) -> Vec<u8> {
    let query = AdminCommand::from_id(command).is_some_and(AdminCommand::is_query);
    let target = Target {
        unit: IDENTITY.unit,
        domain_index: IDENTITY.domain_index,
        domain_instance: state.domain_instance,
    };
    let transaction_counter = if query { 0 } else { state.transaction_counter + 1 };
    let block = AdminBlock { command, target, transaction_counter, input };
    let block = block.encode(&mut vec![0; input.len() + 64]).unwrap().to_vec();
    let signatures = signed.signatures(&block);
    let request =
        AdminRequest { domain_index: IDENTITY.domain_index, block: &block, signatures: &signatures };
    request.encode(&mut vec![0; block.len() + signatures.len() + 64]).unwrap().to_vec()
}

/// Executes a command that must succeed, and returns its output.
pub(crate) fn carry_out(
    fixture: &mut Fixture,
    command: AdminCommand,
    input: &[u8],
    signed: Signed,
) -> Vec<u8> {
    let state = fixture.lasting();
    let response = fixture.administer(&request(&state, command.id(), input, signed));
    let response = AdminResponse::decode(&response).unwrap();
    let block = AdminResponseBlock::decode(response.block).unwrap();
    block.result().unwrap_or_else(|refusal| panic!("{command:?}: {refusal}")).to_vec()
}

/// The subject key identifiers of a unit's administrators.
pub(crate) fn installed(fixture: &mut Fixture) -> Vec<[u8; 32]> {
    let entries = carry_out(fixture, AdminCommand::QueryAdministrators, b"", Signed::Unsigned);
    AdministratorEntries::decode(&entries).unwrap().iter().map(|entry| entry.ski).collect()
}

/// Valid input for a command, or empty input if there is none.
pub(crate) fn good_input(fixture: &mut Fixture, command: AdminCommand, signed: Signed) -> Vec<u8> {
    let state = fixture.lasting();
    match command {
        AdminCommand::AddAdministrator => {
            signer(usize::from(state.administrators).min(2)).certificate.clone()
        }
        AdminCommand::RemoveAdministrator => signer(0).ski.to_vec(),
        AdminCommand::ReplaceAdministrator => [&signer(0).ski[..], &signer(STRANGER).certificate].concat(),
        AdminCommand::SetAttributes => attributes(1, 1).to_bytes().to_vec(),
        AdminCommand::GenerateImporterKey => vec![0, 0, 0, 3],
        AdminCommand::ExportCurrent | AdminCommand::ExportNew => export_target().to_vec(),
        AdminCommand::ImportKeyParts => parts(fixture, [4, 8], signed),
        AdminCommand::CommitNew | AdminCommand::ActivateNew => {
            state.new.map_or_else(Vec::new, |(_, pattern)| pattern.to_vec())
        }
        AdminCommand::SetControlPoints
        | AdminCommand::AddControlPoints
        | AdminCommand::DeleteControlPoints => {
            vec![0xdd; 16]
        }
        AdminCommand::QueryDomain => b"nonce".to_vec(),
        _ => Vec::new(),
    }
}

pub(crate) fn attributes(sign: u32, revoke: u32) -> Attributes {
    let permissions = Permissions::recovery();
    Attributes { signature_threshold: sign, revocation_threshold: revoke, permissions, mode: 1 }
}

/// Two signed key parts for the unit's importer key, or for its module key if it has no importer key.
fn parts(fixture: &mut Fixture, fill: [u8; 2], signed: Signed) -> Vec<u8> {
    let state = fixture.lasting();
    let shown = carry_out(fixture, AdminCommand::QueryImporterKey, b"", Signed::Unsigned);
    let importer = match ImporterKey::decode(&shown) {
        Ok(shown) => PublicKey::from_point(shown.point).unwrap(),
        Err(_) => device_public().clone(),
    };
    let part = |fill: u8| {
        let mut rng = ScriptedRng::new(|out: &mut [u8]| {
            out.fill(fill);
            Ok(())
        });
        let mut out = [0; SEALED_PART_MAX_LEN];
        let sealed = seal_key_part(&importer, &[fill; 32], &mut rng, &mut out).unwrap();
        let mut input = [0; SEALED_PART_MAX_LEN + 32];
        let input = KeyPartInput::Part { parts: 2, sealed }.encode(&mut input).unwrap();
        request(&state, AdminCommand::ImportKeyParts.id(), input, signed)
    };
    fill.into_iter().flat_map(part).collect()
}

/// An importer key with a valid signature of the module.
fn export_target() -> &'static [u8] {
    static TARGET: OnceLock<Vec<u8>> = OnceLock::new();
    TARGET.get_or_init(|| {
        let importer = fixed_key(0x73).public();
        let (point, ski) = (importer.to_point(), importer.importer_ski().0);
        let mut output = [0; ImporterKey::LEN];
        ImporterKey { point: &point, ski, instance: IDENTITY.instance }.encode(&mut output).unwrap();
        let target = Target { unit: IDENTITY.unit, domain_index: IDENTITY.domain_index, domain_instance: 1 };
        let command = AdminCommand::QueryImporterKey.id();
        let block =
            AdminResponseBlock { command, target, transaction_counter: 1, return_code: 0, output: &output };
        let block = block.encode(&mut [0; 512]).unwrap().to_vec();
        let signature = manufacturer().device.sign(&block);
        let algorithm = SignatureAlgorithm::EcdsaP521Sha512;
        let signer = SignerInfo { ski: device_ski().0, algorithm, signature: &signature };
        let signer = signer.encode(&mut [0; 512]).unwrap().to_vec();
        let response = AdminResponse {
            domain_index: target.domain_index,
            return_code: 0,
            block: &block,
            signature: &signer,
        };
        let response = response.encode(&mut [0; 1024]).unwrap().to_vec();
        let target = ExportTarget { response: &response, certificate: certificate() };
        target.encode(&mut [0; 2048]).unwrap().to_vec()
    })
}

/// Loads, commits and, if wished, activates a master key.
fn load(fixture: &mut Fixture, fill: [u8; 2], signed: Signed, activate: bool) {
    carry_out(fixture, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], signed);
    let parts = parts(fixture, fill, signed);
    let pattern = carry_out(fixture, AdminCommand::ImportKeyParts, &parts, Signed::Unsigned);
    carry_out(fixture, AdminCommand::CommitNew, &pattern, signed);
    if activate {
        carry_out(fixture, AdminCommand::ActivateNew, &pattern, signed);
    }
}

/// The disk of a unit with this number of administrators. Thresholds are that number, at most 2; the current register has a
/// master key, and the new register another one, committed. With 0 administrators, the disk of a new unit.
pub(crate) fn ruled_by(administrators: u8) -> Disk {
    let mut fixture = Fixture::start(Disk::default());
    if administrators == 0 {
        return fixture.disk;
    }
    let threshold = administrators.min(2);
    let signed = if threshold == 1 { Signed::First } else { Signed::FirstAndSecond };
    for n in 0..administrators {
        let certificate = &signer(usize::from(n)).certificate;
        carry_out(&mut fixture, AdminCommand::AddAdministrator, certificate, Signed::Unsigned);
    }
    let attributes = attributes(threshold.into(), threshold.into());
    carry_out(&mut fixture, AdminCommand::SetAttributes, &attributes.to_bytes(), signed);
    load(&mut fixture, [1, 2], signed, true);
    load(&mut fixture, [16, 32], signed, false);
    fixture.disk
}
