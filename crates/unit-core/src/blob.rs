//! The bytes of a key blob. Pure: nothing here knows a key.
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
//! | 70 | 1 | how it is wrapped: [`WrapMechanism`]'s number |
//! | 71 | 9 | zero |
//! | 80 | n | the wrapped key |
//! | 80 + n | 16 | AES-CMAC over all before it |
//!
//! The offsets up to 66 are those that EP11's blobs show, so that tools which print a WKID or attributes work.
//!
//! A blob has nothing random in it. AES-KW and AES-KWP are deterministic, so that two blobs of one key value
//! under one master key hold the same wrapped bytes, and are the same throughout if their attributes are. Whoever
//! sees blobs learns which of them hold equal keys, and nothing else of them; whoever may import keys as well can
//! confirm a guess of a key short enough to be guessed. Generated keys never repeat. To hide it, each blob would need a
//! wrapping key of its own, derived from bytes in its header: one more derivation for every use of a key, and a wrapping
//! key that no token could hold which does not derive inside. Bytes 71 to 80 and the version leave room for it.

use engine::{Algorithm, CMAC_LEN, KeySpec, KeyUses, WrapMechanism};
use unit_api::{MAX_BLOB_LEN, UnitError, WKID_LEN, Wkid};

/// Bytes before the wrapped key.
pub(crate) const HEADER_LEN: usize = 80;
/// The shortest: one byte of key, padded and wrapped.
const MIN_LEN: usize = HEADER_LEN + WrapMechanism::AesKwp.wrapped_len(1) + CMAC_LEN;

const WKID_OFFSET: usize = 32;
const MODE: u64 = 1;
const MAGIC: u16 = 0x1234;
const FORMAT_VERSION: u8 = 1;

const EXTRACTABLE: u64 = 0x1;
const NEVER_EXTRACTABLE: u64 = 0x2;
const LOCAL: u64 = 0x20;

/// What a blob says of its key; bound to the key by the MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyAttributes {
    /// What it is and may do.
    pub(crate) spec: KeySpec,
    /// It was made in a unit, not brought to one.
    pub(crate) local: bool,
    /// It was made unextractable and has been so ever since.
    pub(crate) never_extractable: bool,
}

impl KeyAttributes {
    /// Of a key made in the unit.
    pub(crate) const fn generated(spec: KeySpec) -> Self {
        Self { spec, local: true, never_extractable: !spec.extractable }
    }

    /// Of a key that was elsewhere before.
    pub(crate) const fn brought_in(spec: KeySpec) -> Self {
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
pub(crate) struct Header {
    pub(crate) wkid: Wkid,
    pub(crate) attributes: KeyAttributes,
    pub(crate) wrap: WrapMechanism,
}

impl Header {
    /// The header of a blob for a key with these attributes: wrapped without padding where its length allows.
    pub(crate) const fn new(wkid: Wkid, attributes: KeyAttributes) -> Self {
        let len = attributes.spec.len();
        let unpadded = len >= 16 && len.is_multiple_of(8);
        let wrap = if unpadded { WrapMechanism::AesKw } else { WrapMechanism::AesKwp };
        Self { wkid, attributes, wrap }
    }

    pub(crate) const fn wrapped_len(&self) -> usize {
        self.wrap.wrapped_len(self.attributes.spec.len())
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
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

    /// The header in these bytes, if they are exactly what [`Header::encode`] writes for it.
    fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
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
        // Writing it again settles at once every fixed byte, and every bit of the word that has no meaning.
        (header.encode() == *bytes).then_some(header)
    }
}

/// Bytes that may be a blob: as long as one, and no more is known.
#[derive(Clone, Copy)]
pub(crate) struct UncheckedBlob<'a> {
    authenticated: &'a [u8],
    mac: &'a [u8; CMAC_LEN],
    wkid: &'a Wkid,
}

impl<'a> UncheckedBlob<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, UnitError> {
        if !(MIN_LEN..=MAX_BLOB_LEN).contains(&bytes.len()) {
            return Err(UnitError::BlobError);
        }
        let (authenticated, mac) = bytes.split_last_chunk().ok_or(UnitError::BlobError)?;
        let wkid =
            authenticated.get(WKID_OFFSET..).and_then(<[u8]>::first_chunk).ok_or(UnitError::BlobError)?;
        Ok(Self { authenticated, mac, wkid })
    }

    /// Under which master key it claims to be; public.
    pub(crate) const fn wkid(&self) -> &Wkid {
        self.wkid
    }

    /// All that the MAC is over.
    pub(crate) const fn authenticated(&self) -> &'a [u8] {
        self.authenticated
    }

    pub(crate) const fn mac(&self) -> &'a [u8; CMAC_LEN] {
        self.mac
    }
}

/// A blob's header and wrapped key, from bytes whose MAC is right.
pub(crate) fn parse_authenticated(authenticated: &[u8]) -> Result<(Header, &[u8]), UnitError> {
    let (header, wrapped) = authenticated.split_first_chunk().ok_or(UnitError::BlobError)?;
    let header = Header::decode(header).ok_or(UnitError::BlobError)?;
    if wrapped.len() == header.wrapped_len() { Ok((header, wrapped)) } else { Err(UnitError::BlobError) }
}

#[cfg(test)]
mod tests {
    use super::{HEADER_LEN, Header, KeyAttributes, UncheckedBlob, parse_authenticated};
    use engine::{Algorithm, KeySpec, KeyUses, WrapMechanism};
    use std::vec;
    use std::vec::Vec;
    use unit_api::{MAX_BLOB_LEN, UnitError};

    fn header(algorithm: Algorithm, key_len: u16, uses: KeyUses, extractable: bool) -> Header {
        let spec = KeySpec { algorithm, key_len, uses, extractable };
        Header::new([0xc3; 16], KeyAttributes::generated(spec))
    }

    fn bytes(header: &Header) -> Vec<u8> {
        let mut bytes = header.encode().to_vec();
        bytes.resize(HEADER_LEN + header.wrapped_len(), 0x77);
        bytes
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
    fn every_kind_of_header_reads_as_it_was_written() {
        for (algorithm, lens) in [(Algorithm::Aes, 1..=32), (Algorithm::GenericSecret, 1..=64)] {
            for key_len in lens.filter(|len| algorithm.has_key_len(usize::from(*len))) {
                for extractable in [false, true] {
                    let header = header(algorithm, key_len, KeyUses::ALL, extractable);
                    let written = bytes(&header);
                    assert_eq!(parse_authenticated(&written).map(|(h, _)| h), Ok(header));
                    let padded = key_len < 16 || key_len % 8 != 0;
                    assert_eq!(header.wrap == WrapMechanism::AesKwp, padded);
                }
            }
        }
    }

    #[test]
    fn a_header_with_one_bit_changed_is_another_header_or_none() {
        let original = header(Algorithm::Aes, 32, KeyUses::ENCRYPT, true);
        let mut written = bytes(&original);
        for bit in 0..HEADER_LEN * 8 {
            written[bit / 8] ^= 1 << (bit % 8);
            if let Ok((read, _)) = parse_authenticated(&written) {
                assert_ne!(read, original, "bit {bit}");
                assert_eq!(read.encode(), written[..HEADER_LEN], "bit {bit}");
            }
            written[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for len in [0, 1, 47, 48, 95, 111, MAX_BLOB_LEN + 1, 65536] {
            assert_eq!(UncheckedBlob::parse(&vec![0; len]).map(|_| ()), Err(UnitError::BlobError), "{len}");
        }
    }
}
