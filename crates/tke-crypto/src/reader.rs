//! Helpers for reading strict DER with the `der` crate.

use der::asn1::BitStringRef;
use der::{Decode, ErrorKind, Reader, SliceReader};

/// The content of a bit string of whole bytes.
pub(crate) fn whole_bytes<'a>(r: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    BitStringRef::decode(r)?.as_bytes().ok_or_else(|| ErrorKind::Failed.into())
}

/// Reads `bytes` to their end.
pub(crate) fn whole<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<T> {
    let mut reader = SliceReader::new(bytes)?;
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

pub(crate) fn require(holds: bool) -> der::Result<()> {
    if holds { Ok(()) } else { Err(ErrorKind::Failed.into()) }
}
