//! Key parts, sealed for a unit's importer key.

use crate::agreement::{UKM_LEN, key_encryption_key};
use crate::identifier::{P521_KEY, STD_DH_SHA256_KDF_AES256_WRAP};
use crate::reader::{require, whole, whole_bytes};
use crate::writer::{Tag, Writer};
use crate::{BufferTooSmall, PublicKey, RandomFailed, SigningKey, Ski};
use aes::{Aes256, cipher::KeyInit};
use core::fmt;
use der::asn1::OctetStringRef;
use der::{Decode, Header, Reader, SliceReader};
use key_wrap::kw;
use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

/// Length of a buffer, in bytes, that holds every sealed key part.
pub const SEALED_PART_MAX_LEN: usize = 512;

/// Length of a key part, in bytes.
const PART_LEN: usize = 32;

/// Length of a key part under AES key wrap, in bytes.
const ENCRYPTED_LEN: usize = PART_LEN + 8;

/// `version` of a `KeyAgreeRecipientInfo` (RFC 5652 §6.2.2): always 3.
const VERSION: &[u8] = &[0x02, 0x01, 0x03];

/// A key part sealed for an importer key: a CMS `RecipientInfo` for one recipient, parsed but not opened.
///
/// | field | value |
/// |---|---|
/// | version | 3 |
/// | originator | the public key of an ephemeral key pair on P-521 |
/// | ukm | 40 random bytes |
/// | keyEncryptionAlgorithm | dhSinglePass-stdDH-sha256kdf-scheme with id-aes256-wrap |
/// | recipientEncryptedKeys | one: the importer key's identifier, the wrapped part of 40 bytes |
///
/// Source: RFC 5652 §6.2.2; RFC 5753 §3.1.
#[derive(Clone, Debug)]
pub struct SealedKeyPart<'a> {
    originator: PublicKey,
    ukm: &'a [u8; UKM_LEN],
    recipient: Ski,
    encrypted: &'a [u8; ENCRYPTED_LEN],
}

/// Reason why a sealed key part is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealedPartInvalid {
    /// Not a `RecipientInfo` of this shape, or the originator's key is not a point of the curve.
    Malformed,
    /// Sealed for another importer key.
    WrongRecipient,
    /// The unwrapped bytes failed the check of the key wrap.
    UnwrapFailed,
}

impl fmt::Display for SealedPartInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the sealed key part is malformed",
            Self::WrongRecipient => "the key part is sealed for another importer key",
            Self::UnwrapFailed => "the sealed key part is not valid under this importer key",
        })
    }
}

impl core::error::Error for SealedPartInvalid {}

/// Reason why a key part could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The random bit generator failed.
    RandomFailed,
    /// The output buffer is too small.
    BufferTooSmall,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RandomFailed => RandomFailed.fmt(f),
            Self::BufferTooSmall => BufferTooSmall.fmt(f),
        }
    }
}

impl core::error::Error for SealError {}

impl From<RandomFailed> for SealError {
    fn from(_: RandomFailed) -> Self {
        Self::RandomFailed
    }
}

impl From<BufferTooSmall> for SealError {
    fn from(_: BufferTooSmall) -> Self {
        Self::BufferTooSmall
    }
}

/// Seals a part for an importer key.
///
/// `rng` must have full entropy. The result is at the end of `out`; [`SEALED_PART_MAX_LEN`] bytes are enough. The result
/// does not authenticate the sender: it is sent in a signed command.
///
/// # Errors
/// [`SealError`].
///
/// Source: RFC 5753 §3.1.2.
pub fn seal_key_part<'o, R: TryCryptoRng + ?Sized>(
    importer: &PublicKey,
    part: &[u8; PART_LEN],
    rng: &mut R,
    out: &'o mut [u8],
) -> Result<&'o [u8], SealError> {
    let ephemeral = SigningKey::generate(rng)?;
    let mut ukm = [0; UKM_LEN];
    rng.try_fill_bytes(&mut ukm).map_err(|_| SealError::RandomFailed)?;
    let kek = key_encryption_key(&ephemeral, importer, &ukm)?;
    let mut encrypted = [0; ENCRYPTED_LEN];
    kw::wrap(&Aes256::new((&*kek).into()), part, &mut encrypted).map_err(|_| SealError::BufferTooSmall)?;
    Ok(write(&ephemeral.public(), &ukm, &importer.importer_ski(), &encrypted, out)?)
}

/// Identifier of the importer key that a part is sealed for.
///
/// # Errors
/// [`SealedPartInvalid::Malformed`].
pub fn sealed_for(der: &[u8]) -> Result<Ski, SealedPartInvalid> {
    SealedKeyPart::parse(der).map(|sealed| sealed.recipient)
}

/// Opens a part that is sealed for this importer key.
///
/// # Errors
/// [`SealedPartInvalid`].
pub fn open_key_part(
    importer: &SigningKey,
    der: &[u8],
) -> Result<Zeroizing<[u8; PART_LEN]>, SealedPartInvalid> {
    SealedKeyPart::parse(der)?.open(importer)
}

