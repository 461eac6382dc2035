//! The service's record of administrative commands: one line of JSON each, in the shape of activity-tracking events.
//!
//! It says what was sent and what came back, and is the operator's word: the unit's own audit chain, which its module
//! signs, has the same commands by the hash of what was signed. Queries change nothing and leave no line.

use super::forward::may_be_carried_out;
use crate::cli::with_causes;
use crate::hex;
use crate::region::{Identity, SocketPortError, UnitProcess};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tke_crypto::AdministratorCertificate;
use unit_api::VerificationPattern;
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, Attributes,
};

/// `audit.jsonl`: only ever added to, mode 0600.
#[derive(Clone)]
pub(in crate::region) struct AuditLog(Arc<Mutex<File>>);

impl AuditLog {
    /// The log at `path`, begun if there is none.
    pub(in crate::region) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        crate::files::sync_parent(path)?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Writes down what came of a request, before the caller learns it.
    pub(super) async fn forwarded(
        &self,
        caller: &str,
        identity: &Identity,
        unit: &UnitProcess,
        hsm_id: &str,
        request: &[u8],
        answered: &Result<Vec<u8>, SocketPortError>,
    ) {
        let Ok(request) = AdminRequest::decode(request) else { return };
        let block = request.decode_block().ok();
        let command = block.and_then(|block| AdminCommand::from_id(block.command));
        if command.is_some_and(AdminCommand::is_query) {
            return;
        }
        let event = event(&Forwarded { caller, identity, unit, hsm_id, request, block, command }, answered);
        let log = self.clone();
        let written = tokio::task::spawn_blocking(move || log.append(&event)).await;
        // The command is done, and the unit has its own record: the caller gets the answer all the same.
        if let Err(e) = written.map_err(io::Error::other).and_then(|written| written) {
            eprintln!("hsm-sim: an administrative command could not be written to the audit log: {e}");
        }
    }

    fn append(&self, event: &Value) -> io::Result<()> {
        // One write, so that lines of two writers never mix.
        let line = format!("{event}\n");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }
}

struct Forwarded<'a> {
    caller: &'a str,
    identity: &'a Identity,
    unit: &'a UnitProcess,
    hsm_id: &'a str,
    request: AdminRequest<'a>,
    block: Option<AdminBlock<'a>>,
    command: Option<AdminCommand>,
}

fn event(sent: &Forwarded<'_>, answered: &Result<Vec<u8>, SocketPortError>) -> Value {
    let Forwarded { caller, identity, unit, hsm_id, request, block, command } = sent;
    let location = unit.place.location.to_string();
    let input = block.map_or(&[][..], |block| block.input);
    let mut request_data = json!({
        "location": location,
        "blockHash": hex::encode(&Sha256::digest(request.block)).as_str(),
        "signers": signers(request, input, *command),
    });
    let mut response_data = json!({});
    if let Some(command) = command {
        add(&mut request_data, what(*command, input));
    }
    let (outcome, code, text) = match answered {
        Err(error) if may_be_carried_out(error) => ("unknown", 504, with_causes(error)),
        Err(error) => ("failure", 502, with_causes(error)),
        Ok(response) => match result(response) {
            Some(Ok(output)) => {
                add(&mut response_data, came(*command, &output));
                ("success", 200, "OK".to_owned())
            }
            Some(Err(why)) => ("failure", 400, why),
            None => ("failure", 400, "the crypto unit did not understand the request".to_owned()),
        },
    };
    let crn = format!(
        "crn:v1:bluemix:public:hs-crypto:{}:a/{}:{}:hsm:{hsm_id}",
        identity.region, identity.account, identity.instance_id
    );
    json!({
        "eventTime": Timestamp::now().to_string(),
        "action": action(*command),
        "outcome": outcome,
        "severity": "critical",
        "reason": { "reasonCode": code, "reasonType": reason_type(code), "reasonForFailure": text },
        "initiator": { "id": caller },
        "target": { "id": crn, "typeURI": "hs-crypto/instance/hsm", "name": location },
        "requestData": request_data,
        "responseData": response_data,
    })
}

const fn reason_type(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400 => "Bad Request",
        504 => "Gateway Timeout",
        _ => "Bad Gateway",
    }
}

