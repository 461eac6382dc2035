//! A signature with who made it and how.

use super::SKI_LEN;
use super::fields::{self, Filler, Malformed, NoRoom};
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Header, Length, Reader, SliceReader, SliceWriter, Tag, TagNumber, Writer};

/// id-sha512 and ecdsa-with-SHA512 (RFC 5754 §2.4, RFC 5758 §3.2).
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
/// id-sha256 and rsaEncryption (RFC 5754 §2.2, RFC 8017 appendix A.1).
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// `[0] IMPLICIT` of the subject key identifier (RFC 5652 §5.3).
const SKI_TAG: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(0) };
/// The version that goes with a subject key identifier.
const VERSION: u8 = 3;

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA over P-521 with SHA-512; the signature is DER of R and S.
    EcdsaP521Sha512,
    /// RSA-2048 with SHA-256 in the padding of ANSI X9.31, of administrators of earlier days.
    Rsa2048X931Sha256,
}

impl SignatureAlgorithm {
    const fn identifiers(self) -> (ObjectIdentifier, ObjectIdentifier) {
        match self {
            Self::EcdsaP521Sha512 => (SHA512, ECDSA_SHA512),
            Self::Rsa2048X931Sha256 => (SHA256, RSA),
        }
    }

    fn from_identifiers(digest: ObjectIdentifier, signature: ObjectIdentifier) -> Option<Self> {
        [Self::EcdsaP521Sha512, Self::Rsa2048X931Sha256]
            .into_iter()
            .find(|algorithm| algorithm.identifiers() == (digest, signature))
    }
}

/// One signature (`SignerInfo` of CMS without attributes): a sequence of version 3, `[0]` subject key identifier,
/// digest algorithm, signature algorithm, signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerInfo<'a> {
    /// Subject key identifier of the signer.
    pub ski: [u8; SKI_LEN],
    /// Algorithm of the signature.
    pub algorithm: SignatureAlgorithm,
    /// The signature itself.
    pub signature: &'a [u8],
}

impl<'a> SignerInfo<'a> {
    /// The signature in these bytes.
    ///
    /// # Errors
    /// [`Malformed`], also for an algorithm that does not exist here.
    pub fn decode(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = SliceReader::new(der)?;
        let parts = reader.sequence(|inner| {
            let version = u8::decode(inner)?;
            let header = Header::decode(inner)?;
            let ski = inner.read_slice(header.length())?;
            let digest = algorithm(inner)?;
            let signature_algorithm = algorithm(inner)?;
            let signature = <&OctetStringRef>::decode(inner)?.as_bytes();
            Ok::<_, der::Error>((version, header.tag(), ski, digest, signature_algorithm, signature))
        })?;
        reader.finish()?;
        let (version, tag, ski, digest, signature_algorithm, signature) = parts;
        if version != VERSION || tag != SKI_TAG {
            return Err(Malformed);
        }
        let algorithm = SignatureAlgorithm::from_identifiers(digest, signature_algorithm).ok_or(Malformed)?;
        Ok(Self { ski: fields::array(ski)?, algorithm, signature })
    }

    /// Writes the signature's DER to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let (digest, signature_algorithm) = self.algorithm.identifiers();
        let ski_header = Header::new(SKI_TAG, Length::try_from(SKI_LEN)?);
        let signature = OctetStringRef::new(self.signature)?;
        let lengths = [
            VERSION.encoded_len()?,
            ski_header.encoded_len()?,
            Length::try_from(SKI_LEN)?,
            sequence_len(digest.encoded_len()?)?,
            sequence_len(signature_algorithm.encoded_len()?)?,
            signature.encoded_len()?,
        ];
        let mut length = Length::ZERO;
        for part in lengths {
            length = (length + part)?;
        }
        let mut writer = SliceWriter::new(out);
        Header::new(Tag::Sequence, length).encode(&mut writer)?;
        VERSION.encode(&mut writer)?;
        ski_header.encode(&mut writer)?;
        Writer::write(&mut writer, &self.ski)?;
        for identifier in [digest, signature_algorithm] {
            Header::new(Tag::Sequence, identifier.encoded_len()?).encode(&mut writer)?;
            identifier.encode(&mut writer)?;
        }
        signature.encode(&mut writer)?;
        Ok(writer.finish()?)
    }
}

/// An algorithm identifier without parameters.
fn algorithm<'a, R: Reader<'a>>(reader: &mut R) -> Result<ObjectIdentifier, der::Error> {
    reader.sequence(|inner| ObjectIdentifier::decode(inner))
}

fn sequence_len(content: Length) -> Result<Length, der::Error> {
    Header::new(Tag::Sequence, content).encoded_len()? + content
}

/// Signatures one after the other. Ends behind the first that is malformed.
#[derive(Clone, Copy, Debug)]
pub struct SignerInfos<'a> {
    rest: &'a [u8],
}

impl<'a> SignerInfos<'a> {
    /// The signatures in these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Writes signatures one after the other to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(signers: &[SignerInfo<'_>], out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let mut all = Filler::new(out);
        let mut one = [0; 512];
        for signer in signers {
            all.push(signer.encode(&mut one)?)?;
        }
        all.finish()
    }
}

impl<'a> Iterator for SignerInfos<'a> {
    type Item = Result<SignerInfo<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let first = fields::split(core::mem::take(&mut self.rest)).and_then(|(first, rest)| {
            let signer = SignerInfo::decode(first)?;
            self.rest = rest;
            Ok(signer)
        });
        Some(first)
    }
}
