//! The service's record of administrative commands: one line of JSON each, in the shape of activity-tracking events.
//!
//! It records what was sent and what was returned, as the operator's statement. The unit's own audit chain, signed by its
//! module, has the same commands by the hash of the signed block. Queries change nothing and are not recorded.

use jiff::Timestamp;
use serde_json::{Value, json};
use server::rest::Instance;
use server::tke::{AdministeredUnit, ForwardError, ForwardedRequest};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tke_crypto::AdministratorCertificate;
use tracing::error;
use unit_api::VerificationPattern;
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, Attributes,
};
use wire::text::{encode_hex, error_chain};

/// A file that lines are only appended to, mode 0600.
#[derive(Clone, Debug)]
pub struct AuditLog(Arc<Mutex<AuditFile>>);

#[derive(Debug)]
struct AuditFile {
    file: File,
    /// Why the last line could not be written.
    failure: Option<String>,
}

/// A forwarded request, and the instance that its addressee belongs to.
#[derive(Clone, Copy)]
pub(crate) struct ForwardedCommand<'a> {
    pub(crate) request: ForwardedRequest<'a>,
    pub(crate) instance: &'a Instance,
}

/// What is known of the command in a request.
struct ParsedCommand<'a> {
    request: AdminRequest<'a>,
    block: Option<AdminBlock<'a>>,
    command: Option<AdminCommand>,
}

impl AuditLog {
    /// Opens the log at `path`, creating it if it does not exist.
    ///
    /// # Errors
    /// The file cannot be opened, or its creation cannot be made durable.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()?;
        }
        Ok(Self(Arc::new(Mutex::new(AuditFile { file, failure: None }))))
    }

    /// Records a command and its outcome, durably, before the caller gets the response.
    pub(crate) async fn record(&self, sent: ForwardedCommand<'_>, response: &Result<Vec<u8>, ForwardError>) {
        let Ok(request) = AdminRequest::decode(sent.request.der) else { return };
        let block = request.decode_block().ok();
        let command = block.and_then(|block| AdminCommand::from_id(block.command));
        if command.is_some_and(AdminCommand::is_query) {
            return;
        }
        let event = event(sent, &ParsedCommand { request, block, command }, response);
        let log = self.clone();
        let written = tokio::task::spawn_blocking(move || log.append(&event)).await;
        // The command is executed, and the unit has its own record: the caller gets the response all the same.
        if let Err(e) = written.map_err(io::Error::other).and_then(|written| written) {
            error!(unit = sent.request.unit.number, error = %error_chain(&e), "cannot write to the audit log");
        }
    }

    fn append(&self, event: &Value) -> io::Result<()> {
        // One write, so that lines of two writers never mix.
        let line = format!("{event}\n");
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = log.file.write_all(line.as_bytes()).and_then(|()| log.file.sync_data());
        log.failure = written.as_ref().err().map(ToString::to_string);
        written
    }

    /// Whether the last line could be written.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.0.lock().unwrap_or_else(PoisonError::into_inner).failure {
            None => Ok(()),
            Some(why) => Err(format!("the last command could not be recorded: {why}")),
        }
    }
}

fn event(
    sent: ForwardedCommand<'_>,
    parsed: &ParsedCommand<'_>,
    response: &Result<Vec<u8>, ForwardError>,
) -> Value {
    let ForwardedCommand { request: ForwardedRequest { caller, unit, hsm_id, .. }, instance } = sent;
    let ParsedCommand { request, block, command } = parsed;
    let AdministeredUnit { location, .. } = unit;
    let input = block.map_or(&[][..], |block| block.input);
    let mut request_data = json!({
        "location": location,
        "blockHash": encode_hex(&Sha256::digest(request.block)),
        "signers": signers(request, input, *command),
    });
    let mut response_data = json!({});
    if let Some(command) = command {
        add(&mut request_data, request_fields(*command, input));
    }
    let (outcome, code, text) = match response {
        Err(error) if error.may_have_executed() => ("unknown", 504, error_chain(error)),
        Err(error) => ("failure", 502, error_chain(error)),
        Ok(response) => match result(response) {
            Some(Ok(output)) => {
                add(&mut response_data, response_fields(*command, &output));
                ("success", 200, "OK".to_owned())
            }
            Some(Err(why)) => ("failure", 400, why),
            None => ("failure", 400, "the crypto unit did not understand the request".to_owned()),
        },
    };
    let Instance { id, region, account, .. } = instance;
    let crn = format!("crn:v1:bluemix:public:hs-crypto:{region}:a/{account}:{id}:hsm:{hsm_id}");
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

/// Name of the event. Commands without a documented name get one of the same form.
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

/// Subject key identifiers of the signers, including those of the key parts that a command consists of.
fn signers(request: &AdminRequest<'_>, input: &[u8], command: Option<AdminCommand>) -> Vec<String> {
    let mut skis: Vec<[u8; 32]> = request.signers().flatten().map(|signer| signer.ski).collect();
    let mut rest = if command == Some(AdminCommand::ImportKeyParts) { input } else { &[] };
    while let Ok((part, after)) = AdminRequest::decode_first(rest) {
        skis.extend(part.signers().flatten().map(|signer| signer.ski));
        rest = after;
    }
    skis.sort_unstable();
    skis.dedup();
    skis.iter().map(|ski| encode_hex(ski)).collect()
}

/// Fields of the request, from the signed input. Sealed key parts are left out.
fn request_fields(command: AdminCommand, input: &[u8]) -> Value {
    match command {
        AdminCommand::AddAdministrator => match AdministratorCertificate::parse(input) {
            Ok(certificate) => {
                json!({ "adminId": certificate.ski.to_string(), "adminName": certificate.name.as_str() })
            }
            Err(_) => json!({}),
        },
        AdminCommand::RemoveAdministrator => json!({ "adminId": encode_hex(input) }),
        AdminCommand::ReplaceAdministrator => match input.split_first_chunk::<32>() {
            Some((old, new)) => {
                let new = AdministratorCertificate::parse(new).ok().map(|new| new.ski.to_string());
                json!({ "adminId": new, "replacedAdminId": encode_hex(old) })
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
            json!({ "controlPoints": encode_hex(input) })
        }
        _ => json!({}),
    }
}

/// Fields of the response to a command that was executed. Sealed key parts are left out.
fn response_fields(command: Option<AdminCommand>, output: &[u8]) -> Value {
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

/// The output of a command that was executed, or why it was refused; `None` if the unit did not understand it.
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
