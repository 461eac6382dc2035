//! Revocation lists: certificates of modules that their root no longer vouches for.

use super::module::root_subject;
use super::read::{decode_extension, decode_name};
use super::serial::CertificateSerial;
use super::{time, write};
use crate::identifier::{AUTHORITY_KEY_IDENTIFIER, CRL_NUMBER, ECDSA_WITH_SHA512};
use crate::reader::{require, whole, whole_bytes};
use crate::writer::{Tag, Writer};
use crate::{BufferTooSmall, PublicKey, RootName, SigningKey};
use core::fmt;
use der::asn1::AnyRef;
use der::{Decode, Reader, SliceReader, Tagged};

/// Longest revocation list that is accepted, in bytes: about 25,000 certificates.
pub const MAX_REVOCATION_LIST_LEN: usize = 1 << 20;

/// Longest entry: serial number and date with their headers.
const ENTRY_LEN: usize = 44;

/// Room for everything but the entries.
const OVERHEAD: usize = 512;

/// Length of a buffer, in bytes, in which a list of this many certificates can be written and signed.
#[must_use]
pub const fn revocation_list_len(certificates: usize) -> usize {
    certificates.saturating_mul(ENTRY_LEN).saturating_add(OVERHEAD).saturating_mul(2)
}

/// One revoked certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Serial number of the certificate.
    pub serial: CertificateSerial,
    /// When it was revoked, in seconds since 1970-01-01 UTC.
    pub at: u64,
}

/// A revocation list (RFC 5280 §5, version 2) whose signature by a root has been verified.
#[derive(Clone, Copy)]
pub struct RevocationList<'a> {
    /// Number of the list: a later list has a higher one.
    pub number: u64,
    /// When it was issued, in seconds since 1970-01-01 UTC.
    pub issued_at: u64,
    /// The entries, whose shape has been checked.
    entries: &'a [u8],
}

/// Reason why a revocation list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationListInvalid {
    /// Longer than [`MAX_REVOCATION_LIST_LEN`].
    TooLong,
    /// Not a revocation list of X.509 in DER, or one without a number.
    Malformed,
    /// The signature has an unsupported algorithm.
    AlgorithmNotSupported,
    /// The signature is not valid under the root's key.
    SignatureInvalid,
}

impl fmt::Display for RevocationListInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the revocation list is longer than 1 MiB",
            Self::Malformed => "it is not an X.509 revocation list in DER with a number",
            Self::AlgorithmNotSupported => "the revocation list's signature is of an unsupported algorithm",
            Self::SignatureInvalid => "the manufacturer's root has not signed the revocation list",
        })
    }
}

impl core::error::Error for RevocationListInvalid {}

impl<'a> RevocationList<'a> {
    /// Reads a list and verifies that `root` signed it.
    ///
    /// # Errors
    /// [`RevocationListInvalid`] with the first defect found.
    pub fn verify(der: &'a [u8], root: &PublicKey) -> Result<Self, RevocationListInvalid> {
        if der.len() > MAX_REVOCATION_LIST_LEN {
            return Err(RevocationListInvalid::TooLong);
        }
        let (tbs, algorithm, signature) = whole(der, |r| {
            r.sequence(|r| Ok::<_, der::Error>((r.tlv_bytes()?, r.tlv_bytes()?, whole_bytes(r)?)))
        })
        .map_err(|_| RevocationListInvalid::Malformed)?;
        let list = whole(tbs, |r| r.sequence(|r| Self::decode(r, algorithm)))
            .map_err(|_| RevocationListInvalid::Malformed)?;
        if algorithm != ECDSA_WITH_SHA512 {
            return Err(RevocationListInvalid::AlgorithmNotSupported);
        }
        root.verify(tbs, signature).map_err(|_| RevocationListInvalid::SignatureInvalid)?;
        Ok(list)
    }

