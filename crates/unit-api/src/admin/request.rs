//! A signed command as it travels.

use super::fields::{self, Malformed, NoRoom};
use super::{AdminBlock, SignerInfos};

/// Marks an administrative request, and its response.
pub(super) const FUNCTION: [u8; 4] = [0, 1, 0, 0x29];

/// A command with its signatures (`AdminReq`): a sequence of octet strings – function ID `00 01 00 29`, domain index
/// (4), block, signatures one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminRequest<'a> {
    /// Which domain of the module.
    pub domain_index: u32,
    /// DER of the [`AdminBlock`], exactly as it was signed.
    pub block: &'a [u8],
    /// [`super::SignerInfo`]s, empty if the command needs no signature.
    pub signatures: &'a [u8],
}

impl<'a> AdminRequest<'a> {
    /// The request in these bytes; the block in it is not looked at.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(der: &'a [u8]) -> Result<Self, Malformed> {
        let [function, domain, block, signatures] = fields::read::<4>(der)?;
        if function != FUNCTION {
            return Err(Malformed);
        }
        Ok(Self { domain_index: u32::from_be_bytes(fields::array(domain)?), block, signatures })
    }

    /// The request at the start of these bytes, and what is behind it.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode_first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (first, rest) = fields::split(bytes)?;
        Ok((Self::decode(first)?, rest))
    }

    /// Writes the request's DER to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        fields::write(&[&FUNCTION, &self.domain_index.to_be_bytes(), self.block, self.signatures], out)
    }

    /// What is asked.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode_block(&self) -> Result<AdminBlock<'a>, Malformed> {
        AdminBlock::decode(self.block)
    }

    /// Who signed it, one by one.
    #[must_use]
    pub const fn signers(&self) -> SignerInfos<'a> {
        SignerInfos::new(self.signatures)
    }
}
