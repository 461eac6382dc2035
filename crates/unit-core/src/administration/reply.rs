//! Answers that the module signs.

use crate::env::Module;
use crate::keeping::numbers;
use unit_api::admin::{
    AdminRefusal, AdminResponse, AdminResponseBlock, MAX_ADMIN_RESPONSE_LEN, SignatureAlgorithm, SignerInfo,
};
use unit_api::{Refusal, Target, UnitError};

/// What the answer is about.
pub(crate) struct About {
    pub(crate) command: u32,
    pub(crate) target: Target,
    pub(crate) transaction_counter: u128,
}

/// Working space for an answer: where it will stand, where its block is put together, where the command's output comes.
pub(crate) struct Space<'o> {
    answer: &'o mut [u8],
    block: &'o mut [u8],
    pub(crate) output: &'o mut [u8],
}

impl<'o> Space<'o> {
    /// Three parts of the caller's buffer, each long enough for the longest answer; asked for before anything is done,
    /// so that nothing is done whose answer has no room.
    pub(crate) fn of(out: &'o mut [u8]) -> Result<Self, UnitError> {
        let split = out.split_at_mut_checked(MAX_ADMIN_RESPONSE_LEN).and_then(|(answer, rest)| {
            let (block, output) = rest.split_at_mut_checked(MAX_ADMIN_RESPONSE_LEN)?;
            Some(Self { answer, block, output: output.get_mut(..OUTPUT_LEN)? })
        });
        split.ok_or(UnitError::ResponseTooLong)
    }

    /// Writes the answer to the start of the caller's buffer, leaves the rest of the space zero, and gives its length.
    pub(crate) fn finish<M: Module>(
        self,
        module: &M,
        about: &About,
        result: Result<usize, Refusal>,
    ) -> Result<usize, UnitError> {
        let Self { answer, block, output } = self;
        let written = match result {
            Ok(len) => write(module, about, 0, output.get(..len).unwrap_or_default(), block, answer),
            Err(refusal) => {
                let AdminRefusal { return_code, reason } = numbers(refusal);
                write(module, about, return_code, &reason.to_be_bytes(), block, answer)
            }
        };
        block.fill(0);
        output.fill(0);
        written
    }
}

/// What is left of the longest answer for a command's output.
const OUTPUT_LEN: usize = MAX_ADMIN_RESPONSE_LEN - 512;

/// Writes the answer to what is no request: nothing that could be signed.
pub(crate) fn write_malformed(domain_index: u32, out: &mut [u8]) -> Result<usize, UnitError> {
    let return_code = AdminRefusal::of(UnitError::RequestMalformed).return_code;
    let response = AdminResponse { domain_index, return_code, block: &[], signature: &[] };
    response.encode(out).map(<[u8]>::len).map_err(|_| UnitError::ResponseTooLong)
}

fn write<M: Module>(
    module: &M,
    about: &About,
    return_code: u32,
    output: &[u8],
    block: &mut [u8],
    answer: &mut [u8],
) -> Result<usize, UnitError> {
    let About { command, target, transaction_counter } = *about;
    let told = AdminResponseBlock { command, target, transaction_counter, return_code, output };
    let block = told.encode(block).map_err(|_| UnitError::ResponseTooLong)?;
    let signature = module.sign(block);
    let signer = SignerInfo {
        ski: module.ski().0,
        algorithm: SignatureAlgorithm::EcdsaP521Sha512,
        signature: &signature,
    };
    let mut signer_info = [0; 256];
    let signature = signer.encode(&mut signer_info).map_err(|_| UnitError::ResponseTooLong)?;
    let response = AdminResponse { domain_index: target.domain_index, return_code, block, signature };
    response.encode(answer).map(<[u8]>::len).map_err(|_| UnitError::ResponseTooLong)
}
