//! DER, written from its end to its beginning.
//!
//! An element's length precedes its content. Written backwards, the content is there before its length is needed, so
//! nothing is measured beforehand and nothing moves. The caller writes the last field of an element first.

use crate::BufferTooSmall;

/// Identifier octets of the elements that are written here (X.690 §8.1.2).
#[derive(Clone, Copy)]
pub(crate) struct Tag(pub(crate) u8);

impl Tag {
    pub(crate) const BOOLEAN: Self = Self(0x01);
    pub(crate) const INTEGER: Self = Self(0x02);
    pub(crate) const BIT_STRING: Self = Self(0x03);
    pub(crate) const OCTET_STRING: Self = Self(0x04);
    pub(crate) const OBJECT_IDENTIFIER: Self = Self(0x06);
    pub(crate) const UTF8_STRING: Self = Self(0x0c);
    pub(crate) const UTC_TIME: Self = Self(0x17);
    pub(crate) const GENERALIZED_TIME: Self = Self(0x18);
    pub(crate) const SEQUENCE: Self = Self(0x30);
    pub(crate) const SET: Self = Self(0x31);

    /// `[number]`, constructed; `number` below 31.
    pub(crate) const fn context(number: u8) -> Self {
        Self(0xa0 | number)
    }

    /// `[number] IMPLICIT` of a primitive type; `number` below 31.
    pub(crate) const fn context_primitive(number: u8) -> Self {
        Self(0x80 | number)
    }
}

/// Fills a buffer from its end.
pub(crate) struct Writer<'o> {
    out: &'o mut [u8],
    /// Offset of the first written byte.
    start: usize,
}

impl<'o> Writer<'o> {
    pub(crate) const fn new(out: &'o mut [u8]) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// The written bytes.
    pub(crate) fn finish(self) -> &'o [u8] {
        self.out.get(self.start..).unwrap_or_default()
    }

    /// Writes `bytes` before the bytes written so far.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), BufferTooSmall> {
        let start = self.start.checked_sub(bytes.len()).ok_or(BufferTooSmall)?;
        self.out.get_mut(start..self.start).ok_or(BufferTooSmall)?.copy_from_slice(bytes);
        self.start = start;
        Ok(())
    }

    /// An element with the content that `content` writes.
    pub(crate) fn element(
        &mut self,
        tag: Tag,
        content: impl FnOnce(&mut Self) -> Result<(), BufferTooSmall>,
    ) -> Result<(), BufferTooSmall> {
        let end = self.start;
        content(self)?;
        self.header(tag, end - self.start)
    }

    /// An element with this content.
    pub(crate) fn primitive(&mut self, tag: Tag, content: &[u8]) -> Result<(), BufferTooSmall> {
        self.element(tag, |w| w.bytes(content))
    }

    /// A bit string of whole bytes.
    pub(crate) fn bit_string(&mut self, bytes: &[u8]) -> Result<(), BufferTooSmall> {
        self.element(Tag::BIT_STRING, |w| {
            w.bytes(bytes)?;
            w.bytes(&[0])
        })
    }

    /// A non-negative integer, given big-endian with any number of leading zeros.
    pub(crate) fn unsigned(&mut self, number: &[u8]) -> Result<(), BufferTooSmall> {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = number.get(zeros..).unwrap_or_default();
        self.element(Tag::INTEGER, |w| {
            w.bytes(digits)?;
            // Zero has one digit. A set top bit would be a sign.
            if digits.first().is_none_or(|first| first & 0x80 != 0) { w.bytes(&[0]) } else { Ok(()) }
        })
    }

    /// Tag and length in the one form that DER allows (X.690 §10.1).
    fn header(&mut self, tag: Tag, len: usize) -> Result<(), BufferTooSmall> {
        if len < 0x80 {
            self.bytes(&[len as u8])?;
        } else {
            let bytes = len.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let digits = bytes.get(zeros..).unwrap_or_default();
            self.bytes(digits)?;
            self.bytes(&[0x80 | digits.len() as u8])?;
        }
        self.bytes(&[tag.0])
    }
}

#[cfg(test)]
mod tests {
    use super::{Tag, Writer};
    use crate::BufferTooSmall;
    use der::asn1::{OctetStringRef, UintRef};
    use der::{Decode, Encode};
    use std::vec;

    #[test]
    fn lengths_are_what_the_der_crate_reads() {
        for len in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000] {
            let content = vec![7; len];
            let mut out = vec![0; len + 8];
            let mut writer = Writer::new(&mut out);
            writer.primitive(Tag::OCTET_STRING, &content).unwrap();
            let octets = <&OctetStringRef>::from_der(writer.finish()).unwrap();
            assert_eq!(octets.as_bytes(), content);
        }
    }

    #[test]
    fn integers_are_what_the_der_crate_writes() {
        for number in [&[0][..], &[0, 0, 1], &[0x7f], &[0x80], &[0, 0xff, 0]] {
            let mut out = [0; 16];
            let mut writer = Writer::new(&mut out);
            writer.unsigned(number).unwrap();
            let written = writer.finish();
            let mut expected = [0; 16];
            let expected = UintRef::new(number).unwrap().encode_to_slice(&mut expected).unwrap();
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn a_full_buffer_is_refused() {
        let mut out = [0; 9];
        assert_eq!(Writer::new(&mut out).primitive(Tag::OCTET_STRING, &[1; 8]), Err(BufferTooSmall));
        assert_eq!(Writer::new(&mut out).primitive(Tag::OCTET_STRING, &[1; 7]), Ok(()));
    }
}