/// What the event is called. Where the documentation has no name, one of the same making.
const fn action(command: Option<AdminCommand>) -> &'static str {
    use AdminCommand as C;
    match command {
        Some(C::AddAdministrator) => "hs-crypto.tke-cryptounit-admin.add",
        Some(C::RemoveAdministrator) => "hs-crypto.tke-cryptounit-admin.remove",
        Some(C::ReplaceAdministrator) => "hs-crypto.tke-cryptounit-admin.replace",
        Some(C::SetAttributes) => "hs-crypto.tke-cryptounit-threshold.set",
        Some(C::ImportKeyParts) => "hs-crypto.tke-cryptounit-master-key-register.add",
        Some(C::CommitNew) => "hs-crypto.tke-cryptounit-master-key-register.commit",
        Some(C::ActivateNew) => "hs-crypto.tke-cryptounit-master-key-register.activate",
        Some(C::GenerateMasterKey) => "hs-crypto.tke-cryptounit-master-key-register.generate",
        Some(C::ExportCurrent | C::ExportNew) => "hs-crypto.tke-cryptounit-master-key-register.export",
        Some(C::ClearNew) => "hs-crypto.tke-cryptounit-new-master-key-register.clear",
        Some(C::ClearCurrent) => "hs-crypto.tke-cryptounit-current-master-key-register.clear",
        Some(C::Zeroize) => "hs-crypto.tke-cryptounit.reset",
        Some(C::GenerateImporterKey) => "hs-crypto.tke-cryptounit-importer-key.generate",
        Some(C::SetControlPoints) => "hs-crypto.tke-cryptounit-control-points.set",
        Some(C::AddControlPoints) => "hs-crypto.tke-cryptounit-control-points.add",
        Some(C::DeleteControlPoints) => "hs-crypto.tke-cryptounit-control-points.delete",
        _ => "hs-crypto.tke-cryptounit.unknown",
    }
}

/// Who has signed, by their subject key identifiers; those on the parts where a command is made of parts.
fn signers(request: &AdminRequest<'_>, input: &[u8], command: Option<AdminCommand>) -> Vec<String> {
    let mut skis: Vec<[u8; 32]> = request.signers().flatten().map(|signer| signer.ski).collect();
    let mut rest = if command == Some(AdminCommand::ImportKeyParts) { input } else { &[] };
    while let Ok((part, after)) = AdminRequest::decode_first(rest) {
        skis.extend(part.signers().flatten().map(|signer| signer.ski));
        rest = after;
    }
    skis.sort_unstable();
    skis.dedup();
    skis.iter().map(|ski| hex::encode(ski).to_string()).collect()
}

/// What is asked, from the input that was signed. Nothing of a sealed key part.
fn what(command: AdminCommand, input: &[u8]) -> Value {
    match command {
        AdminCommand::AddAdministrator => match AdministratorCertificate::parse(input) {
            Ok(shown) => json!({ "adminId": shown.ski.to_string(), "adminName": shown.name.as_str() }),
            Err(_) => json!({}),
        },
        AdminCommand::RemoveAdministrator => json!({ "adminId": hex::encode(input).as_str() }),
        AdminCommand::ReplaceAdministrator => match input.split_first_chunk::<32>() {
            Some((old, new)) => {
                let new = AdministratorCertificate::parse(new).ok().map(|shown| shown.ski.to_string());
                json!({ "adminId": new, "replacedAdminId": hex::encode(old).as_str() })
            }
            None => json!({}),
        },
        AdminCommand::SetAttributes => match Attributes::from_bytes(input) {
            Ok(attributes) => json!({
                "signatureThreshold": attributes.signature_threshold,
                "revocationSignatureThreshold": attributes.revocation_threshold,
                "permissions": attributes.permissions.to_string(),
            }),
            Err(_) => json!({}),
        },
        AdminCommand::CommitNew | AdminCommand::ActivateNew => pattern(input),
        AdminCommand::SetControlPoints
        | AdminCommand::AddControlPoints
        | AdminCommand::DeleteControlPoints => {
            json!({ "controlPoints": hex::encode(input).as_str() })
        }
        _ => json!({}),
    }
}

/// What came of a command that was carried out. Nothing of a sealed key part.
fn came(command: Option<AdminCommand>, output: &[u8]) -> Value {
    match command {
        Some(AdminCommand::ImportKeyParts | AdminCommand::GenerateMasterKey) => pattern(output),
        _ => json!({}),
    }
}

fn pattern(bytes: &[u8]) -> Value {
    match <[u8; 32]>::try_from(bytes) {
        Ok(bytes) => json!({ "verificationPattern": VerificationPattern::from_bytes(bytes).to_string() }),
        Err(_) => json!({}),
    }
}

/// The output of a command that was carried out, or why it was not; none if the unit did not understand it.
fn result(response: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let response = AdminResponse::decode(response).ok()?;
    let block = AdminResponseBlock::decode(response.block).ok()?;
    Some(block.result().map(<[u8]>::to_vec).map_err(|refusal| refusal.to_string()))
}

fn add(to: &mut Value, fields: Value) {
    if let (Some(to), Value::Object(fields)) = (to.as_object_mut(), fields) {
        to.extend(fields);
    }
}
