//! Whose signatures are right.

use super::order::Order;
use crate::administrators::Administrators;
use heapless::Vec;
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, MAX_SIGNERS, SIGNER_PREFIX_LEN, SKI_LEN, SignerInfos,
};
use unit_api::{MAX_KEY_PARTS, UnitError};

/// Administrators whose signatures are right, each once however often he signed.
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

    /// The first bytes of each, as audit records have them.
    pub(crate) fn prefixes(&self) -> [[u8; SIGNER_PREFIX_LEN]; MAX_SIGNERS] {
        let mut prefixes = [[0; SIGNER_PREFIX_LEN]; MAX_SIGNERS];
        for (prefix, ski) in prefixes.iter_mut().zip(&self.skis) {
            *prefix = ski.first_chunk().copied().unwrap_or_default();
        }
        prefixes
    }
}

/// A command whose every signature is right.
pub(crate) struct Verified {
    /// How many administrators have signed; of an import, the fewest on any part.
    pub(crate) signatures: usize,
    /// What it asks for, or what is wrong with its input.
    pub(crate) order: Result<Order, UnitError>,
}

/// Verifies every signature of a request, or of an import's parts, and reads the input. `signers` is filled as far as
/// it goes, for the record.
///
/// # Errors
/// The first signature that is not right: one more than there may be administrators (87), malformed (193), nobody's here
/// (257), wrong (192). Of an import also that it has no part (2) or too many (75), or one for another unit (7) or another
/// command or counter (20): until then nobody has signed anything that could be held against the counter.
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
    Ok(Verified { signatures, order: Order::parse(command, block.input) })
}

/// Verifies the signatures of one request and gives the number of administrators who made them.
fn verify_request(
    administrators: &Administrators,
    request: &AdminRequest<'_>,
    signers: &mut Signers,
) -> Result<usize, UnitError> {
    if SignerInfos::new(request.signatures).count() > MAX_SIGNERS {
        return Err(UnitError::TooManySignatures);
    }
    let mut here = Signers::none();
    for signer in SignerInfos::new(request.signatures) {
        let signer = signer.map_err(|_| UnitError::SignatureMalformed)?;
        let administrator = administrators.find(&signer.ski).ok_or(UnitError::SignerUnknown)?;
        administrator.verify(request.block, &signer)?;
        here.insert(signer.ski);
        signers.insert(signer.ski);
    }
    Ok(here.count())
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
    for part in Parts::of(around) {
        let (request, block) = part?;
        if request.domain_index != around.target.domain_index || block.target != around.target {
            return Err(UnitError::KeyPartTargetMismatch);
        }
        if (block.command, block.transaction_counter) != (around.command, around.transaction_counter) {
            return Err(UnitError::KeyPartCommandMismatch);
        }
        signatures = signatures.min(verify_request(administrators, &request, signers)?);
    }
    Ok(Verified { signatures, order: Ok(Order::ImportKeyParts { parts }) })
}

/// The requests in an import's input, one for each part. Ends behind the first that is malformed.
pub(crate) struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The parts inside of an import.
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