    /// The revoked certificates.
    pub fn revocations(&self) -> impl Iterator<Item = Revocation> + use<'a> {
        let mut rest = SliceReader::new(self.entries).ok();
        core::iter::from_fn(move || {
            let rest = rest.as_mut().filter(|rest| !rest.is_finished())?;
            rest.sequence(decode_entry).ok()
        })
    }

    /// Whether the certificate with this serial number is revoked.
    #[must_use]
    pub fn revokes(&self, serial: &CertificateSerial) -> bool {
        self.revocations().any(|revoked| revoked.serial == *serial)
    }

    /// `TBSCertList`, without its header.
    fn decode(r: &mut SliceReader<'a>, algorithm: &[u8]) -> der::Result<Self> {
        // Version 2 is encoded as 1.
        require(u8::decode(r)? == 1)?;
        require(r.tlv_bytes()? == algorithm)?;
        whole(r.tlv_bytes()?, decode_name)?;
        let issued_at = time::read(r)?;
        let mut entries: &[u8] = &[];
        let mut number = None;
        while !r.is_finished() {
            match der::Tag::peek(r)? {
                // When the next list is due. A list is in force until a later one is known.
                der::Tag::UtcTime | der::Tag::GeneralizedTime => require(time::read(r).is_ok())?,
                der::Tag::Sequence => {
                    require(entries.is_empty())?;
                    entries = AnyRef::decode(r)?.value();
                    whole(entries, |r| {
                        while !r.is_finished() {
                            r.sequence(decode_entry)?;
                        }
                        Ok(())
                    })?;
                }
                _ => {
                    let extensions = AnyRef::decode(r)?;
                    require(extensions.tag() == EXTENSIONS && number.is_none())?;
                    number = whole(extensions.value(), |r| r.sequence(decode_number))?;
                }
            }
        }
        let number = number.ok_or(der::ErrorKind::Failed)?;
        Ok(Self { number, issued_at, entries })
    }
}

impl fmt::Debug for RevocationList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationList(number {})", self.number)
    }
}

/// `[0]`, which contains the extensions.
const EXTENSIONS: der::Tag = der::Tag::ContextSpecific { constructed: true, number: der::TagNumber(0) };

/// An entry, without its header. Its own extensions say nothing that a reader here needs, unless they are critical.
fn decode_entry(r: &mut SliceReader<'_>) -> der::Result<Revocation> {
    let serial = CertificateSerial::decode(r)?;
    let at = time::read(r)?;
    if !r.is_finished() {
        r.sequence(|r| {
            while !r.is_finished() {
                let (_, is_critical, _) = r.sequence(decode_extension)?;
                require(!is_critical)?;
            }
            Ok::<_, der::Error>(())
        })?;
    }
    Ok(Revocation { serial, at })
}

/// `Extensions`, without the header: the list's number.
fn decode_number(r: &mut SliceReader<'_>) -> der::Result<Option<u64>> {
    let mut number = None;
    while !r.is_finished() {
        let (id, is_critical, value) = r.sequence(decode_extension)?;
        match id {
            CRL_NUMBER => require(number.replace(u64::from_der(value)?).is_none())?,
            _ => require(!is_critical)?,
        }
    }
    Ok(number)
}

/// Writes a list, signed by the root of that name. `revoked` is in any order.
///
/// The result is at the end of `out`; [`revocation_list_len`] says how many bytes are enough.
///
/// # Errors
/// [`BufferTooSmall`].
pub fn write_revocation_list<'o>(
    root: &SigningKey,
    root_name: &RootName,
    number: u64,
    issued_at: u64,
    revoked: &[Revocation],
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    // The list is signed where it stands, and then moves to make room for its signature.
    let mut writer = Writer::new(out);
    tbs(&mut writer, root, root_name, number, issued_at, revoked)?;
    let len = writer.finish().len();
    let start = out.len().checked_sub(len).ok_or(BufferTooSmall)?;
    let signature = root.sign(out.get(start..).unwrap_or_default());
    out.copy_within(start.., 0);
    let (tbs, rest) = out.split_at_mut(len);
    write::certificate(tbs, &signature, rest)
}

/// `TBSCertList` (RFC 5280 §5.1.2).
fn tbs(
    w: &mut Writer<'_>,
    root: &SigningKey,
    root_name: &RootName,
    number: u64,
    issued_at: u64,
    revoked: &[Revocation],
) -> Result<(), BufferTooSmall> {
    w.element(Tag::SEQUENCE, |w| {
        w.element(Tag::context(0), |w| {
            w.element(Tag::SEQUENCE, |w| {
                write::extension(w, CRL_NUMBER, false, |w| w.unsigned(&number.to_be_bytes()))?;
                write::extension(w, AUTHORITY_KEY_IDENTIFIER, false, |w| {
                    w.element(Tag::SEQUENCE, |w| {
                        w.primitive(Tag::context_primitive(0), &root.public().ski().0)
                    })
                })
            })
        })?;
        // RFC 5280 has an empty list left out.
        if !revoked.is_empty() {
            w.element(Tag::SEQUENCE, |w| {
                revoked.iter().rev().try_for_each(|revoked| {
                    w.element(Tag::SEQUENCE, |w| {
                        time::write(w, revoked.at)?;
                        w.unsigned(&revoked.serial.0)
                    })
                })
            })?;
        }
        time::write(w, issued_at)?;
        write::distinguished_name(w, root_subject(root_name))?;
        w.bytes(ECDSA_WITH_SHA512)?;
        w.unsigned(&[1])
    })
}
