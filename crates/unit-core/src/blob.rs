//! The bytes of a key blob. Pure: no key is needed here.
//!
//! A blob is a [`BlobHeader`], the wrapped key, and an AES-CMAC of 16 bytes over both.
//!
//! A blob contains nothing random. AES-KW and AES-KWP are deterministic, so that two blobs of one key value under one master
//! key hold the same wrapped bytes, and are equal if their attributes are. A reader of blobs learns which of them hold equal
//! keys, and nothing else; a caller who can also import keys can confirm a guess of a short key. Generated keys never repeat.
//! To hide equality, each blob would need its own wrapping key, derived from bytes in its header: one more derivation for
//! every use of a key, and a wrapping key that a token which cannot derive could not hold. Bytes 71 to 80 and the version
//! leave room for it.

use engine::{CMAC_LEN, WrapMechanism};
use unit_api::{BLOB_HEADER_LEN, BlobHeader, MAX_BLOB_LEN, UnitError, Wkid};

/// The shortest blob, in bytes: one byte of key, padded and wrapped.
const MIN_LEN: usize = BLOB_HEADER_LEN + WrapMechanism::AesKwp.wrapped_len(1) + CMAC_LEN;

/// Bytes of a blob's length, otherwise unchecked.
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
        let wkid = BlobHeader::claimed_wkid(authenticated).ok_or(UnitError::BlobError)?;
        Ok(Self { authenticated, mac, wkid })
    }

    /// WKID in the header, not authenticated yet; public.
    pub(crate) const fn wkid(&self) -> &Wkid {
        self.wkid
    }

    /// The bytes that the MAC covers.
    pub(crate) const fn authenticated(&self) -> &'a [u8] {
        self.authenticated
    }

    pub(crate) const fn mac(&self) -> &'a [u8; CMAC_LEN] {
        self.mac
    }
}

/// The header and the wrapped key, from bytes whose MAC is valid.
pub(crate) fn parse_authenticated(authenticated: &[u8]) -> Result<(BlobHeader, &[u8]), UnitError> {
    let (header, wrapped) = authenticated.split_first_chunk().ok_or(UnitError::BlobError)?;
    let header = BlobHeader::decode(header).ok_or(UnitError::BlobError)?;
    if wrapped.len() == header.wrapped_len() { Ok((header, wrapped)) } else { Err(UnitError::BlobError) }
}

#[cfg(test)]
mod tests {
    use super::{UncheckedBlob, parse_authenticated};
    use engine::{Algorithm, KeySpec, KeyUses};
    use std::vec;
    use unit_api::{BLOB_HEADER_LEN, BlobHeader, KeyAttributes, MAX_BLOB_LEN, UnitError};

    #[test]
    fn the_wrapped_key_is_as_long_as_the_header_says() {
        for key_len in [1, 16, 20, 64] {
            let spec = KeySpec {
                algorithm: Algorithm::GenericSecret,
                key_len,
                uses: KeyUses::ALL,
                extractable: true,
            };
            let header = BlobHeader::new([0xc3; 16], KeyAttributes::generated(spec));
            let mut bytes = header.encode().to_vec();
            bytes.resize(BLOB_HEADER_LEN + header.wrapped_len(), 0x77);
            assert_eq!(
                parse_authenticated(&bytes).map(|(h, w)| (h, w.len())),
                Ok((header, header.wrapped_len()))
            );
            bytes.push(0x77);
            assert_eq!(parse_authenticated(&bytes), Err(UnitError::BlobError));
            bytes.truncate(bytes.len() - 2);
            assert_eq!(parse_authenticated(&bytes), Err(UnitError::BlobError));
        }
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for len in [0, 1, 47, 48, 95, 111, MAX_BLOB_LEN + 1, 65536] {
            assert_eq!(UncheckedBlob::parse(&vec![0; len]).map(|_| ()), Err(UnitError::BlobError), "{len}");
        }
    }
}
