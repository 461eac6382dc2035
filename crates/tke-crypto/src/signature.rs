//! ECDSA signatures in DER.

use crate::reader::whole;
use crate::writer::{Tag, Writer};
use crate::{SCALAR_LEN, SignatureInvalid};
use core::fmt;
use core::ops::Deref;
use der::asn1::UintRef;
use der::{Decode, Reader};
use heapless::Vec;
use p521::FieldBytes;

/// Longest signature in bytes: two integers of 66 bytes, whose top bit is never set, and their headers.
pub const MAX_SIGNATURE_LEN: usize = 139;

/// Length of a signature as two integers of fixed length, in bytes.
pub const RAW_SIGNATURE_LEN: usize = 2 * SCALAR_LEN;

/// An ECDSA signature on P-521, `SEQUENCE { r INTEGER, s INTEGER }` in DER; dereferences to these bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Vec<u8, MAX_SIGNATURE_LEN, u8>);

impl Signature {
    pub(crate) fn new(signature: &p521::ecdsa::Signature) -> Self {
        let mut bytes = [0; MAX_SIGNATURE_LEN];
        let (r, s) = signature.split_bytes();
        let mut writer = Writer::new(&mut bytes);
        let written = writer.element(Tag::SEQUENCE, |w| {
            w.unsigned(&s)?;
            w.unsigned(&r)
        });
        // The capacity is the length of the longest signature.
        debug_assert!(written.is_ok());
        Self(Vec::from_slice(writer.finish()).unwrap_or_default())
    }
}

impl Signature {
    /// The signature with these integers: `r ‖ s`, each [`SCALAR_LEN`] bytes, big-endian, as PKCS#11 gives them.
    ///
    /// # Errors
    /// [`SignatureInvalid`] if one of them is not in 1..n.
    pub fn from_raw(raw: &[u8; RAW_SIGNATURE_LEN]) -> Result<Self, SignatureInvalid> {
        p521::ecdsa::Signature::from_slice(raw).map(|s| Self::new(&s)).map_err(|_| SignatureInvalid)
    }
}

impl Deref for Signature {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(")?;
        self.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Reads a signature: strict DER, both integers in 1..n.
pub(crate) fn decode(bytes: &[u8]) -> Result<p521::ecdsa::Signature, SignatureInvalid> {
    let (r, s) = decode_integers(bytes).map_err(|_| SignatureInvalid)?;
    match (field_bytes(r), field_bytes(s)) {
        (Some(r), Some(s)) => p521::ecdsa::Signature::from_scalars(r, s).map_err(|_| SignatureInvalid),
        _ => Err(SignatureInvalid),
    }
}

fn decode_integers(bytes: &[u8]) -> der::Result<(&[u8], &[u8])> {
    whole(bytes, |r| {
        r.sequence(|r| Ok::<_, der::Error>((UintRef::decode(r)?.as_bytes(), UintRef::decode(r)?.as_bytes())))
    })
}

/// A big-endian number, padded to the width of a scalar.
fn field_bytes(number: &[u8]) -> Option<FieldBytes> {
    let mut bytes = FieldBytes::default();
    let start = bytes.len().checked_sub(number.len())?;
    bytes.get_mut(start..)?.copy_from_slice(number);
    Some(bytes)
}
