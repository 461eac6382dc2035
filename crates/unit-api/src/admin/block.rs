//! What administrators sign.

use super::fields::{self, Malformed, NoRoom};
use crate::{Target, UnitId};

/// Length of a transaction counter, in bytes.
pub const TRANSACTION_COUNTER_LEN: usize = 16;

/// A command for one unit, in one life of its domain, at one value of its transaction counter (`AdminBlk`).
///
/// Its DER is what is signed: a sequence of octet strings – command ID (4), domain index ‖ domain instance (4 + 4),
/// module ID (16), transaction counter (16), input – every number big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminBlock<'a> {
    /// Number of the command, see [`super::AdminCommand`].
    pub command: u32,
    /// For whom. Queries may leave module ID and domain instance zero.
    pub target: Target,
    /// The unit's counter plus one; queries leave it zero.
    pub transaction_counter: u128,
    /// The command's input.
    pub input: &'a [u8],
}

impl<'a> AdminBlock<'a> {
    /// The block in these bytes.
    ///
    /// # Errors
    /// [`Malformed`]: not DER, or a field of the wrong length.
    pub fn decode(der: &'a [u8]) -> Result<Self, Malformed> {
        let [command, domain, module, counter, input] = fields::read::<5>(der)?;
        Ok(Self {
            command: u32::from_be_bytes(fields::array(command)?),
            target: read_target(domain, module)?,
            transaction_counter: u128::from_be_bytes(fields::array(counter)?),
            input,
        })
    }

    /// Writes the block's DER to the start of `out`; it is at most 64 bytes longer than the input.
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
                self.input,
            ],
            out,
        )
    }
}

/// The unit that a block's fields name: domain index ‖ domain instance, and module ID.
pub(super) fn read_target(domain: &[u8], module: &[u8]) -> Result<Target, Malformed> {
    let (index, instance) = domain.split_first_chunk::<4>().ok_or(Malformed)?;
    Ok(Target {
        unit: UnitId(fields::array(module)?),
        domain_index: u32::from_be_bytes(*index),
        domain_instance: u32::from_be_bytes(fields::array(instance)?),
    })
}

/// Domain index ‖ domain instance, as a block has them.
pub(super) fn domain_bytes(target: &Target) -> [u8; 8] {
    let mut domain = [0; 8];
    let numbers = target.domain_index.to_be_bytes().into_iter().chain(target.domain_instance.to_be_bytes());
    domain.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
    domain
}
