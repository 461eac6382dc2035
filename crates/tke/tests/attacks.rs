//! Attacks on a ceremony from the wire and from the service's side, carried out.

use crate::world::{self, Memory, Wired, combined, listed, meet, parts, pattern_of, quorum, trust};
use engine::{ATTESTATION_SIGNATURE_LEN, Engine};
use engine_soft::{DeviceSecret, SoftEngine};
use getrandom::SysRng;
use std::sync::{Arc, Mutex};
use tke::ceremony::{Ceremony, CeremonyError, KeySource};
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::part::KeyPartHolder;
use tke::{AdminOperation, AdminUnit, AdminUnitError, UnitKind};
use tke_crypto::{PublicKey, Signature};
use unit_api::VerificationPattern;
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, ImporterKey, InstanceId,
    SignatureAlgorithm, SignerInfo,
};

const OPERATIONAL: UnitKind = UnitKind::Operational;

/// Who operates the machine of a unit in software can read the device secret, and sign with the module's key.
fn stolen_module_key() -> SoftEngine<SysRng> {
    SoftEngine::new(&DeviceSecret::new([1; 32]), SysRng).unwrap()
}

/// The answer with another output, signed with a stolen module key.
fn forged(answer: &[u8], output: &[u8]) -> Vec<u8> {
    let real = AdminResponse::decode(answer).unwrap();
    let block = AdminResponseBlock { output, ..AdminResponseBlock::decode(real.block).unwrap() };
    let mut buffer = vec![0; 4096];
    let block = block.encode(&mut buffer).unwrap().to_vec();
    let mut engine = stolen_module_key();
    let mut raw = [0; ATTESTATION_SIGNATURE_LEN];
    engine.attest(&block, &mut raw).unwrap();
    let ski = PublicKey::from_point(&engine.attestation_key().point).unwrap().ski().0;
    let signature = Signature::from_raw(&raw).unwrap();
    let signer = SignerInfo { ski, algorithm: SignatureAlgorithm::EcdsaP521Sha512, signature: &signature };
    let mut buffer = vec![0; 4096];
    let signature = signer.encode(&mut buffer).unwrap().to_vec();
    let response = AdminResponse { block: &block, signature: &signature, ..real };
    let mut buffer = vec![0; 8192];
    response.encode(&mut buffer).unwrap().to_vec()
}

fn command_of(answer: &[u8]) -> Option<AdminCommand> {
    let response = AdminResponse::decode(answer).ok()?;
    AdminCommand::from_id(AdminResponseBlock::decode(response.block).ok()?.command)
}

fn goal(pattern: VerificationPattern) -> UnitGoal {
    crate::ceremonies::goal(OPERATIONAL, MasterKeyGoal::Current(pattern))
}

/// With the module's key and a place on the wire, an importer key is forged and the sealed parts can be opened. The unit
/// refuses them, and the ceremony must stop there: a retry with the real importer key would load a stolen master key.
#[tokio::test]
async fn attack_a_forged_importer_key_stops_the_ceremony_as_an_alarm() {
    let (unit, wired) = meet(1, OPERATIONAL).await;
    let importer = world::fixed_key(0x77).public();
    let (point, ski) = (importer.to_point(), importer.importer_ski().0);
    *wired.tamper.lock().unwrap() = Some(Arc::new(move |answer| {
        if command_of(answer) == Some(AdminCommand::GenerateImporterKey) {
            let shown = ImporterKey { point: &point, ski, instance: world::INSTANCE };
            let mut buffer = [0; 512];
            *answer = forged(answer, shown.encode(&mut buffer).unwrap());
        }
    }));
    let (quorum, mut record, parts) = (quorum(2), Memory::default(), parts());
    let parts: Vec<&dyn KeyPartHolder> = parts.iter().map(|part| part as &dyn KeyPartHolder).collect();
    let goal = goal(pattern_of(&combined()));
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let error = ceremony.converge(&unit, &goal, &KeySource::Parts(&parts)).await.unwrap_err();
    assert!(matches!(error, CeremonyError::Alarm { unit: 1, .. }), "{error}");
    assert!(
        error.is_alarm() && error.stops_ceremony() && error.to_string().contains("Do not repeat"),
        "{error}"
    );
    let alarms = record.1.into_inner();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].0, 1);
    // Nothing was loaded.
    *wired.tamper.lock().unwrap() = None;
    assert!(matches!(unit.snapshot().await.unwrap().new, unit_api::NewRegister::Empty));
}

/// The service leaves a signed part out of an import. The rest must not become a master key, and the ceremony must stop.
#[tokio::test]
async fn attack_a_part_that_is_left_out_stops_the_ceremony_as_an_alarm() {
    let (unit, wired) = meet(1, OPERATIONAL).await;
    *wired.tamper_request.lock().unwrap() = Some(Arc::new(|request| {
        let around = AdminRequest::decode(request).unwrap();
        let block = around.decode_block().unwrap();
        if block.command != AdminCommand::ImportKeyParts.id() {
            return;
        }
        let (_, after_the_first) = AdminRequest::decode_first(block.input).unwrap();
        let block = AdminBlock { input: &block.input[..block.input.len() - after_the_first.len()], ..block };
        let block = block.encode(&mut vec![0; 8192]).unwrap().to_vec();
        let without = AdminRequest { block: &block, ..around };
        *request = without.encode(&mut vec![0; 8192]).unwrap().to_vec();
    }));
    let (quorum, mut record, parts) = (quorum(2), Memory::default(), parts());
    let parts: Vec<&dyn KeyPartHolder> = parts.iter().map(|part| part as &dyn KeyPartHolder).collect();
    let goal = goal(pattern_of(&combined()));
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let error = ceremony.converge(&unit, &goal, &KeySource::Parts(&parts)).await.unwrap_err();
    assert!(matches!(error, CeremonyError::Alarm { unit: 1, .. }), "{error}");
    assert!(error.to_string().contains("another number of key parts"), "{error}");
    *wired.tamper_request.lock().unwrap() = None;
    assert!(matches!(unit.snapshot().await.unwrap().new, unit_api::NewRegister::Empty));
}