impl<'a> SealedKeyPart<'a> {
    /// Reads a sealed part.
    ///
    /// # Errors
    /// [`SealedPartInvalid::Malformed`] for everything but strict DER of exactly this shape.
    pub fn parse(der: &'a [u8]) -> Result<Self, SealedPartInvalid> {
        let (point, ukm, recipient, encrypted) =
            whole(der, decode).map_err(|_| SealedPartInvalid::Malformed)?;
        let originator = PublicKey::from_point(point).map_err(|_| SealedPartInvalid::Malformed)?;
        Ok(Self { originator, ukm, recipient: Ski(*recipient), encrypted })
    }

    /// Identifier of the importer key that the part is sealed for: the digest of `X ‖ Y`.
    #[must_use]
    pub const fn recipient(&self) -> Ski {
        self.recipient
    }

    /// Opens the part.
    ///
    /// # Errors
    /// [`SealedPartInvalid::WrongRecipient`] or [`SealedPartInvalid::UnwrapFailed`].
    ///
    /// Source: RFC 5753 §3.1.3.
    pub fn open(&self, importer: &SigningKey) -> Result<Zeroizing<[u8; PART_LEN]>, SealedPartInvalid> {
        if self.recipient != importer.public().importer_ski() {
            return Err(SealedPartInvalid::WrongRecipient);
        }
        let kek = key_encryption_key(importer, &self.originator, self.ukm)
            .map_err(|_| SealedPartInvalid::UnwrapFailed)?;
        let mut buffer = Zeroizing::new(*self.encrypted);
        kw::unwrap_in_place(&Aes256::new((&*kek).into()), buffer.as_mut_slice())
            .map_err(|_| SealedPartInvalid::UnwrapFailed)?;
        let mut part = Zeroizing::new([0; PART_LEN]);
        for (to, from) in part.iter_mut().zip(buffer.iter()) {
            *to = *from;
        }
        Ok(part)
    }
}

fn write<'o>(
    originator: &PublicKey,
    ukm: &[u8; UKM_LEN],
    recipient: &Ski,
    encrypted: &[u8; ENCRYPTED_LEN],
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    let mut writer = Writer::new(out);
    writer.element(Tag::context(1), |w| {
        w.element(Tag::SEQUENCE, |w| {
            w.element(Tag::SEQUENCE, |w| {
                w.primitive(Tag::OCTET_STRING, encrypted)?;
                w.element(Tag::context(0), |w| w.primitive(Tag::OCTET_STRING, &recipient.0))
            })
        })?;
        w.bytes(STD_DH_SHA256_KDF_AES256_WRAP)?;
        w.element(Tag::context(1), |w| w.primitive(Tag::OCTET_STRING, ukm))?;
        w.element(Tag::context(0), |w| {
            w.element(Tag::context(1), |w| {
                w.bit_string(&originator.to_point())?;
                w.bytes(P521_KEY)
            })
        })?;
        w.bytes(VERSION)
    })?;
    Ok(writer.finish())
}

/// A sealed part's fields: the originator's point, the user keying material, the recipient, the wrapped part.
type Fields<'a> = (&'a [u8], &'a [u8; UKM_LEN], &'a [u8; Ski::LEN], &'a [u8; ENCRYPTED_LEN]);

/// `RecipientInfo`, of the kind `kari [1] KeyAgreeRecipientInfo` (RFC 5652 §6.2).
fn decode<'a>(r: &mut SliceReader<'a>) -> der::Result<Fields<'a>> {
    context(r, 1, |r| {
        require(r.tlv_bytes()? == VERSION)?;
        let point = context(r, 0, |r| {
            context(r, 1, |r| {
                require(r.tlv_bytes()? == P521_KEY)?;
                whole_bytes(r)
            })
        })?;
        let ukm = context(r, 1, octets)?;
        require(r.tlv_bytes()? == STD_DH_SHA256_KDF_AES256_WRAP)?;
        r.sequence(|r| {
            r.sequence(|r| {
                let recipient = context(r, 0, octets)?;
                Ok((point, ukm, recipient, octets(r)?))
            })
        })
    })
}

/// `[number]`, constructed, with this content.
fn context<'a, T>(
    r: &mut SliceReader<'a>,
    number: u32,
    content: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<T> {
    let header = Header::decode(r)?;
    require(header.tag() == der::Tag::ContextSpecific { constructed: true, number: der::TagNumber(number) })?;
    r.read_nested(header.length(), content)
}

/// An octet string of `N` bytes.
fn octets<'a, const N: usize>(r: &mut SliceReader<'a>) -> der::Result<&'a [u8; N]> {
    let octets = <&OctetStringRef>::decode(r)?;
    octets.as_bytes().try_into().map_err(|_| der::ErrorKind::Failed.into())
}
