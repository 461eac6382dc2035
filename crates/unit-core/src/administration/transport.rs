//! Transport of master keys from custodians and between units, sealed for an importer key.

use super::verify::{Parts, parse_part};
use crate::env::UnitIdentity;
use crate::key_parts::KeyParts;
use engine::{Engine, EngineError};
use rand_core::utils::next_word_via_fill;
use rand_core::{TryCryptoRng, TryRng};
use tke_crypto::{ModuleCertificate, PublicKey, RandomFailed, SealError, SealedPartInvalid, SigningKey};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminResponse, AdminResponseBlock, ExportTarget, ImporterKey, KeyPartInput,
    Permissions, SignatureAlgorithm,
};
use unit_api::{Refusal, UnitError};

/// The engine as the generator that `tke_crypto` takes. Keeps the engine's error, which `tke_crypto` does not report.
struct EngineRng<'e, E: Engine> {
    engine: &'e mut E,
    failure: Option<EngineError>,
}

impl<'e, E: Engine> EngineRng<'e, E> {
    const fn new(engine: &'e mut E) -> Self {
        Self { engine, failure: None }
    }

    /// The engine's error, or [`EngineError::RandomFailed`] if the engine reported success but its numbers were unusable.
    fn refusal(&self) -> Refusal {
        self.failure.unwrap_or(EngineError::RandomFailed).into()
    }
}

impl<E: Engine> TryRng for EngineRng<'_, E> {
    type Error = EngineError;

    fn try_next_u32(&mut self) -> Result<u32, EngineError> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, EngineError> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        self.engine.random(out).inspect_err(|error| self.failure = Some(*error))
    }
}

impl<E: Engine> TryCryptoRng for EngineRng<'_, E> {}

/// Generates an importer key.
pub(crate) fn make_importer<E: Engine>(engine: &mut E) -> Result<SigningKey, Refusal> {
    let mut rng = EngineRng::new(engine);
    SigningKey::generate(&mut rng).map_err(|RandomFailed| rng.refusal())
}

/// Writes the public half of the importer key in the form that the module signs.
pub(crate) fn show_importer(
    key: &SigningKey,
    identity: &UnitIdentity,
    output: &mut [u8],
) -> Result<usize, UnitError> {
    let public = key.public();
    let (point, ski) = (&public.to_point(), public.importer_ski().0);
    let shown = ImporterKey { point, ski, instance: identity.instance };
    shown.encode(output).map(<[u8]>::len).map_err(|_| UnitError::ResponseTooLong)
}

/// Opens the parts of an import whose signatures were verified, and adds them to `parts`, which does not move meanwhile.
/// `root` is the one that the certificate of an exporting unit's module has to be issued by.
pub(crate) fn open_parts(
    importer: &SigningKey,
    root: &PublicKey,
    around: &AdminBlock<'_>,
    parts: &mut KeyParts,
) -> Result<(), UnitError> {
    for part in Parts::of(around) {
        let (_, block) = part?;
        let sealed = match parse_part(block.input)? {
            KeyPartInput::Part { sealed, .. } => sealed,
            KeyPartInput::Export { response, certificate } => {
                let exports = [AdminCommand::ExportCurrent, AdminCommand::ExportNew];
                genuine_output(response, certificate, root, exports).ok_or(UnitError::KeyPartSourceInvalid)?
            }
        };
        let opened = tke_crypto::open_key_part(importer, sealed).map_err(|invalid| match invalid {
            SealedPartInvalid::WrongRecipient => UnitError::KeyPartRecipientMismatch,
            SealedPartInvalid::UnwrapFailed => UnitError::KeyPartUnwrapFailed,
            _ => UnitError::KeyPartMalformed,
        })?;
        parts.push(&opened)?;
    }
    Ok(())
}

/// Checks the target of an export and returns its importer key: a module with a certificate of the same root has signed
/// that the key is its own, and the module's unit belongs to the same service instance, unless exports to other instances
/// are permitted.
pub(crate) fn check_target(
    input: &[u8],
    root: &PublicKey,
    identity: &UnitIdentity,
    permissions: Permissions,
) -> Result<PublicKey, UnitError> {
    let (importer, instance) = genuine_importer(input, root).ok_or(UnitError::ExportTargetInvalid)?;
    if instance != identity.instance && !permissions.contains(Permissions::EXPORT_FOREIGN) {
        return Err(UnitError::ExportTargetForeign);
    }
    Ok(importer)
}

fn genuine_importer(input: &[u8], root: &PublicKey) -> Option<(PublicKey, unit_api::admin::InstanceId)> {
    let target = ExportTarget::decode(input).ok()?;
    let about_importer = [AdminCommand::GenerateImporterKey, AdminCommand::QueryImporterKey];
    let output = genuine_output(target.response, target.certificate, root, about_importer)?;
    let shown = ImporterKey::decode(output).ok()?;
    let key = PublicKey::from_point(shown.point).ok()?;
    (key.importer_ski().0 == shown.ski).then_some((key, shown.instance))
}

/// The output of one of two commands, if the module of this certificate, which `root` has issued, has signed it.
fn genuine_output<'a>(
    response: &'a [u8],
    certificate: &[u8],
    root: &PublicKey,
    commands: [AdminCommand; 2],
) -> Option<&'a [u8]> {
    let module = ModuleCertificate::verify(certificate, root).ok()?;
    let response = AdminResponse::decode(response).ok()?;
    let signer = response.signer().ok()?;
    if signer.ski != module.key.ski().0 || signer.algorithm != SignatureAlgorithm::EcdsaP521Sha512 {
        return None;
    }
    module.key.verify(response.block, signer.signature).ok()?;
    let block = AdminResponseBlock::decode(response.block).ok()?;
    let command = AdminCommand::from_id(block.command)?;
    if !commands.contains(&command) || block.target.unit.0 != module.module_id {
        return None;
    }
    block.result().ok()
}

/// Seals a master key as a single part for an importer key, at the start of `output`.
pub(crate) fn seal_master_key<E: Engine>(
    engine: &mut E,
    key: engine::KeyHandle,
    importer: &PublicKey,
    output: &mut [u8],
) -> Result<usize, Refusal> {
    let part = engine.export_key_part(key)?;
    let mut rng = EngineRng::new(engine);
    let len = match tke_crypto::seal_key_part(importer, part.expose(), &mut rng, output) {
        Ok(sealed) => sealed.len(),
        Err(SealError::RandomFailed) => return Err(rng.refusal()),
        Err(SealError::BufferTooSmall) => return Err(UnitError::ResponseTooLong.into()),
    };
    // The sealed part is at the end of the buffer.
    let start = output.len().saturating_sub(len);
    output.copy_within(start.., 0);
    Ok(len)
}
