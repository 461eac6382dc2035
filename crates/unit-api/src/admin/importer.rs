//! The key pair to which key parts are encrypted, and whom a master key may be sealed for.

use super::fields::{self, Malformed, NoRoom};
use core::fmt;

/// The service instance that a unit was assigned to, a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub [u8; 16]);

/// As UUIDs are written.
impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}

/// A unit's importer key, as its module signs it: point (133) ‖ subject key identifier (32) ‖ instance (16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImporterKey<'a> {
    /// P-521 point, uncompressed: `04 ‖ X ‖ Y`.
    pub point: &'a [u8; 133],
    /// SHA-256 over `X ‖ Y`: without the `04`, unlike an administrator's.
    pub ski: [u8; 32],
    /// The instance that the unit belongs to.
    pub instance: InstanceId,
}

impl<'a> ImporterKey<'a> {
    /// Length, in bytes.
    pub const LEN: usize = 133 + 32 + 16;

    /// The key in these bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (point, rest) = bytes.split_first_chunk::<133>().ok_or(Malformed)?;
        let (ski, instance) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        Ok(Self { point, ski: *ski, instance: InstanceId(fields::array(instance)?) })
    }

    /// Writes the key to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let mut all = fields::Filler::new(out);
        all.push(self.point)?;
        all.push(&self.ski)?;
        all.push(&self.instance.0)?;
        all.finish()
    }
}

/// For whom a master key is sealed: a sequence of octet strings – the target's whole [`super::AdminResponse`] to
/// [`super::AdminCommand::GenerateImporterKey`] or [`super::AdminCommand::QueryImporterKey`], and its module's certificate.
///
/// The source exports only to an importer key that a genuine module signed: an attacker cannot have the master key
/// sealed for a key of the attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportTarget<'a> {
    /// The target's signed answer.
    pub response: &'a [u8],
    /// Its module's certificate.
    pub certificate: &'a [u8],
}

impl<'a> ExportTarget<'a> {
    /// The target in these bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(der: &'a [u8]) -> Result<Self, Malformed> {
        let [response, certificate] = fields::read::<2>(der)?;
        Ok(Self { response, certificate })
    }

    /// Writes the target's DER to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        fields::write(&[self.response, self.certificate], out)
    }
}
