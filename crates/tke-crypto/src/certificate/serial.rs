//! Serial numbers of certificates.

use core::fmt;
use der::asn1::UintRef;
use der::{Decode, SliceReader};

/// A certificate's serial number: 20 bytes, big-endian, with leading zeros where it is shorter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateSerial(pub [u8; Self::LEN]);

impl CertificateSerial {
    /// Longest serial number, in bytes (RFC 5280 §4.1.2.2).
    pub const LEN: usize = 20;

    pub(super) fn decode(r: &mut SliceReader<'_>) -> der::Result<Self> {
        let number = UintRef::decode(r)?.as_bytes();
        let mut serial = [0; Self::LEN];
        let start = serial.len().checked_sub(number.len()).ok_or(der::ErrorKind::Overlength)?;
        if let Some(to) = serial.get_mut(start..) {
            to.copy_from_slice(number);
        }
        Ok(Self(serial))
    }
}

/// All 40 hexadecimal digits, in lower case.
impl fmt::Display for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateSerial({self})")
    }
}
