//! From card to card, within a zone.

use super::content::Content;
use super::{CardCertificate, CardError, Serial, ZoneId};
use crate::secret_file::random;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use std::fmt;
use zeroize::Zeroizing;

const WORDS: &[u8] = b"hsm-sim card transfer 1\0";
const NONCE_LEN: usize = 12;

/// What the receiving card may do with what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Purpose {
    /// Keep the key part.
    KeepPart = 1,
    /// Work out a master key's pattern with the key part, and forget it.
    CombinePart = 2,
    /// Keep the signature key.
    KeepSignatureKey = 3,
}

/// A signature key or a key part on its way to one card: encrypted for it, signed by the card it comes from.
///
/// What is sent is under AES-256-GCM with a key of its own, which is sealed for the receiving card as key parts are
/// sealed for a unit.
#[derive(Clone)]
pub struct Transfer {
    from: CardCertificate,
    to: Serial,
    purpose: Purpose,
    sealed_key: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    ciphertext: Vec<u8>,
    tag: [u8; 16],
    signature: Vec<u8>,
}

impl Transfer {
    /// Sends to a card that proves to be of the sender's zone, and to no other.
    pub(super) fn send(
        from: &Content,
        to: &CardCertificate,
        purpose: Purpose,
        secret: &[u8],
    ) -> Result<Self, CardError> {
        check_zone(from, to)?;
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
        let mut buffer = [0; tke_crypto::SEALED_PART_MAX_LEN];
        let sealed_key = tke_crypto::seal_key_part(&to.transport, &key, &mut getrandom::SysRng, &mut buffer)
            .map_err(|_| CardError::System)?;
        let mut transfer = Self {
            from: from.certificate.clone(),
            to: to.serial,
            purpose,
            sealed_key: sealed_key.to_vec(),
            nonce: random()?,
            ciphertext: Vec::new(),
            tag: [0; 16],
            signature: Vec::new(),
        };
        let mut sealed = Zeroizing::new(secret.to_vec());
        let tag = Aes256Gcm::new((&*key).into())
            .encrypt_inout_detached(&Nonce::from(transfer.nonce), &[], sealed.as_mut_slice().into())
            .map_err(|_| CardError::System)?;
        transfer.tag = tag.into();
        transfer.ciphertext.extend_from_slice(&sealed);
        transfer.signature = from.identity.sign(&transfer.statement()).to_vec();
        Ok(transfer)
    }

    /// What the sender sent, if it is of the receiver's zone and meant this card and this purpose.
    pub(super) fn receive(&self, to: &Content, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>, CardError> {
        check_zone(to, &self.from)?;
        let signed = self.from.identity.verify(&self.statement(), &self.signature).is_ok();
        if !signed || self.to != to.certificate.serial || self.purpose != purpose {
            return Err(CardError::TransferInvalid);
        }
        let key = tke_crypto::open_key_part(&to.transport, &self.sealed_key)
            .map_err(|_| CardError::TransferInvalid)?;
        let mut secret = Zeroizing::new(self.ciphertext.clone());
        Aes256Gcm::new((&*key).into())
            .decrypt_inout_detached(
                &Nonce::from(self.nonce),
                &[],
                secret.as_mut_slice().into(),
                &Tag::from(self.tag),
            )
            .map_err(|_| CardError::TransferInvalid)?;
        Ok(secret)
    }

    /// The card it comes from.
    #[must_use]
    pub const fn from(&self) -> Serial {
        self.from.serial
    }

    /// The card it is for.
    #[must_use]
    pub const fn to(&self) -> Serial {
        self.to
    }

    /// All that was sent, for the signature. Of the fields before the last, only the sealed key has no fixed length.
    fn statement(&self) -> Vec<u8> {
        let sealed_len = u32::try_from(self.sealed_key.len()).unwrap_or(u32::MAX);
        let pieces: [&[u8]; 9] = [
            WORDS,
            &self.from.serial.0,
            &self.to.0,
            &[self.purpose as u8],
            &sealed_len.to_be_bytes(),
            &self.sealed_key,
            &self.nonce,
            &self.tag,
            &self.ciphertext,
        ];
        pieces.concat()
    }
}

/// The way alone: what is sent is encrypted, but nobody needs to see it.
impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transfer({:?} from {} to {})", self.purpose, self.from.serial, self.to)
    }
}

fn check_zone(card: &Content, other: &CardCertificate) -> Result<(), CardError> {
    if other.is_of(&card.zone_key) {
        Ok(())
    } else {
        Err(CardError::OtherZone { zone: ZoneId::of(&card.zone_key) })
    }
}
