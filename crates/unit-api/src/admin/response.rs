//! A unit's answer to an administrative request.

use super::SignerInfo;
use super::block::{domain_bytes, read_target};
use super::fields::{self, Malformed, NoRoom};
use super::request::FUNCTION;
use crate::{Target, UnitError};

/// What the module signs (`AdminRspBlk`): a sequence of octet strings – command ID (4), domain index ‖ domain instance
/// (4 + 4), module ID (16), transaction counter (16), return code (4), output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminResponseBlock<'a> {
    /// The command that is answered.
    pub command: u32,
    /// Who answers.
    pub target: Target,
    /// The unit's counter after the command.
    pub transaction_counter: u128,
    /// 0, or why the command was refused.
    pub return_code: u32,
    /// What the command gives; when it was refused, the reason code in the first four bytes.
    pub output: &'a [u8],
}

impl<'a> AdminResponseBlock<'a> {
    /// The block in these bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(der: &'a [u8]) -> Result<Self, Malformed> {
        let [command, domain, module, counter, return_code, output] = fields::read::<6>(der)?;
        Ok(Self {
            command: u32::from_be_bytes(fields::array(command)?),
            target: read_target(domain, module)?,
            transaction_counter: u128::from_be_bytes(fields::array(counter)?),
            return_code: u32::from_be_bytes(fields::array(return_code)?),
            output,
        })
    }

    /// Writes the block's DER to the start of `out`; it is at most 80 bytes longer than the output.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        fields::write(
            &[
                &self.command.to_be_bytes(),
                &domain_bytes(&self.target),
                &self.target.unit.0,
                &self.transaction_counter.to_be_bytes(),
                &self.return_code.to_be_bytes(),
                self.output,
            ],
            out,
        )
    }

    /// The output, or why there is none.
    ///
    /// # Errors
    /// The return code with its reason; [`UnitError`] of both where this project knows one.
    pub fn result(&self) -> Result<&'a [u8], AdminRefusal> {
        if self.return_code == 0 {
            return Ok(self.output);
        }
        let reason = self.output.first_chunk().map_or(0, |reason| u32::from_be_bytes(*reason));
        Err(AdminRefusal { return_code: self.return_code, reason })
    }
}

/// Why a unit refused an administrative command, by EP11's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminRefusal {
    /// The return code.
    pub return_code: u32,
    /// The reason code. Up to 255 it is EP11's; above, the number of a [`UnitError`] that EP11 has no reason for.
    pub reason: u32,
}

impl AdminRefusal {
    /// As a unit gives it.
    #[must_use]
    pub fn of(error: UnitError) -> Self {
        let reason = if error.reason() == 0 { error.code() } else { error.reason() };
        // CKR_FUNCTION_REJECTED where EP11 names no code of its own.
        let return_code = if error.ep11_code() == 0 { 0x200 } else { error.ep11_code() };
        Self { return_code, reason: reason.into() }
    }

    /// The unit's error with these numbers.
    #[must_use]
    pub fn unit_error(self) -> Option<UnitError> {
        UnitError::ALL.iter().copied().find(|error| Self::of(*error) == self)
    }
}

impl core::fmt::Display for AdminRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { return_code, reason } = self;
        match self.unit_error() {
            Some(error) => write!(f, "{error} (return code {return_code}, reason {reason})"),
            None => write!(f, "return code {return_code}, reason {reason}"),
        }
    }
}

impl core::error::Error for AdminRefusal {}

/// A unit's answer (`AdminRsp`): a sequence of octet strings – function ID `00 01 00 29`, domain index (4), return code
/// (4), block, module signature. A request that could not be parsed is answered with the first three and two empty ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminResponse<'a> {
    /// Which domain of the module.
    pub domain_index: u32,
    /// As in the block.
    pub return_code: u32,
    /// DER of the [`AdminResponseBlock`], exactly as it was signed; empty when the request was not understood.
    pub block: &'a [u8],
    /// A [`SignerInfo`] by the module's attestation key.
    pub signature: &'a [u8],
}

impl<'a> AdminResponse<'a> {
    /// The response in these bytes; neither the block nor the signature is looked at.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(der: &'a [u8]) -> Result<Self, Malformed> {
        let [function, domain, return_code, block, signature] = fields::read::<5>(der)?;
        if function != FUNCTION {
            return Err(Malformed);
        }
        Ok(Self {
            domain_index: u32::from_be_bytes(fields::array(domain)?),
            return_code: u32::from_be_bytes(fields::array(return_code)?),
            block,
            signature,
        })
    }

    /// Writes the response's DER to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        fields::write(
            &[
                &FUNCTION,
                &self.domain_index.to_be_bytes(),
                &self.return_code.to_be_bytes(),
                self.block,
                self.signature,
            ],
            out,
        )
    }

    /// The module's signature over [`AdminResponse::block`].
    ///
    /// # Errors
    /// [`Malformed`], also where there is none.
    pub fn signer(&self) -> Result<SignerInfo<'a>, Malformed> {
        SignerInfo::decode(self.signature)
    }
}
