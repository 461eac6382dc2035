//! The header of a key blob: what a blob states about its key in the clear.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 32 | session: zero, bound to none |
//! | 32 | 16 | WKID of the master key |
//! | 48 | 8 | attributes, big-endian; the low word at 52 holds EP11's bits |
//! | 56 | 8 | mode, big-endian: 1 |
//! | 64 | 2 | `0x1234` |
//! | 66 | 1 | version of what follows: 1 |
//! | 67 | 1 | algorithm: [`Algorithm`]'s number |
//! | 68 | 2 | length of the key in bytes, big-endian |
//! | 70 | 1 | wrapping mechanism: [`WrapMechanism`]'s number |
//! | 71 | 9 | zero |
//!
//! The wrapped key and an AES-CMAC over everything before it follow; only a unit reads those. The offsets up to 66 are
//! those of EP11's blobs, so that tools which print a WKID or attributes work.
//!
//! Every field but the WKID is worth reading only after a unit has checked the MAC.

use crate::{WKID_LEN, Wkid};
use engine::{Algorithm, KeySpec, KeyUses, WrapMechanism};

/// Length of a blob's header, in bytes: everything before the wrapped key.
pub const BLOB_HEADER_LEN: usize = 80;

const WKID_OFFSET: usize = 32;
const MODE: u64 = 1;
const MAGIC: u16 = 0x1234;
const FORMAT_VERSION: u8 = 1;

const EXTRACTABLE: u64 = 0x1;
const NEVER_EXTRACTABLE: u64 = 0x2;
const LOCAL: u64 = 0x20;

/// A key's attributes as its blob states them; bound to the key by the blob's MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAttributes {
    /// Algorithm, length and permitted uses.
    pub spec: KeySpec,
    /// The key was generated in a unit, not imported or unwrapped.
    pub local: bool,
    /// The key was created unextractable and has been so ever since.
    pub never_extractable: bool,
}

impl KeyAttributes {
    /// The attributes of a key that a unit generates.
    #[must_use]
    pub const fn generated(spec: KeySpec) -> Self {
        Self { spec, local: true, never_extractable: !spec.extractable }
    }

    /// The attributes of a key that is imported or unwrapped.
    #[must_use]
    pub const fn imported(spec: KeySpec) -> Self {
        Self { spec, local: false, never_extractable: false }
    }

    fn to_word(self) -> u64 {
        let bit = |set, bit| if set { bit } else { 0 };
        u64::from(self.spec.uses.bits())
            | bit(self.spec.extractable, EXTRACTABLE)
            | bit(self.never_extractable, NEVER_EXTRACTABLE)
            | bit(self.local, LOCAL)
    }
}

/// Everything in a blob before the wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHeader {
    /// The master key that the blob is under.
    pub wkid: Wkid,
    /// The key's attributes.
    pub attributes: KeyAttributes,
    /// How the key is wrapped.
    pub wrap: WrapMechanism,
}

impl BlobHeader {
    /// The header of a blob for a key with these attributes: wrapped without padding where its length allows.
    #[must_use]
    pub const fn new(wkid: Wkid, attributes: KeyAttributes) -> Self {
        let len = attributes.spec.len();
        let unpadded = len >= 16 && len.is_multiple_of(8);
        let wrap = if unpadded { WrapMechanism::AesKw } else { WrapMechanism::AesKwp };
        Self { wkid, attributes, wrap }
    }

    /// The WKID at its place in `blob`; `None` for bytes too short to hold one.
    ///
    /// Unauthenticated: it tells which unit to ask, and the unit's MAC check decides.
    #[must_use]
    pub fn claimed_wkid(blob: &[u8]) -> Option<&Wkid> {
        blob.get(WKID_OFFSET..)?.first_chunk()
    }

