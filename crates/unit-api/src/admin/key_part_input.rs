//! What administrators sign for one part of an import.

use super::fields::{self, Malformed, NoRoom};

/// Tag of a sealed key part (`[1] KeyAgreeRecipientInfo`), which was the whole input until parts were counted.
const SEALED_PART_TAG: u8 = 0xa1;

/// Input of the signed request for one part of an import.
///
/// Its DER is a sequence of octet strings: number of parts (4, big-endian), sealed key part or export, certificate. An
/// administrator who signs one part signs how many there are, so that a part left out or added is noticed by the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPartInput<'a> {
    /// A custodian's part.
    Part {
        /// Number of parts that make the master key, at least 1.
        parts: u32,
        /// The part, sealed for the unit's importer key.
        sealed: &'a [u8],
    },
    /// The whole master key, which a genuine unit exported for this unit's importer key. The number of parts is 0.
    Export {
        /// The exporting unit's whole [`super::AdminResponse`] to [`super::AdminCommand::ExportCurrent`] or
        /// [`super::AdminCommand::ExportNew`].
        response: &'a [u8],
        /// Its module's certificate, not empty.
        certificate: &'a [u8],
    },
}

/// Bytes that are not the input of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPartInputError {
    /// A sealed part alone, as tools signed it before the number of parts was part of it.
    Uncounted,
    /// Anything else.
    Malformed,
}

impl From<Malformed> for KeyPartInputError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl<'a> KeyPartInput<'a> {
    /// The input in these bytes.
    ///
    /// # Errors
    /// [`KeyPartInputError`].
    pub fn decode(der: &'a [u8]) -> Result<Self, KeyPartInputError> {
        if der.first() == Some(&SEALED_PART_TAG) {
            return Err(KeyPartInputError::Uncounted);
        }
        let [parts, content, certificate] = fields::read::<3>(der)?;
        match (u32::from_be_bytes(fields::array(parts)?), certificate.is_empty()) {
            (0, false) => Ok(Self::Export { response: content, certificate }),
            (parts @ 1.., true) => Ok(Self::Part { parts, sealed: content }),
            (0, true) | (1.., false) => Err(KeyPartInputError::Malformed),
        }
    }

    /// Writes the input's DER to the start of `out`; it is at most 32 bytes longer than its content.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let (parts, content, certificate) = match *self {
            Self::Part { parts, sealed } => (parts, sealed, &[][..]),
            Self::Export { response, certificate } => (0, response, certificate),
        };
        fields::write(&[&parts.to_be_bytes(), content, certificate], out)
    }

    /// Number of requests in an import of which this is one.
    #[must_use]
    pub const fn requests(&self) -> u32 {
        match *self {
            Self::Part { parts, .. } => parts,
            Self::Export { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyPartInput, KeyPartInputError};
    use crate::admin::fields;

    #[test]
    fn inputs_read_as_they_were_written() {
        for input in [
            KeyPartInput::Part { parts: 1, sealed: &[0xa1, 7] },
            KeyPartInput::Part { parts: u32::MAX, sealed: &[] },
            KeyPartInput::Export { response: &[8; 300], certificate: &[9; 500] },
        ] {
            let mut out = [0; 900];
            assert_eq!(KeyPartInput::decode(input.encode(&mut out).unwrap()), Ok(input));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let mut out = [0; 64];
        let part = KeyPartInput::Part { parts: 3, sealed: &[0xa1, 0] };
        let expected = [0x30, 12, 4, 4, 0, 0, 0, 3, 4, 2, 0xa1, 0, 4, 0];
        assert_eq!(part.encode(&mut out), Ok(&expected[..]));
        let export = KeyPartInput::Export { response: &[5], certificate: &[6] };
        let expected = [0x30, 12, 4, 4, 0, 0, 0, 0, 4, 1, 5, 4, 1, 6];
        assert_eq!(export.encode(&mut out), Ok(&expected[..]));
    }

    #[test]
    fn what_is_neither_a_part_nor_an_export_is_refused() {
        assert_eq!(KeyPartInput::decode(&[0xa1, 0]), Err(KeyPartInputError::Uncounted));
        let mut out = [0; 64];
        for fields in [
            &[&[0, 0, 0, 0][..], b"response", b""][..],
            &[&[0, 0, 0, 2], b"part", b"certificate"],
            &[&[0, 0, 2], b"part", b""],
            &[&[0, 0, 0, 2], b"part"],
            &[&[0, 0, 0, 2], b"part", b"", b""],
        ] {
            let der = fields::write(fields, &mut out).unwrap();
            assert_eq!(KeyPartInput::decode(der), Err(KeyPartInputError::Malformed), "{fields:?}");
        }
        assert_eq!(KeyPartInput::decode(&[]), Err(KeyPartInputError::Malformed));
    }
}
