//! Responses that the module signs.

use crate::persistence::ep11_numbers;
use engine::{ATTESTATION_SIGNATURE_LEN, Engine, EngineError};
use tke_crypto::{Signature, Ski};
use unit_api::admin::{
    AdminRefusal, AdminResponse, AdminResponseBlock, MAX_ADMIN_RESPONSE_LEN, SignatureAlgorithm, SignerInfo,
};
use unit_api::{Refusal, Target, UnitError};

/// The fields of a response before its output.
pub(crate) struct ResponseHeader {
    pub(crate) command: u32,
    pub(crate) target: Target,
    pub(crate) transaction_counter: u128,
    /// The module's attestation key.
    pub(crate) signer: Ski,
}

/// Parts of the caller's buffer: for the response, for its block, and for the command's output.
pub(crate) struct ResponseBuffers<'o> {
    answer: &'o mut [u8],
    block: &'o mut [u8],
    pub(crate) output: &'o mut [u8],
}

impl<'o> ResponseBuffers<'o> {
    /// Splits the caller's buffer into three parts, each long enough for the longest response. Called before the command is
    /// carried out, so that no command is carried out whose response has no room.
    pub(crate) fn of(out: &'o mut [u8]) -> Result<Self, UnitError> {
        let split = out.split_at_mut_checked(MAX_ADMIN_RESPONSE_LEN).and_then(|(answer, rest)| {
            let (block, output) = rest.split_at_mut_checked(MAX_ADMIN_RESPONSE_LEN)?;
            Some(Self { answer, block, output: output.get_mut(..OUTPUT_LEN)? })
        });
        split.ok_or(UnitError::ResponseTooLong)
    }

    /// Writes the response to the start of the caller's buffer, zeroes the other parts, and returns its length.
    ///
    /// # Errors
    /// The engine's if it cannot sign: the command may have been carried out, and its caller is told neither.
    pub(crate) fn finish<E: Engine>(
        self,
        engine: &mut E,
        header: &ResponseHeader,
        result: Result<usize, Refusal>,
    ) -> Result<usize, Refusal> {
        let Self { answer, block, output } = self;
        let written = match result {
            Ok(len) => write(engine, header, 0, output.get(..len).unwrap_or_default(), block, answer),
            Err(refusal) => {
                let AdminRefusal { return_code, reason } = ep11_numbers(refusal);
                write(engine, header, return_code, &reason.to_be_bytes(), block, answer)
            }
        };
        block.fill(0);
        output.fill(0);
        written
    }
}

/// Longest output of a command: the longest response without its other fields.
const OUTPUT_LEN: usize = MAX_ADMIN_RESPONSE_LEN - 512;

/// Writes the unsigned response to bytes that are no request.
pub(crate) fn write_malformed(domain_index: u32, out: &mut [u8]) -> Result<usize, UnitError> {
    let return_code = AdminRefusal::of(UnitError::RequestMalformed).return_code;
    let response = AdminResponse { domain_index, return_code, block: &[], signature: &[] };
    response.encode(out).map(<[u8]>::len).map_err(|_| UnitError::ResponseTooLong)
}

fn write<E: Engine>(
    engine: &mut E,
    header: &ResponseHeader,
    return_code: u32,
    output: &[u8],
    block: &mut [u8],
    answer: &mut [u8],
) -> Result<usize, Refusal> {
    let ResponseHeader { command, target, transaction_counter, signer } = *header;
    let fields = AdminResponseBlock { command, target, transaction_counter, return_code, output };
    let block = fields.encode(block).map_err(|_| UnitError::ResponseTooLong)?;
    let mut signature = [0; ATTESTATION_SIGNATURE_LEN];
    engine.attest(block, &mut signature)?;
    let signature = Signature::from_raw(&signature).map_err(|_| EngineError::DeviceError)?;
    let signer =
        SignerInfo { ski: signer.0, algorithm: SignatureAlgorithm::EcdsaP521Sha512, signature: &signature };
    let mut signer_info = [0; 256];
    let signature = signer.encode(&mut signer_info).map_err(|_| UnitError::ResponseTooLong)?;
    let response = AdminResponse { domain_index: target.domain_index, return_code, block, signature };
    Ok(response.encode(answer).map_err(|_| UnitError::ResponseTooLong)?.len())
}
