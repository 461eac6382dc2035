//! Verification of signatures.

use super::parsed_command::ParsedCommand;
use crate::administrators::Administrators;
use heapless::Vec;
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, KeyPartInput, KeyPartInputError, MAX_SIGNERS, SIGNER_PREFIX_LEN,
    SKI_LEN, SignerInfos,
};
use unit_api::{MAX_KEY_PARTS, UnitError};

/// Administrators with valid signatures, without repetition.
pub(crate) struct Signers {
    skis: Vec<[u8; SKI_LEN], MAX_SIGNERS, u8>,
}

impl Signers {
    /// No signer yet.
    pub(crate) const fn none() -> Self {
        Self { skis: Vec::new() }
    }

    pub(crate) fn count(&self) -> usize {
        self.skis.len()
    }

    fn insert(&mut self, ski: [u8; SKI_LEN]) {
        if !self.skis.contains(&ski) {
            // There is room for every administrator.
            let _ = self.skis.push(ski);
        }
    }

    /// The first bytes of each identifier, for audit records.
    pub(crate) fn prefixes(&self) -> [[u8; SIGNER_PREFIX_LEN]; MAX_SIGNERS] {
        let mut prefixes = [[0; SIGNER_PREFIX_LEN]; MAX_SIGNERS];
        for (prefix, ski) in prefixes.iter_mut().zip(&self.skis) {
            *prefix = ski.first_chunk().copied().unwrap_or_default();
        }
        prefixes
    }
}

/// A command whose signatures are all valid.
pub(crate) struct Verified {
    /// Number of administrators who have signed; of an import, the smallest number on any part.
    pub(crate) signatures: usize,
    /// The parsed command, or the error in its input.
    pub(crate) order: Result<ParsedCommand, UnitError>,
}

/// Verifies every signature of a request, or of an import's parts, and parses the input. `signers` receives the valid signers
/// up to the first error, for the audit record.
///
/// # Errors
/// The first invalid signature: more signatures than a unit can have administrators (87), malformed (193), by an unknown key
/// (257), wrong (192). Of an import also: no part (2), too many parts (75), a part for another unit (7), for another
/// command or counter value (20), or signed as one of another number of parts. None of these uses up the counter.
pub(crate) fn verify(
    administrators: &Administrators,
    command: AdminCommand,
    request: &AdminRequest<'_>,
    block: &AdminBlock<'_>,
    signers: &mut Signers,
) -> Result<Verified, UnitError> {
    let signatures = verify_request(administrators, request, signers)?;
    if command == AdminCommand::ImportKeyParts {
        return verify_parts(administrators, block, signers);
    }
    Ok(Verified { signatures, order: ParsedCommand::parse(command, block.input) })
}

/// Verifies the signatures of one request and returns the number of administrators who made them.
fn verify_request(
    administrators: &Administrators,
    request: &AdminRequest<'_>,
    signers: &mut Signers,
) -> Result<usize, UnitError> {
    if SignerInfos::new(request.signatures).count() > MAX_SIGNERS {
        return Err(UnitError::TooManySignatures);
    }
    let mut of_this_request = Signers::none();
    for signer in SignerInfos::new(request.signatures) {
        let signer = signer.map_err(|_| UnitError::SignatureMalformed)?;
        let administrator = administrators.find(&signer.ski).ok_or(UnitError::SignerUnknown)?;
        administrator.verify(request.block, &signer)?;
        of_this_request.insert(signer.ski);
        signers.insert(signer.ski);
    }
    Ok(of_this_request.count())
}

fn verify_parts(
    administrators: &Administrators,
    around: &AdminBlock<'_>,
    signers: &mut Signers,
) -> Result<Verified, UnitError> {
    let parts = Parts::of(around).count();
    match parts {
        0 => return Err(UnitError::KeyPartsMissing),
        1..=MAX_KEY_PARTS => {}
        _ => return Err(UnitError::KeyPartsTooMany),
    }
    let mut signatures = MAX_SIGNERS;
    let mut order = Ok(ParsedCommand::ImportKeyParts { parts });
    for part in Parts::of(around) {
        let (request, block) = part?;
        if request.domain_index != around.target.domain_index || block.target != around.target {
            return Err(UnitError::KeyPartTargetMismatch);
        }
        if (block.command, block.transaction_counter) != (around.command, around.transaction_counter) {
            return Err(UnitError::KeyPartCommandMismatch);
        }
        signatures = signatures.min(verify_request(administrators, &request, signers)?);
        match parse_part(block.input) {
            Ok(input) if usize::try_from(input.requests()) != Ok(parts) => {
                return Err(UnitError::KeyPartsCountMismatch);
            }
            Ok(KeyPartInput::Part { .. }) => {}
            // The only one, as its number of requests says.
            Ok(KeyPartInput::Export { .. }) => order = order.and(Ok(ParsedCommand::ImportExport)),
            Err(error) => order = order.and(Err(error)),
        }
    }
    Ok(Verified { signatures, order })
}

/// The input of a part's signed request.
pub(crate) fn parse_part(input: &[u8]) -> Result<KeyPartInput<'_>, UnitError> {
    KeyPartInput::decode(input).map_err(|error| match error {
        KeyPartInputError::Uncounted => UnitError::KeyPartUncounted,
        KeyPartInputError::Malformed => UnitError::KeyPartMalformed,
    })
}

/// The requests in an import's input, one for each part. Ends after the first malformed one.
pub(crate) struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The parts of an import.
    pub(crate) const fn of(around: &AdminBlock<'a>) -> Self {
        Self { rest: around.input }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(AdminRequest<'a>, AdminBlock<'a>), UnitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let part = AdminRequest::decode_first(core::mem::take(&mut self.rest)).and_then(|(request, rest)| {
            self.rest = rest;
            Ok((request, AdminBlock::decode(request.block)?))
        });
        Some(part.map_err(|_| UnitError::RequestMalformed))
    }
}