/// An answer that a tool takes for the present one: recorded when it was made, and put in the place of a later one.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Option<Vec<u8>>>>);

impl Recorded {
    /// Keeps the first answer to `command`.
    fn record(&self, wired: &Wired, command: AdminCommand) {
        let kept = self.clone();
        *wired.tamper.lock().unwrap() = Some(Arc::new(move |answer| {
            if command_of(answer) == Some(command) {
                kept.0.lock().unwrap().get_or_insert_with(|| answer.clone());
            }
        }));
    }

    /// Gives that answer to every later `command`.
    fn replay(&self, wired: &Wired, command: AdminCommand) {
        let kept = self.0.lock().unwrap().clone().unwrap();
        *wired.tamper.lock().unwrap() = Some(Arc::new(move |answer| {
            if command_of(answer) == Some(command) {
                answer.clone_from(&kept);
            }
        }));
    }
}

/// A signed refusal of an earlier command in the place of a success: the tool must not report that nothing happened.
#[tokio::test]
async fn attack_an_old_refusal_does_not_hide_a_command() {
    let (unit, wired) = meet(1, OPERATIONAL).await;
    let (quorum, mut record) = (quorum(2), ());
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let recorded = Recorded::default();
    recorded.record(&wired, AdminCommand::ClearNew);
    // In imprint mode the command is refused.
    ceremony.execute(&unit, &AdminOperation::ClearNew).await.unwrap_err();
    *wired.tamper.lock().unwrap() = None;
    let parts = parts();
    let parts: Vec<&dyn KeyPartHolder> = parts.iter().map(|part| part as &dyn KeyPartHolder).collect();
    let pattern = pattern_of(&combined());
    ceremony.converge(&unit, &goal(pattern), &KeySource::Parts(&parts)).await.unwrap();
    recorded.replay(&wired, AdminCommand::ClearNew);
    let error = ceremony.execute(&unit, &AdminOperation::ClearNew).await.unwrap_err();
    assert!(matches!(error, CeremonyError::Unit(AdminUnitError::NotAuthentic { .. })), "{error}");
}

/// An unsigned refusal can be anybody's: the command may have been carried out.
#[tokio::test]
async fn attack_an_unsigned_refusal_is_not_believed() {
    let (unit, wired) = meet(1, OPERATIONAL).await;
    let (quorum, mut record) = (quorum(2), ());
    *wired.tamper.lock().unwrap() = Some(Arc::new(|answer| {
        if command_of(answer) == Some(AdminCommand::AddAdministrator) {
            let unsigned = AdminResponse { domain_index: 0, return_code: 7, block: &[], signature: &[] };
            let mut buffer = [0; 64];
            *answer = unsigned.encode(&mut buffer).unwrap().to_vec();
        }
    }));
    let administrator = world::administrators(1).remove(0);
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let operation = AdminOperation::AddAdministrator(administrator.administrator());
    let error = ceremony.execute(&unit, &operation).await.unwrap_err();
    assert!(matches!(error, CeremonyError::Unit(AdminUnitError::OutcomeUnknown { .. })), "{error}");
    assert!(error.to_string().contains("unknown"), "{error}");
    // It was.
    *wired.tamper.lock().unwrap() = None;
    assert_eq!(unit.snapshot().await.unwrap().administrators.len(), 1);
}

/// The list of administrators comes in a response of its own: an older one must not pass for the present one, not even after
/// the module was zeroized without any command.
#[tokio::test]
async fn attack_an_old_list_of_administrators_is_not_believed() {
    let (unit, wired) = meet(1, OPERATIONAL).await;
    let (quorum, mut record) = (quorum(2), ());
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let administrator = world::administrators(1).remove(0).administrator();
    ceremony.execute(&unit, &AdminOperation::AddAdministrator(administrator)).await.unwrap();
    let recorded = Recorded::default();
    recorded.record(&wired, AdminCommand::QueryAdministrators);
    assert_eq!(unit.snapshot().await.unwrap().administrators.len(), 1);
    wired.unit.lock().unwrap().zeroize_module().unwrap();
    recorded.replay(&wired, AdminCommand::QueryAdministrators);
    let error = unit.snapshot().await.unwrap_err();
    assert!(matches!(error, AdminUnitError::NotAuthentic { .. }), "{error}");
    *wired.tamper.lock().unwrap() = None;
    assert_eq!(unit.snapshot().await.unwrap().administrators, []);
}

/// A genuine unit of another customer, listed as one of this customer's.
#[tokio::test]
async fn attack_a_unit_of_another_instance_is_refused() {
    let wired = Wired::new(1, InstanceId([0x2e; 16]));
    let unit = AdminUnit::authenticate(listed(1, OPERATIONAL), wired, &trust()).await.unwrap();
    let error = unit.snapshot().await.unwrap_err();
    assert!(matches!(error, AdminUnitError::OtherInstance { .. }) && error.is_alarm(), "{error}");
}