    /// Length of the wrapped key that follows the header, in bytes.
    #[must_use]
    pub const fn wrapped_len(&self) -> usize {
        self.wrap.wrapped_len(self.attributes.spec.len())
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BLOB_HEADER_LEN] {
        let mut bytes = [0; BLOB_HEADER_LEN];
        let fields: [&[u8]; 9] = [
            &[0; WKID_OFFSET],
            &self.wkid,
            &self.attributes.to_word().to_be_bytes(),
            &MODE.to_be_bytes(),
            &MAGIC.to_be_bytes(),
            &[FORMAT_VERSION],
            &[self.attributes.spec.algorithm as u8],
            &self.attributes.spec.key_len.to_be_bytes(),
            &[self.wrap as u8],
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// The header in these bytes, if they are exactly what [`Self::encode`] writes for it.
    #[must_use]
    pub fn decode(bytes: &[u8; BLOB_HEADER_LEN]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<WKID_OFFSET>()?;
        let (wkid, rest) = rest.split_first_chunk::<WKID_LEN>()?;
        let (word, rest) = rest.split_first_chunk::<8>()?;
        let (_mode, rest) = rest.split_first_chunk::<8>()?;
        let (_magic_and_version, rest) = rest.split_first_chunk::<3>()?;
        let &[algorithm, len_high, len_low, ..] = rest else { return None };
        let word = u64::from_be_bytes(*word);
        let spec = KeySpec {
            algorithm: Algorithm::from_number(algorithm)?,
            key_len: u16::from_be_bytes([len_high, len_low]),
            uses: KeyUses::from_bits(u32::try_from(word).ok()? & KeyUses::ALL.bits())?,
            extractable: word & EXTRACTABLE != 0,
        };
        spec.check().ok()?;
        let attributes = KeyAttributes {
            spec,
            local: word & LOCAL != 0,
            never_extractable: word & NEVER_EXTRACTABLE != 0,
        };
        let header = Self::new(*wkid, attributes);
        // Encoding it again checks every fixed byte, and every bit of the word that has no meaning, at once.
        (header.encode() == *bytes).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOB_HEADER_LEN, BlobHeader, KeyAttributes};
    use engine::{Algorithm, KeySpec, KeyUses, WrapMechanism};

    fn header(algorithm: Algorithm, key_len: u16, uses: KeyUses, extractable: bool) -> BlobHeader {
        let spec = KeySpec { algorithm, key_len, uses, extractable };
        BlobHeader::new([0xc3; 16], KeyAttributes::generated(spec))
    }

    #[test]
    fn offsets_are_those_of_the_table() {
        let header = header(Algorithm::Aes, 32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT), false);
        let encoded = header.encode();
        assert_eq!(encoded[..32], [0; 32]);
        assert_eq!(encoded[32..48], [0xc3; 16]);
        assert_eq!(encoded[48..56], [0, 0, 0, 0, 0, 0, 0x0c, 0x22]);
        assert_eq!(encoded[56..64], [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(encoded[64..72], [0x12, 0x34, 1, 1, 0, 32, 1, 0]);
        assert_eq!(encoded[72..], [0; 8]);
    }

    #[test]
    fn the_wkid_is_read_from_whatever_is_long_enough() {
        let encoded = header(Algorithm::Aes, 32, KeyUses::ENCRYPT, false).encode();
        assert_eq!(BlobHeader::claimed_wkid(&encoded), Some(&[0xc3; 16]));
        assert_eq!(BlobHeader::claimed_wkid(&encoded[..48]), Some(&[0xc3; 16]));
        for len in [0, 31, 32, 47] {
            assert_eq!(BlobHeader::claimed_wkid(&encoded[..len]), None, "{len}");
        }
    }

    #[test]
    fn every_kind_of_header_reads_as_it_was_written() {
        for (algorithm, lens) in [(Algorithm::Aes, 1..=32), (Algorithm::GenericSecret, 1..=64)] {
            for key_len in lens.filter(|len| algorithm.has_key_len(usize::from(*len))) {
                for extractable in [false, true] {
                    let header = header(algorithm, key_len, KeyUses::ALL, extractable);
                    assert_eq!(BlobHeader::decode(&header.encode()), Some(header));
                    let padded = key_len < 16 || key_len % 8 != 0;
                    assert_eq!(header.wrap == WrapMechanism::AesKwp, padded);
                }
            }
        }
    }

    #[test]
    fn a_header_with_one_bit_changed_is_another_header_or_none() {
        let original = header(Algorithm::Aes, 32, KeyUses::ENCRYPT, true);
        let mut written = original.encode();
        for bit in 0..BLOB_HEADER_LEN * 8 {
            written[bit / 8] ^= 1 << (bit % 8);
            if let Some(read) = BlobHeader::decode(&written) {
                assert_ne!(read, original, "bit {bit}");
                assert_eq!(read.encode(), written, "bit {bit}");
            }
            written[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
