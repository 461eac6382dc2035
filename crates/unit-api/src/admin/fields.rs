//! Sequences of octet strings, the one shape that all of administration's structures have.

use core::fmt;
use der::asn1::OctetStringRef;
use der::{Decode, Encode, Header, Length, Reader, SliceReader, SliceWriter, Tag};

/// Bytes that are not the DER they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes are not the structure they should be")
    }
}

impl core::error::Error for Malformed {}

/// A buffer too short for what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too short")
    }
}

impl core::error::Error for NoRoom {}

impl From<der::Error> for Malformed {
    fn from(_: der::Error) -> Self {
        Self
    }
}

impl From<der::Error> for NoRoom {
    fn from(_: der::Error) -> Self {
        Self
    }
}

/// The octet strings of a sequence that has exactly `N` of them, and nothing behind it.
pub(super) fn read<const N: usize>(der: &[u8]) -> Result<[&[u8]; N], Malformed> {
    let mut reader = SliceReader::new(der)?;
    let fields = reader.sequence(|inner| {
        let mut fields = [&[][..]; N];
        for field in &mut fields {
            *field = <&OctetStringRef>::decode(inner)?.as_bytes();
        }
        Ok::<_, der::Error>(fields)
    })?;
    reader.finish()?;
    Ok(fields)
}

/// The first DER value of these bytes, whole, and what is behind it.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut reader = SliceReader::new(bytes)?;
    let first = reader.tlv_bytes()?;
    let rest = bytes.get(first.len()..).ok_or(Malformed)?;
    Ok((first, rest))
}

/// Writes a sequence of octet strings to the start of `out`.
pub(super) fn write<'o>(fields: &[&[u8]], out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
    let mut length = Length::ZERO;
    for field in fields {
        length = (length + OctetStringRef::new(field)?.encoded_len()?)?;
    }
    let mut writer = SliceWriter::new(out);
    Header::new(Tag::Sequence, length).encode(&mut writer)?;
    for field in fields {
        OctetStringRef::new(field)?.encode(&mut writer)?;
    }
    Ok(writer.finish()?)
}

/// The field as an array, if it is as long as one.
pub(super) fn array<const N: usize>(field: &[u8]) -> Result<[u8; N], Malformed> {
    field.try_into().map_err(|_| Malformed)
}

/// Appends bytes to a buffer that is filled from its start.
pub(super) struct Filler<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl<'o> Filler<'o> {
    pub(super) const fn new(out: &'o mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.len.checked_add(bytes.len()).ok_or(NoRoom)?;
        self.out.get_mut(self.len..end).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<&'o [u8], NoRoom> {
        let out: &'o [u8] = self.out;
        out.get(..self.len).ok_or(NoRoom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, NoRoom, read, write};

    #[test]
    fn fields_read_as_they_were_written() {
        let long = [7; 300];
        let mut out = [0; 400];
        let der = write(&[b"a", b"", &long], &mut out).unwrap();
        assert_eq!(der[..2], [0x30, 0x82]);
        assert_eq!(read::<3>(der), Ok([&b"a"[..], b"", &long]));
    }

    #[test]
    fn only_exactly_as_many_and_nothing_behind() {
        let mut out = [0; 16];
        let len = write(&[b"a", b"b"], &mut out).unwrap().len();
        assert_eq!(read::<1>(&out[..len]), Err(Malformed));
        assert_eq!(read::<3>(&out[..len]), Err(Malformed));
        assert_eq!(read::<2>(&out[..=len]), Err(Malformed));
        assert_eq!(read::<2>(&out[..len - 1]), Err(Malformed));
        // A length in more bytes than it needs is BER, not DER.
        assert_eq!(read::<1>(&[0x30, 0x81, 0x02, 0x04, 0x00]), Err(Malformed));
    }

    #[test]
    fn a_short_buffer_is_refused() {
        assert_eq!(write(&[b"abc"], &mut [0; 6]), Err(NoRoom));
        assert!(write(&[b"abc"], &mut [0; 7]).is_ok());
    }
}
